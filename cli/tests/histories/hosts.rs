//! Three hosts as network namespaces on one bridge, a control node on each. The test itself stands at the bridge.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How many nodes there are, numbered from 1.
pub(crate) const NODES: u64 = 3;
/// The size of each node's disk: its segments, the reserve of 64 MiB, and room to fill.
const DISK_MIB: u64 = 192;

/// The hosts and what runs on them.
pub(crate) struct Hosts {
    name: String,
    scratch: PathBuf,
    processes: Vec<Option<Child>>,
}

/// What a cut link still lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    Both,
    /// What the host sends.
    Hearing,
    /// What the host hears.
    Sending,
}

fn run(program: &str, words: &str) {
    let output = Command::new(program).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Where a node is reached.
pub(crate) fn address(node: u64, port: u16) -> String {
    format!("10.78.0.{node}:{port}")
}

impl Hosts {
    /// Makes the hosts, moves this thread to the bridge and starts every node. They end with this thread.
    pub(crate) fn start() -> Self {
        let name = format!("ph{}", std::process::id());
        let scratch = std::env::temp_dir().join(format!("penstock-histories-{name}"));
        std::fs::create_dir_all(&scratch).unwrap();
        let mut hosts = Self { name, scratch, processes: (0..NODES).map(|_| None).collect() };
        let hub = format!("{}h", hosts.name);
        run("ip", &format!("netns add {hub}"));
        run("ip", &format!("-n {hub} link set lo up"));
        run("ip", &format!("-n {hub} link add bridge type bridge"));
        run("ip", &format!("-n {hub} addr add 10.78.0.254/24 dev bridge"));
        run("ip", &format!("-n {hub} link set bridge up"));
        for node in 1..=NODES {
            let host = hosts.host(node);
            run("ip", &format!("netns add {host}"));
            run("ip", &format!("link add v0 netns {host} type veth peer name n{node} netns {hub}"));
            run("ip", &format!("-n {hub} link set n{node} master bridge up"));
            run("ip", &format!("-n {host} addr add 10.78.0.{node}/24 dev v0"));
            run("ip", &format!("-n {host} link set lo up"));
            run("ip", &format!("-n {host} link set v0 up"));
            let disk = hosts.disk(node);
            std::fs::create_dir_all(&disk).unwrap();
            run("mount", &format!("-t tmpfs -o size={DISK_MIB}m tmpfs {}", disk.display()));
        }
        let at_bridge = File::open(format!("/run/netns/{hub}")).unwrap();
        move_into_link_name_space(at_bridge.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        (1..=NODES).for_each(|node| hosts.restart(node));
        hosts
    }

    fn host(&self, node: u64) -> String {
        format!("{}n{node}", self.name)
    }

    fn disk(&self, node: u64) -> PathBuf {
        self.scratch.join(format!("disk-{node}"))
    }

    fn process(&mut self, node: u64) -> &mut Option<Child> {
        &mut self.processes[usize::try_from(node).unwrap() - 1]
    }

    /// Starts a node that does not run, with the data that it left.
    pub(crate) fn restart(&mut self, node: u64) {
        let peers: Vec<String> = (1..=NODES).map(|peer| format!("{peer}={}", address(peer, 4101))).collect();
        let log = File::options().create(true).append(true).open(self.scratch.join(format!("log-{node}")));
        let log = log.unwrap();
        let host = self.host(node);
        let child = Command::new("ip")
            .args(["netns", "exec", &host, "setpriv", "--pdeathsig", "KILL"])
            .args([env!("CARGO_BIN_EXE_penstock"), "control", "--cluster=histories"])
            .arg(format!("--node={node}"))
            .arg(format!("--peers={}", peers.join(",")))
            .arg(format!("--data-directory={}", self.disk(node).join("data").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        assert!(self.process(node).replace(child).is_none(), "node {node} runs");
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self, node: u64) {
        let mut process = self.process(node).take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&mut self, node: u64, signal: Signal) {
        let process = self.process(node).as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// Cuts a node's links to the other nodes; clients reach it still.
    pub(crate) fn cut(&self, node: u64, cut: Cut) {
        let others: Vec<String> =
            (1..=NODES).filter(|other| *other != node).map(|other| format!("10.78.0.{other}")).collect();
        let others = others.join(", ");
        let mut rules = "table ip cut {\n".to_owned();
        if cut != Cut::Sending {
            rules +=
                &format!("chain in {{ type filter hook input priority 0; ip saddr {{ {others} }} drop; }}\n");
        }
        if cut != Cut::Hearing {
            rules += &format!(
                "chain out {{ type filter hook output priority 0; ip daddr {{ {others} }} drop; }}\n"
            );
        }
        self.rules(node, &(rules + "}\n"));
    }

    /// Takes that back.
    pub(crate) fn mend(&self, node: u64) {
        self.rules(node, "delete table ip cut\n");
    }

    fn rules(&self, node: u64, rules: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.host(node), "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
    }

    /// Leaves no byte free on a node's disk.
    pub(crate) fn fill_disk(&self, node: u64) {
        let mut ballast = File::create(self.disk(node).join("ballast")).unwrap();
        let zeros = vec![0; 1 << 16];
        while ballast.write_all(&zeros).is_ok() {}
    }

    /// Takes that back.
    pub(crate) fn free_disk(&self, node: u64) {
        std::fs::remove_file(self.disk(node).join("ballast")).unwrap();
    }

    /// The end of every node's log.
    pub(crate) fn logs(&self) -> String {
        let tail = |node: u64| {
            let text = std::fs::read_to_string(self.scratch.join(format!("log-{node}"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("== node {node}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        (1..=NODES).map(tail).collect()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.kill(); // it may have ended by itself
            let _ = process.wait();
        }
        for node in 1..=NODES {
            let _ = Command::new("umount").arg("--lazy").arg(self.disk(node)).status();
            let _ = Command::new("ip").args(["netns", "delete", &self.host(node)]).status();
        }
        let _ = Command::new("ip").args(["netns", "delete", &format!("{}h", self.name)]).status();
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}
