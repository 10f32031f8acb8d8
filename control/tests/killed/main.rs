//! Three real processes of `penstock-control`: killed with SIGKILL and frozen with SIGSTOP while a client writes. What was
//! acknowledged is there, on every node, each time; what was not is sent again and counts once.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod processes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use processes::Processes;
use rustix::process::Signal;

/// Kills in a row; each waits until the killed node is back and whole.
const KILLS: usize = 6;

/// How long the writer waits for one node before it asks another.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// A client that writes until it is told to stop, each write until it is acknowledged.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(processes: &Processes) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let mut clients = processes.registrations();
        let task = processes.runtime.spawn(async move {
            let mut sequence = 0;
            while !stopped.load(Ordering::Relaxed) {
                sequence += 1;
                let mut tries = 0;
                loop {
                    let write = clients[tries % 3].register(processes::registration(sequence));
                    // A frozen node never answers: only the caller's own patience ends the call.
                    if let Ok(Ok(_)) = tokio::time::timeout(WRITE_PATIENCE, write).await {
                        break;
                    }
                    tries += 1;
                    assert!(tries < 10_000, "no node takes write {sequence}");
                }
                count.store(sequence, Ordering::Relaxed);
            }
        });
        Self { acknowledged, stop, task }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the writing; answers how many writes were acknowledged in all.
    fn finish(self, processes: &Processes) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        processes.runtime.block_on(self.task).unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

#[test]
fn leaders_killed_in_a_row_under_writes_lose_no_acknowledged_write() {
    let mut processes = Processes::start();
    let writer = Writer::start(&processes);
    for _ in 0..KILLS {
        let leader = processes.leader();
        let before = writer.acknowledged();
        processes.kill(leader);
        processes.until("writes go on without the leader", async || writer.acknowledged() > before + 2);
        processes.restart(leader);
        let there = writer.acknowledged();
        processes.until_holds(leader, there);
    }
    let written = writer.finish(&processes);
    for node in processes.all() {
        assert_eq!(processes.instances(node), written, "node {node}");
    }
}

#[test]
fn a_frozen_leader_is_replaced_and_follows_once_it_thaws() {
    let processes = Processes::start();
    let writer = Writer::start(&processes);
    let leader = processes.leader();
    let before = writer.acknowledged();
    processes.signal(leader, Signal::STOP);
    processes.until("writes go on without the frozen leader", async || writer.acknowledged() > before + 2);
    processes.signal(leader, Signal::CONT);
    let written = writer.finish(&processes);
    processes.until_holds(leader, written);
    assert_eq!(processes.instances(processes.leader()), written);
}

#[test]
fn sigterm_drains_the_leader_and_it_ends_well() {
    let mut processes = Processes::start();
    let leader = processes.leader();
    let writer = Writer::start(&processes);
    processes.signal(leader, Signal::TERM);
    let status = processes.ended(leader);
    assert!(status.success(), "{status}");
    let written = writer.finish(&processes);
    let survivor = processes.leader();
    assert_ne!(survivor, leader);
    assert_eq!(processes.instances(survivor), written);
}
