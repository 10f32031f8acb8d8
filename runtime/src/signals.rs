//! SIGTERM and SIGINT as a future.
//!
//! `main` waits for the first, drains, and lets a second one cut the drain short:
//!
//! ```no_run
//! # async fn main_of_a_program(trigger: runtime::drain::Trigger) -> std::io::Result<()> {
//! let mut signals = runtime::signals::Signals::listen()?;
//! let stop = signals.next().await;
//! tracing::info!(%stop, "stopping");
//! trigger.drain(std::time::Duration::from_secs(30), async { drop(signals.next().await) }).await;
//! # Ok(())
//! # }
//! ```
//!
//! Holds no rule of what a stop means; [`drain`](crate::drain) does.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Who asked the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: a supervisor, a container runtime, a rollout.
    Terminate,
    /// SIGINT: a person at the terminal.
    Interrupt,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// Both signals, caught from [`Signals::listen`] on: neither ends the process by itself any more.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches both signals for the rest of the process' life. Call it before anything is started that must be drained.
    ///
    /// # Errors
    /// If the handler cannot be installed; the process should not start then, since it could not stop well.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next request to stop. Loses none that came since the last call, but several of one kind count as one.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on should panic
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn each_signal_is_told_by_name_and_a_second_one_too() {
        let mut signals = Signals::listen().unwrap();
        for (sent, expected) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::INT, "SIGINT")]
        {
            kill_process(getpid(), sent).unwrap();
            assert_eq!(signals.next().await.to_string(), expected);
        }
    }
}
