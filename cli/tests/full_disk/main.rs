//! A control node on a disk that is really small: a tmpfs of the test's own. Mounting needs root, so the test stands behind a
//! feature; `.ci/run mounts` runs it, as root or in a user namespace.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, EndpointsRequest, Protocol, QualifiedName, RegisterRequest, WriteId};
use cli::answer::Failure;
use cli::args::{ConnectionArgs, Span};
use cli::connection::Connection;
use tokio::time::{interval, timeout};

const MIB: u64 = 1 << 20;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one write is tried.
const WRITE_MAX: Duration = Duration::from_secs(2);

/// A small disk, gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(mib: u64) -> Self {
        let path = std::env::temp_dir().join(format!("penstock-small-disk-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).status();
        assert!(mounted.unwrap().success(), "a tmpfs can be mounted: run this as root or by `unshare -rm`");
        Self(path)
    }

    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.0).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills it until so much is free.
    fn fill(&self, leave: u64) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let zeros = vec![0; 1 << 16];
        while self.free() > leave && file.write_all(&zeros).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A control node alone, ended with the test.
struct Node {
    process: Child,
    address: String,
}

impl Node {
    fn start(data: &Path) -> Self {
        let free = runtime::ports::addresses(3).unwrap();
        let [clients, peers, http] = [0, 1, 2].map(|at: usize| free[at].to_string());
        let process = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .args([
                "control",
                "--client-address",
                &clients,
                "--peer-address",
                &peers,
                "--http-address",
                &http,
            ])
            .arg("--data-directory")
            .arg(data)
            .arg(format!("--end-with-parent={}", std::process::id()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address: clients }
    }

    fn connection(&self, timeout: Duration) -> Connection {
        let args = ConnectionArgs { control: vec![self.address.clone()], timeout: Span(timeout) };
        Connection::new(&args).unwrap()
    }

    /// One write; `Err` with what the node says when it refuses.
    async fn write(&self, sequence: u64) -> Result<(), String> {
        let service = Some(QualifiedName { name: "web".to_owned(), namespace: "default".to_owned() });
        let request = RegisterRequest {
            id: Some(WriteId { client: "writer".to_owned(), sequence, since: None }),
            authority: Some(Authority { service: service.clone(), port: 80 }),
            protocol: Protocol::Http1.into(),
            endpoint: Some(Endpoint {
                instance: format!("web-{sequence}"),
                address: "10.0.0.1:80".to_owned(),
                workload: service,
                ..Endpoint::default()
            }),
            lease_seconds: 3600,
        };
        let call = |channel| {
            let request = request.clone();
            async move { RegistrationClient::new(channel).register(request).await }
        };
        // A command that is told to come back does so for as long as it may: here that is to be seen.
        match self.connection(WRITE_MAX).ask(call).await {
            Ok(_) => Ok(()),
            // A node that does not listen yet is asked again.
            Err(Failure::Refused(said) | Failure::Unreachable(said)) => Err(said),
            Err(other) => panic!("{other}"),
        }
    }

    /// How many endpoints a linearizable read finds.
    async fn endpoints(&self) -> usize {
        let call =
            |channel| async move { QueryClient::new(channel).endpoints(EndpointsRequest::default()).await };
        self.connection(PATIENCE).ask(call).await.unwrap().endpoints.len()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes until the answer fits.
async fn until(node: &Node, sequence: &mut u64, what: &str, fits: impl Fn(&Result<(), String>) -> bool) {
    let mut looks = interval(Duration::from_millis(50));
    let waited = timeout(PATIENCE, async {
        loop {
            looks.tick().await;
            *sequence += 1;
            let answer = node.write(*sequence).await;
            if fits(&answer) {
                return;
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never came: {what}"));
}

#[tokio::test]
async fn a_real_disk_that_fills_up_refuses_writes_before_it_is_full_and_heals_without_a_restart() {
    let disk = SmallDisk::mount(192);
    let mut node = Node::start(&disk.0.join("data"));
    let mut sequence = 0;
    until(&node, &mut sequence, "a first write", Result::is_ok).await;
    disk.fill(40 * MIB);
    let refused = |answer: &Result<(), String>| {
        answer.as_ref().is_err_and(|said| said.contains("MiB left, less than its reserve of 64 MiB"))
    };
    until(&node, &mut sequence, "a refusal", refused).await;
    assert!(disk.free() > 30 * MIB, "it was refused early: {} bytes are free", disk.free());
    let before = node.endpoints().await;
    assert!(before > 0, "reads go on");
    disk.fill(0);
    assert_eq!(disk.free(), 0);
    until(&node, &mut sequence, "a refusal on the full disk", refused).await;
    assert_eq!(node.endpoints().await, before);
    std::fs::remove_file(disk.ballast()).unwrap();
    until(&node, &mut sequence, "a write after space was made", Result::is_ok).await;
    assert_eq!(node.endpoints().await, before + 1);
    assert!(node.process.try_wait().unwrap().is_none(), "it is the same process");
}
