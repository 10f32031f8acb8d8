//! Two hosts as network namespaces, joined by a pair of virtual interfaces, over IPv4 and IPv6; each the other's way to
//! everywhere. The callee's host also has the control node.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Nothing here takes long on an idle machine; a test that hangs should say where.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The user that proxies run as.
pub const PROXY_USER: u32 = 2102;

/// The two hosts, and everything that runs on them.
pub struct Stage {
    caller: String,
    callee: String,
    pub scratch: PathBuf,
    processes: Vec<Child>,
}

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Where applications call from: 10.77.0.1, fd00:77::1.
    Caller,
    /// Where they are served: 10.77.0.2, fd00:77::2.
    Callee,
}

/// Where `ip netns exec` looks for what stands for a file of `/etc` in a namespace.
fn resolver_of(namespace: &str) -> PathBuf {
    PathBuf::from("/etc/netns").join(namespace)
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Stage {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Names of interfaces have at most 15 bytes.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ps{}x{number}", std::process::id());
        let scratch = std::env::temp_dir().join(format!("penstock-netns-{name}"));
        std::fs::create_dir_all(&scratch).unwrap();
        let stage =
            Self { caller: format!("{name}a"), callee: format!("{name}b"), scratch, processes: Vec::new() };
        let (a, b) = (&stage.caller, &stage.callee);
        ip(&format!("netns add {a}"));
        ip(&format!("netns add {b}"));
        ip(&format!("link add v0 netns {a} type veth peer name v0 netns {b}"));
        for (host, own, other) in [(a, 1, 2), (b, 2, 1)] {
            // Programs that look names up are told at once that there is nobody to ask.
            let resolver = resolver_of(host);
            std::fs::create_dir_all(&resolver).unwrap();
            std::fs::write(
                resolver.join("resolv.conf"),
                "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
            )
            .unwrap();
            ip(&format!("-n {host} link set lo up"));
            ip(&format!("-n {host} addr add 10.77.0.{own}/24 dev v0"));
            ip(&format!("-n {host} addr add fd00:77::{own}/64 dev v0 nodad"));
            ip(&format!("-n {host} link set v0 up"));
            // Rules see a connection only after it was routed: an address that nobody has needs a route too.
            ip(&format!("-n {host} route add default via 10.77.0.{other}"));
            ip(&format!("-n {host} -6 route add default via fd00:77::{other}"));
        }
        stage
    }

    fn namespace(&self, host: Host) -> &str {
        match host {
            Host::Caller => &self.caller,
            Host::Callee => &self.callee,
        }
    }

    /// A command on `host` as `user`, which ends when this process does.
    pub fn command(&self, host: Host, user: u32, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace(host), "setpriv", "--pdeathsig", "KILL"]);
        if user != 0 {
            command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
        }
        command.args(words).current_dir(&self.scratch).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, host: Host, user: u32, words: &[&str]) -> Output {
        self.command(host, user, words).output().unwrap()
    }

    /// Runs a command as root that must succeed; what it wrote.
    pub fn said(&self, host: Host, words: &[&str]) -> String {
        let output = self.run(host, 0, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {}{errors}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a program that runs until the stage is left; what it writes goes to a file beside the others'.
    pub fn start(&mut self, host: Host, user: u32, words: &[&str]) {
        let log = std::fs::File::create(self.scratch.join(format!("log-{}", self.processes.len()))).unwrap();
        let child =
            self.command(host, user, words).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.processes.push(child);
    }

    /// Where `penstock` lies for users who may not look into the directory where it was built.
    pub fn program(&self) -> String {
        let program = self.scratch.join("penstock");
        if !program.exists() {
            let built = env!("CARGO_BIN_EXE_penstock");
            std::fs::hard_link(built, &program)
                .or_else(|_| std::fs::copy(built, &program).map(|_| ()))
                .unwrap();
        }
        program.display().to_string()
    }

    /// `penstock` with these words, on `host`, as root.
    pub fn penstock(&self, host: Host, words: &[&str]) -> String {
        self.said(host, &[&[env!("CARGO_BIN_EXE_penstock")], words].concat())
    }

    /// Starts a proxy, as the user that the rules leave alone.
    pub fn proxy(&mut self, host: Host, user: u32, words: &[&str]) {
        let program = self.program();
        let words = [&[&program, "proxy", "--intercept", "--log=warn"], words].concat();
        self.start(host, user, &words);
    }

    /// Waits until `happened`; else fails with `what`, and with what every program wrote.
    pub fn until(&self, what: &str, happened: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened() {
            assert!(Instant::now() < deadline, "after {PATIENCE:?} still not: {what}\n{}", self.logs());
            #[allow(clippy::disallowed_methods)] // this thread has nothing else to do
            // polls: programs in another namespace can only be asked
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> String {
        let of = |at: usize| {
            let text = std::fs::read_to_string(self.scratch.join(format!("log-{at}"))).unwrap_or_default();
            format!("--- {at}\n{text}")
        };
        (0..self.processes.len()).map(of).collect()
    }

    /// A page that a server on `host` gives to the host itself.
    pub fn page(&self, host: Host, url: &str) -> Option<String> {
        let output = self.run(host, 0, &["curl", "--silent", "--fail", "--globoff", "--max-time", "30", url]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sum of a metric of the proxy whose admin port this is, over the lines that hold `labels`.
    pub fn metric(&self, host: Host, admin: u16, family: &str, labels: &str) -> f64 {
        let page = self.page(host, &format!("http://127.0.0.1:{admin}/metrics")).unwrap_or_default();
        let named = |line: &&str| {
            line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(labels)
        };
        page.lines().filter(named).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill(); // it may have ended by itself
            let _ = process.wait();
        }
        for name in [&self.caller, &self.callee] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
            let _ = std::fs::remove_dir_all(resolver_of(name));
        }
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}
