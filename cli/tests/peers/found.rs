//! Where the peers' programs are, free ports, and waiting.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Longer than any machine needs; reached only by a fault.
const DEADLINE: Duration = Duration::from_secs(90);

/// A program that `.ci/run tools` installs.
///
/// # Panics
/// If it is not there: these tests cannot be skipped in silence.
pub fn program(variable: &str, within: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| venv().join(within), PathBuf::from);
    let lib = path.to_string_lossy().contains("lib/python").then(|| versioned(&path)).flatten();
    let path = lib.unwrap_or(path);
    assert!(
        path.is_file(),
        "{} is not there: run `.ci/run tools`, or set {variable} to the program",
        path.display()
    );
    path
}

fn venv() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("ci/venv")
}

/// `lib/python/x` in whatever version of Python the venv has.
fn versioned(path: &Path) -> Option<PathBuf> {
    let text = path.to_string_lossy();
    let (before, after) = text.split_once("lib/python/")?;
    let versions = std::fs::read_dir(Path::new(before).join("lib")).ok()?;
    versions.filter_map(Result::ok).map(|version| version.path().join(after)).find(|path| path.is_file())
}

/// Addresses that nobody listens on: all are bound at once, then let go. No outgoing connection of another test takes one before
/// its process listens there.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    runtime::ports::addresses(N).unwrap().try_into().unwrap()
}

/// The same free port on three addresses of this machine, as nodes behind one name have it.
pub fn free_port_on_three_addresses() -> [SocketAddr; 3] {
    let tries = (0..100).find_map(|_| {
        let first = runtime::ports::reserve(1).unwrap().remove(0);
        let port = first.local_addr().unwrap().port();
        let all = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], port)));
        let others: Result<Vec<_>, _> = all[1..].iter().map(TcpListener::bind).collect();
        others.is_ok().then_some(all)
    });
    tries.expect("of a hundred ports one is free on each of 127.0.0.1 to 127.0.0.3")
}

/// Asks until there is an answer.
///
/// # Panics
/// If there is none within the deadline.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut turns = interval(Duration::from_millis(10));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let asked = async {
        loop {
            turns.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    let answer = timeout(DEADLINE, asked).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
    eprintln!("after {:>6.3} s: {what}", begun.elapsed().as_secs_f64());
    answer
}
