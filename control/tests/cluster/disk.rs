//! What a node makes of its disk: one fsync for all that came during the last, an end of the process when one fails, and
//! refused writes, with reads that go on, while it is full.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use api::v1::AddMemberRequest;
use control::catalog::{Catalog, versions};
use control::replica::messages::ProposeError;
use control::settings::Timings;
use control::{Running, Settings};
use tokio::runtime::Runtime;

use crate::group::{Group, bulk, registration, small};
use crate::starting::http;
use crate::switched_disk::{SwitchedDisk, given};

/// Tells the process that is to lose its disk which directory is its own.
const FAILING_DISK: &str = "PENSTOCK_TEST_FAILING_DISK";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

/// A node alone on this disk, whose writes are given up after `propose_timeout`.
fn alone(directory: &Path, disk: &SwitchedDisk, propose_timeout: Duration) -> Running {
    let timings = Timings { propose_timeout, ..Timings::default() };
    let settings = Settings { timings, ..Settings::alone(directory.to_owned()) };
    control::start_with(settings, given(disk)).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Waits until `holds`.
fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        while !holds().await {
            beat.tick().await;
        }
    };
    let waited = runtime().block_on(async { tokio::time::timeout(PATIENCE, waiting).await });
    assert!(waited.is_ok(), "never came: {what}");
}

#[test]
fn writes_that_arrive_during_an_fsync_share_the_next_one() {
    let (directory, disk) = (scratch("group-commit"), SwitchedDisk::default());
    let (running, runtime) = (alone(&directory, &disk, PATIENCE), runtime());
    runtime.block_on(running.door().propose(small(0))).unwrap();
    let writes_waiting = async || running.door().status().await.unwrap().proposals_waiting;
    disk.hold_syncs();
    let before = disk.syncs();
    let write = |number| {
        let door = running.door().clone();
        runtime.spawn(async move { door.propose(small(number)).await })
    };
    let first = write(1);
    until("an fsync that waits", async || disk.syncs() > before);
    let others: Vec<_> = (2..=64).map(write).collect();
    until("all writes handed to the log", async || writes_waiting().await >= 64);
    disk.release_syncs();
    for write in std::iter::once(first).chain(others) {
        runtime.block_on(write).unwrap().unwrap();
    }
    let syncs = disk.syncs() - before;
    // The one that was held, one for the 63, and room for a tick of the log's own clock.
    assert!((2..=4).contains(&syncs), "{syncs} fsyncs for 64 writes");
    drop(running);
    let _ = std::fs::remove_dir_all(directory);
}

/// Runs as a process of its own: writes, and loses its disk.
fn write_until_the_disk_fails(directory: &Path) {
    let disk = SwitchedDisk::default();
    let (running, runtime) = (alone(&directory.join("data"), &disk, PATIENCE), runtime());
    let mut acknowledged = 0;
    for number in 0..20 {
        acknowledged = runtime.block_on(running.door().propose(small(number))).unwrap().index;
    }
    std::fs::write(directory.join("acknowledged"), acknowledged.to_string()).unwrap();
    disk.fail_syncs();
    let outcome = runtime.block_on(running.door().propose(small(20)));
    panic!("the process lives on after a failed fsync, and says {outcome:?}");
}

#[test]
fn a_failed_fsync_ends_the_process_and_what_it_acknowledged_is_there() {
    if let Some(directory) = std::env::var_os(FAILING_DISK) {
        return write_until_the_disk_fails(Path::new(&directory));
    }
    let directory = scratch("failing");
    std::fs::create_dir_all(&directory).unwrap();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "disk::a_failed_fsync_ends_the_process_and_what_it_acknowledged_is_there"])
        .env(FAILING_DISK, &directory)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(74), "{}", String::from_utf8_lossy(&ended.stderr));
    let acknowledged = std::fs::read_to_string(directory.join("acknowledged")).unwrap().parse().unwrap();
    let running = alone(&directory.join("data"), &SwitchedDisk::default(), PATIENCE);
    let applied = runtime().block_on(running.door().consult(Catalog::applied)).unwrap();
    assert!(applied.index >= acknowledged, "{applied} after {acknowledged} was acknowledged");
    drop(running);
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn a_full_disk_refuses_writes_with_what_to_do_and_takes_them_again_once_there_is_space() {
    let (directory, disk) = (scratch("full"), SwitchedDisk::default());
    let (running, runtime) = (alone(&directory, &disk, Duration::from_secs(1)), runtime());
    let write = || runtime.block_on(running.door().propose(bulk()));
    until("a first write", async || running.door().propose(bulk()).await.is_ok());
    disk.set_full(true);
    let refused = (0..100).find_map(|_| match write() {
        Err(error @ ProposeError::Busy { .. }) => Some(error.to_string()),
        _ => None,
    });
    let refused = refused.unwrap();
    assert!(refused.contains("disk is full: free some space there"), "{refused}");
    runtime.block_on(running.door().consult(Catalog::applied)).unwrap();
    disk.set_full(false);
    until("writes go on", async || running.door().propose(bulk()).await.is_ok());
    drop(running);
    let _ = std::fs::remove_dir_all(directory);
}

/// The leader sent what its disk had made of its snapshot, again and again, and nobody could join.
#[test]
fn a_leader_whose_disk_spoilt_its_snapshot_makes_another_and_brings_the_new_node_in() {
    let disks = BTreeMap::from([(1, SwitchedDisk::default())]);
    let mut group = Group::on(&disks);
    group.register(1, registration("web", "before")).unwrap();
    group.until_version(versions::NEWEST);
    let at = group.start_joining(2);
    disks[&1].spoil_next_snapshot();
    let mut client = group.members(1);
    let request = AddMemberRequest { node: 2, peer_address: at, promote: false, force: false };
    group.runtime.block_on(client.add(request)).unwrap();
    group.until_rows(2, "it has all", |rows| {
        rows.iter().filter(|row| row.reachable && row.lag == 0).count() == 2
    });
    assert_eq!(group.instances(2, "web"), ["before"]);
    let told = http(group.running_node(1).http_address, "/metrics");
    assert!(told.lines().any(|line| line == "penstock_raft_snapshots_unreadable_total 1"), "{told}");
}

/// What a write says, if it is refused for the want of space.
async fn shortage(running: &Running) -> Option<String> {
    match running.door().propose(small(1)).await {
        Err(error @ ProposeError::Busy { .. }) => Some(error.to_string()),
        _ => None,
    }
}

#[test]
fn writes_are_refused_while_the_reserve_is_still_free_and_taken_again_without_a_restart() {
    let (directory, disk) = (scratch("reserve"), SwitchedDisk::default());
    disk.set_free(100 << 20);
    let running = alone(&directory, &disk, PATIENCE);
    let runtime = runtime();
    runtime.block_on(running.door().propose(small(0))).unwrap();
    disk.set_free(63 << 20);
    until("a refusal", async || shortage(&running).await.is_some());
    let said = runtime.block_on(shortage(&running)).unwrap();
    assert!(said.contains("has 63 MiB left, less than its reserve of 64 MiB"), "{said}");
    assert!(said.contains("free some space there"), "{said}");
    runtime.block_on(running.door().consult(Catalog::applied)).unwrap();
    disk.set_free(80 << 20);
    until("writes that are taken again", async || running.door().propose(small(2)).await.is_ok());
    drop(running);
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn a_leader_short_of_space_hands_over_to_a_node_that_has_some_and_writes_go_on() {
    let disks: BTreeMap<u64, SwitchedDisk> = (1..=3).map(|node| (node, SwitchedDisk::default())).collect();
    let group = Group::on(&disks);
    let leader = group.leader();
    disks[&leader].set_free(1 << 20);
    group.until("another leader", async || {
        let leadership = *group.running_node(leader).door().leadership().borrow();
        leadership.leader.filter(|now| now.0 != leader)
    });
    let write = async || group.running_node(leader).door().propose(small(1)).await.ok();
    group.until("a write through the old leader", write);
}
