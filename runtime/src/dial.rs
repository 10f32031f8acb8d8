//! How connections to other processes are opened: by the system, or by whatever a simulation puts in its place.
//!
//! Only for the few long-lived connections of gRPC (nodes to each other, a proxy to its node); the data path dials by itself.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection's bytes, whatever carries them.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// An open connection, as gRPC's transport takes it.
pub type Connection = TokioIo<Box<dyn Carrier>>;

/// Opens a connection to the host and port of an address.
pub type Dial = Arc<dyn Fn(Uri) -> BoxFuture<'static, io::Result<Connection>> + Send + Sync>;

/// Who opens connections.
#[derive(Clone, Default)]
pub enum Dialler {
    /// The system's own network.
    #[default]
    System,
    /// A simulated network.
    Given(Dial),
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Given(_) => "Given",
        })
    }
}
