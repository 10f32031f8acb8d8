//! A thread that works beside the workers and is waited for when they have ended, but not for ever: a full pipe or a
//! stuck collector must not keep a host from stopping.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tracing::warn;

/// How long the end is waited for. Shorter loses the last records of a slow disk or collector.
const END_WITHIN: Duration = Duration::from_secs(3);

/// A thread that ends by itself once its queue is closed.
#[derive(Debug)]
pub(super) struct Aside {
    name: &'static str,
    ended: Receiver<()>,
}

impl Aside {
    /// Starts it.
    pub(super) fn start(name: &'static str, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (done, ended) = sync_channel(1);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            body();
            let _ = done.send(()); // nobody may be waiting
        })?;
        Ok(Self { name, ended })
    }

    /// Waits for its end, for a bounded time.
    pub(super) fn finished(self) {
        match self.ended.recv_timeout(END_WITHIN) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                warn!(thread = self.name, "its last records are lost: it did not end within {END_WITHIN:?}");
            }
            Err(RecvTimeoutError::Disconnected) => warn!(thread = self.name, "ended badly"),
        }
    }
}
