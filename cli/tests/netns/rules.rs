//! What the rules leave alone, what they pass on, that they are refused to loop, and that nothing of them is left.

use crate::services::CALLER_ADMIN;
use crate::stage::{Host, PROXY_USER, Stage};

const DIRECT: &str = "http://10.77.0.2:8080/hello";

fn passed_through(stage: &Stage) -> f64 {
    stage.metric(Host::Caller, CALLER_ADMIN, "penstock_proxy_passed_through_total", "")
}

#[test]
fn what_the_mesh_does_not_know_is_passed_on_and_skipped_ports_subnets_and_the_proxys_user_are_left_alone() {
    let mut stage = Stage::new().with_control();
    stage.web();
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    assert_eq!(stage.page(Host::Caller, DIRECT).as_deref(), Some("hello\n"));
    assert_eq!(stage.page(Host::Caller, "http://[fd00:77::2]:8080/hello").as_deref(), Some("hello\n"));
    assert_eq!(passed_through(&stage), 2.0);
    let other = "authority=\"passthrough.other.svc.cluster.local:8080\"";
    assert_eq!(stage.metric(Host::Caller, CALLER_ADMIN, "tcp_open_total", other), 2.0);

    let as_proxy = stage.run(Host::Caller, PROXY_USER, &["curl", "--silent", "--max-time", "10", DIRECT]);
    assert_eq!(String::from_utf8_lossy(&as_proxy.stdout), "hello\n");
    stage.init_caller(&["--skip-outbound-ports=8000-8100"]);
    assert_eq!(stage.page(Host::Caller, DIRECT).as_deref(), Some("hello\n"));
    stage.init_caller(&["--skip-subnets=10.77.0.0/24,fd00:77::/64"]);
    assert_eq!(stage.page(Host::Caller, DIRECT).as_deref(), Some("hello\n"));
    assert_eq!(passed_through(&stage), 2.0, "none of these came to the proxy");

    // A destination where nobody listens is refused, as it would be without us.
    stage.init_caller(&[]);
    let refused =
        stage.run(Host::Caller, 0, &["curl", "--silent", "--max-time", "10", "http://10.77.0.2:8099/"]);
    assert!(matches!(refused.status.code(), Some(7 | 52 | 56)), "{refused:?}");
}

#[test]
fn a_proxy_whose_own_connections_come_back_to_it_refuses_them() {
    let mut stage = Stage::new();
    stage.start(Host::Callee, 0, &["python3", "-m", "http.server", "8080", "--bind", "0.0.0.0"]);
    stage.until("the server answers", || stage.page(Host::Callee, "http://localhost:8080/").is_some());
    // Not the user that the rules leave alone, and no control node, whose connection would loop too.
    let words = ["--name=shop-1", "--workload=shop"];
    stage.proxy(Host::Caller, 2999, &words);
    let ready = format!("http://127.0.0.1:{CALLER_ADMIN}/ready");
    stage.until("the proxy is ready", || stage.page(Host::Caller, &ready).is_some());
    stage.init_caller(&[]);
    assert_eq!(stage.page(Host::Caller, "http://10.77.0.2:8080/"), None);
    let refused = stage.metric(Host::Caller, CALLER_ADMIN, "penstock_proxy_refused_total", "reason=\"loop\"");
    assert!(refused >= 1.0, "{refused}");
    let accepted = stage.metric(Host::Caller, CALLER_ADMIN, "penstock_proxy_connections_accepted_total", "");
    assert!(accepted < 10.0, "the loop went on: {accepted}");
}

/// All rules of a host, by every tool, and its rules of routing.
pub fn rules(stage: &Stage, host: Host) -> String {
    let tools =
        ["nft list ruleset", "iptables-legacy-save", "ip6tables-legacy-save", "ip rule", "ip -6 rule"];
    let routes = ["ip route show table all", "ip -6 route show table all"];
    let said = |tool: &str| stage.said(host, &tool.split(' ').collect::<Vec<_>>());
    let of_all: String = tools.into_iter().chain(routes).map(said).collect();
    // The kernel's own routes come when an address has proved to be nobody else's, a moment after the link is up.
    of_all.lines().filter(|line| !line.contains("proto kernel")).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn every_tool_intercepts_alike_may_run_twice_and_leaves_nothing_behind() {
    let mut stage = Stage::new().with_control();
    stage.web();
    stage.calling(PROXY_USER);
    let stage = stage;
    for (round, backend) in (1..).zip(["nft", "iptables", "iptables-legacy"]) {
        let backend_flag = format!("--backend={backend}");
        let init = [&backend_flag, "--skip-outbound-ports=25,4567"].map(|word: &str| word);
        stage.init_caller(&init);
        let once = rules(&stage, Host::Caller);
        stage.init_caller(&init);
        assert_eq!(
            without_counts(&rules(&stage, Host::Caller)),
            without_counts(&once),
            "{backend} is not idempotent"
        );
        for url in ["http://10.96.0.10/hello", "http://[fd00:96::10]/hello"] {
            assert_eq!(stage.page(Host::Caller, url).as_deref(), Some("hello\n"), "{backend} {url}");
        }
        let web = "authority=\"web.default.svc.cluster.local";
        let requests = stage.metric(Host::Caller, CALLER_ADMIN, "request_total", web);
        assert_eq!(requests, f64::from(round) * 2.0, "{backend}");
        // Without a word which tool wrote them, and again where there are none.
        for _ in 0..2 {
            stage.penstock(Host::Caller, &["proxy", "init", "--remove"]);
        }
        let left = rules(&stage, Host::Caller).to_lowercase();
        assert!(!left.contains("penstock"), "{backend} leaves:\n{left}");
    }
}

/// Counts of packets, and times, move by themselves.
pub fn without_counts(rules: &str) -> Vec<String> {
    let lines = rules.lines().filter(|line| !line.starts_with(['#', ':']));
    let plain = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let counts = |at: &usize| *at > 0 && ["packets", "bytes"].contains(&words[at - 1]);
        (0..words.len()).filter(|at| !counts(at)).map(|at| words[at]).collect::<Vec<_>>().join(" ")
    };
    lines.map(plain).collect()
}

#[test]
fn a_user_without_rights_is_told_and_may_look_at_the_rules() {
    let stage = Stage::new();
    let penstock = stage.program();
    let refused = stage.run(Host::Caller, PROXY_USER, &[&penstock, "proxy", "init"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("CAP_NET_ADMIN") && said.contains("--dry-run"), "{said}");
    let shown = stage.run(Host::Caller, PROXY_USER, &[&penstock, "proxy", "init", "--dry-run"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("table inet penstock"));
    assert!(!rules(&stage, Host::Caller).contains("penstock"));
}
