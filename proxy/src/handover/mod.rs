//! An upgrade without a lost connection: a new process takes over the listening sockets of the one that runs.
//!
//! ```text
//! old: offer.rs  <- connects -- new: taking.rs
//!      sockets, by SCM_RIGHTS ->        starts its workers on them: both accept now
//!                     <- ready
//!      stops its admin port
//!      counts of the families ->        adds them, opens its admin port
//!      drains, without leaving the mesh
//!      what it counted meanwhile ->     adds that
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `wire` | messages and sockets over a unix socket |
//! | `offer` | the running process' side |
//! | `taking` | the new process' side |

mod offer;
mod taking;
mod wire;

pub(crate) use offer::{Offer, Successor};
pub(crate) use taking::{Predecessor, take_over};
