//! Child processes of a benchmark: started on free ports with output to a file, measured by the kernel's accounting, ended
//! by their id when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Why a benchmark could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// A program could not be started.
    #[error("cannot start {program}: {source}; install it, or name it by its option")]
    Start {
        /// Which.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not become ready.
    #[error("{what} was not ready within {seconds} s; the last it said:\n{said}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The end of its output.
        said: String,
    },
    /// A figure could not be taken.
    #[error("{0}")]
    Other(String),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A directory that is removed when dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Result<Self, Failed> {
        // Beside the binary, not in /tmp: that may be memory, and an fsync there costs nothing.
        let beside = std::env::current_exe()?;
        let parent = beside.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
        let path = parent.join(format!("bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running child.
pub(crate) struct Process {
    child: Child,
    pub(crate) log: PathBuf,
}

impl Process {
    /// Starts a program with its output in `log`.
    pub(crate) fn start(program: &Path, arguments: &[String], log: PathBuf) -> Result<Self, Failed> {
        let output = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|source| Failed::Start { program: program.display().to_string(), source })?;
        Ok(Self { child, log })
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failed> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| Failed::Other(format!("{} is no process id", self.child.id())))?;
        kill_process(id, signal).map_err(|errno| Failed::Io(errno.into()))
    }

    /// Waits until it has ended by itself; kills it after `seconds`.
    pub(crate) async fn ended(&mut self, seconds: u64) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
        while matches!(self.child.try_wait(), Ok(None)) {
            if tokio::time::Instant::now() > deadline {
                return self.kill();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// CPU time that all its threads have used so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failed> {
        cpu_of(&self.child.id().to_string())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default())
    }
}

fn cpu_of(process: &str) -> Result<Duration, Failed> {
    let mut nanos = 0_u64;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between the two looks; what it used is lost.
        let stat = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += stat.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

/// Length of a tick of `/proc/PID/stat`: what `sysconf(_SC_CLK_TCK)` answers on every Linux.
const STAT_TICK: Duration = Duration::from_millis(10);

/// CPU time that this process has used so far, its ended threads included.
pub(crate) fn own_cpu() -> Result<Duration, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    // User and system time, fields 14 and 15 of proc(5); the name is field 2.
    let ticks =
        after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum::<u32>();
    Ok(STAT_TICK * ticks)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lines of a process's output that are shown when it does not become ready.
const LAST_LINES: usize = 12;

/// Asks `ready` every 20 ms until it says yes.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(
    what: &str,
    seconds: u64,
    log: &Path,
    mut ready: F,
) -> Result<(), Failed> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    while !ready().await {
        if tokio::time::Instant::now() > deadline {
            let output = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = output.lines().rev().take(LAST_LINES).collect();
            let said = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            return Err(Failed::NotReady { what: what.to_owned(), seconds, said });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
