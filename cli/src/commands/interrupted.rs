//! Ctrl-C (or SIGTERM) of a command that computes for long and then sums up: the first asks it to sum up what it has, a second one
//! ends it at once. Without it an hour of runs would be gone by one key.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::signals::Signals;

use crate::answer::{Exit, Failure};

/// Whether somebody asked for an end. By default nobody is listened to, and a signal ends the process as it always does.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Listens from now on, on a thread of its own: the command computes on this one.
    pub(super) fn watched() -> Result<Self, Failure> {
        let wrong = |error: std::io::Error| Failure::Refused(format!("cannot wait for Ctrl-C: {error}"));
        let interrupted = Self::default();
        let told = interrupted.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(wrong)?;
        let mut signals = runtime.block_on(async { Signals::listen() }).map_err(wrong)?;
        #[allow(clippy::disallowed_methods)] // somebody wants an end, and there is nothing to drain
        let watch = move || {
            runtime.block_on(async {
                signals.next().await;
                told.set();
                signals.next().await;
                std::process::exit(i32::from(Exit::Failed as u8));
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(wrong)?;
        Ok(interrupted)
    }

    #[allow(clippy::print_stderr)] // to a person who waits
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
        if std::io::stderr().is_terminal() {
            eprintln!("\nending after this seed; Ctrl-C again ends at once");
        }
    }

    /// Whether to sum up now.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
