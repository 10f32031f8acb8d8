//! One child process of the demo: this program again, as `control` or `proxy`. Ends with the demo, however that ends.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::answer::Failure;

/// Lines of a child's log that are shown when it failed.
const LINES_SHOWN: usize = 20;

/// How long a child may take to end by itself after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(3);

/// A child that was started.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    process: tokio::process::Child,
    log: PathBuf,
    /// It was killed on purpose: that it is gone is no failure.
    killed: bool,
}

impl Child {
    /// Starts this program with `words`; what it says goes to `folder/name.log`.
    ///
    /// Call it on the main thread: the kernel ends the child with the thread that started it.
    pub(super) fn start(name: &str, folder: &Path, words: &[String]) -> Result<Self, Failure> {
        let log = folder.join(format!("{name}.log"));
        let process = spawn(&log, words).map_err(|error| {
            Failure::Refused(format!("cannot start {name}: {error}; is this machine out of processes?"))
        })?;
        Ok(Self { name: name.to_owned(), process, log, killed: false })
    }

    /// An error with what it said last, if it ended though nobody told it to.
    pub(super) fn ended(&mut self) -> Option<Failure> {
        if self.killed {
            return None;
        }
        let status = self.process.try_wait().ok()??;
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n  ");
        Some(Failure::Refused(format!("{} ended ({status}); it said:\n  {shown}", self.name)))
    }

    /// SIGKILL, as a power cut would end it; returns when it is gone.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.killed = true;
        self.process.kill().await
    }

    /// SIGTERM; [`Self::gone`] waits for what follows.
    pub(super) fn terminate(&mut self) {
        self.killed = true;
        let id =
            self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM); // gone already, if this fails
        }
    }

    /// Waits until it is gone; SIGKILL when it takes too long.
    pub(super) async fn gone(&mut self) {
        if timeout(STOP_MAX, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await; // gone already, if this fails
        }
    }
}

fn spawn(log: &Path, words: &[String]) -> io::Result<tokio::process::Child> {
    let out = File::create(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    let [program, flags @ ..] = words else { unreachable!("a child is started as control or proxy") };
    command.arg(program).arg(format!("--end-with-parent={}", runtime::process::own_id())).args(flags);
    for (variable, _) in std::env::vars_os() {
        let settings = variable.to_string_lossy().starts_with(runtime::settings::VARIABLE_PREFIX);
        if settings {
            command.env_remove(variable); // the user's own mesh must not reach into the demo's
        }
    }
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    // A group of its own: Ctrl-C reaches us alone, and we end the children in order.
    command.process_group(0).kill_on_drop(true).spawn()
}

/// A flag as the programs take it.
pub(super) fn flag(key: &str, value: impl std::fmt::Display) -> String {
    format!("--{key}={value}")
}

/// Addresses as one value.
pub(super) fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
