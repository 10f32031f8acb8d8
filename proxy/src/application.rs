//! Whether the application beside the proxy is gone: told by its process where that is known, else by its port and by what
//! still passes through the proxy. Followed by `proxy.rs` on the control thread while it drains.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::worker::Asker;

/// How often it is looked for, and how long its port may take to accept.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// So many looks in a row must find nobody. Fewer: a full accept queue looks like the end. More: the host stops later.
const LOOKS_MAX: u32 = 3;

/// The application's process, held so that another one which gets its number is not taken for it.
#[derive(Debug)]
pub(crate) struct Process(OwnedFd);

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// If there is none, or it cannot be seen from here.
    pub(crate) fn of(id: u32) -> io::Result<Self> {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other(format!("{id} is no process id")))?;
        let named = |error: rustix::io::Errno| {
            let error = io::Error::from(error);
            io::Error::new(
                error.kind(),
                format!("cannot follow process {id}: {error}; does it run, and is it seen from here?"),
            )
        };
        Ok(Self(pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(named)?))
    }

    /// Waits until it has ended. Looks at it from time to time: to be woken by it takes a registration that tokio calls unsafe.
    pub(crate) async fn gone(&self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.has_ended() {
            looks.tick().await;
        }
    }

    /// A descriptor of a process can be read once that has ended (pidfd_open(2)). One that cannot be asked counts as there.
    fn has_ended(&self) -> bool {
        let mut asked = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

/// Waits until nobody listens at `address` and nothing passes through the proxy any more.
///
/// A server that stops well closes its port first and finishes its requests then; it may call others for that. So a closed port
/// alone does not mean that the application is gone.
pub(crate) async fn silent(address: SocketAddr, workers: &Asker) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut found_nobody = 0;
    while found_nobody < LOOKS_MAX {
        looks.tick().await;
        let answers = matches!(timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_)));
        let is_silent = !answers && workers.running().await == 0;
        found_nobody = if is_silent { found_nobody + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[tokio::test]
    async fn a_process_is_gone_when_it_has_ended_and_not_before() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let mut gone = std::pin::pin!(process.gone());
        assert!(futures_util::FutureExt::now_or_never(gone.as_mut()).is_none());
        drop(child.stdin.take());
        gone.await; // a process that nobody has waited for yet has ended too
        child.wait().unwrap();
        assert!(Process::of(child.id()).unwrap_err().to_string().contains("does it run"));
    }
}
