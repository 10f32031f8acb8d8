//! Wires one proxy together: starts the workers, the control thread and the admin server, and stops them in order.
//!
//! It holds no rule: what is followed, registered, reported and carried is decided in the rooms below. The control
//! thread is one current-thread runtime; it carries the xDS stream, the registration and the reports, and is never in
//! the path of a request.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use crate::settings::Settings;

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener or thread of the data path could not be had.
    #[error("cannot start the workers: {0}")]
    Workers(#[source] io::Error),
    /// The admin server could not be had.
    #[error(transparent)]
    Admin(#[from] runtime::admin::StartError),
    /// The control thread could not be had.
    #[error("cannot start the control thread: {0}; the process is out of threads, memory or files")]
    Thread(#[source] io::Error),
}

/// A proxy that runs. Dropping it leaves it running; [`Running::drain`] ends it.
#[derive(Debug)]
pub struct Running {
    /// Where the application sends its requests.
    pub outbound_address: SocketAddr,
    /// Where callers' proxies connect, if the application serves anything.
    pub inbound_address: Option<SocketAddr>,
    /// Where `/metrics`, `/live` and `/ready` are.
    pub admin_address: SocketAddr,
}

/// Binds every listener and starts every thread; returns once connections are taken.
///
/// # Errors
/// If an address cannot be bound or a thread cannot be started; then nothing is left behind.
pub fn start(_settings: Settings) -> Result<Running, StartError> {
    Err(StartError::Thread(io::Error::other("the control thread is being written")))
}

impl Running {
    /// Stops well: stops being ready, leaves the mesh, serves on until callers have moved on, finishes what runs,
    /// reports the last window. `cut_short` (a second signal) lets go at once.
    #[allow(clippy::unused_async)] // skeleton
    pub async fn drain(self, _cut_short: impl Future<Output = ()>) {}
}
