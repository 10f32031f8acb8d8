//! HTTP itself, for both directions: callers' connections come in through `connection` and are served by `h1` or hyper,
//! requests go out through `send` over an `upstream`, and each one's account is kept in a `tally`. Knows nothing of
//! services, routes or discovery: `outbound` and `inbound` decide where a request goes.

pub mod body;
pub mod breaker;
pub mod classify;
pub mod connection;
pub mod deadline;
pub(crate) mod dial;
pub mod ejections;
pub mod h1;
mod h2;
pub mod head_bounds;
pub mod hop;
pub mod looked;
pub(crate) mod own;
pub mod passing;
mod prefixed;
pub mod refusal;
pub mod replay;
pub mod request_body;
pub mod send;
pub mod signs;
pub mod state;
mod streams;
pub mod tally;
pub mod tunnel;
pub mod upstream;
pub mod watch;
