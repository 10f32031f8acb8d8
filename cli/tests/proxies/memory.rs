//! What a proxy's process holds, and the program that is the proxy alone.

use std::fs::File;
use std::process::Command;

use crate::cluster::{Cluster, Scratch};
use crate::stage::{App, Proxy, tail};

/// Memory that the kernel backs by huge pages, in KiB.
fn huge_kib(proxy: &Proxy) -> u64 {
    let id = proxy.process.as_ref().unwrap().id();
    let told = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What a process may hold of them: none where the kernel waits to be asked, as most do; where it gives them
/// unasked, what is touched before `main`.
fn huge_kib_max() -> u64 {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if enabled.contains("[always]") { 4096 } else { 0 }
}

/// The allocator asked for huge pages before `main` could forbid them: two of them, four times what an idle proxy needs.
#[tokio::test]
async fn a_proxy_holds_no_huge_page_and_runs_as_a_program_of_its_own_too() {
    let (scratch, app) = (Scratch::new("memory"), App::start("web").await);
    let cluster = Cluster::start("memory", 1);
    let more = [format!("--application={}", app.address), "--serves=web:80".to_owned()];
    let mut callee = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &more);
    callee.start();
    let mut alone = Proxy::new(&scratch, "shop-1", "shop", &cluster.control(), &[]);
    let log = File::create(&alone.log).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_penstock-proxy"));
    program.args(&alone.words).arg(format!("--end-with-parent={}", std::process::id()));
    alone.process = Some(program.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    alone.until_answer("web", |status, body| status == 200 && body == "web").await;
    for proxy in [&callee, &alone] {
        assert!(huge_kib(proxy) <= huge_kib_max(), "{} KiB\n{}", huge_kib(proxy), tail(&proxy.log));
    }
}
