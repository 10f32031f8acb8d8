//! Settings: how one process is started. A file, the environment and flags become types that cannot be wrong.
//!
//! ```text
//! Sources  file < environment < flags, raw text with its origin   sources.rs
//! Reader   one typed question per key                             reader.rs, parse.rs
//! Complaints  every bad setting at once, as the user wrote it     complaint.rs
//! ```
//!
//! A program asks a [`Reader`] for each of its keys and closes with [`Reader::finish`]. Nothing here touches the
//! environment by itself: `main` hands it in, and a test hands in its own. Must never know any program's keys.

mod complaint;
pub mod parse;
mod reader;
mod sources;

pub use complaint::{Complaint, Complaints, nearest};
pub use reader::Reader;
pub use sources::Sources;

/// What each variable of the environment starts with.
pub const VARIABLE_PREFIX: &str = "PENSTOCK_";
