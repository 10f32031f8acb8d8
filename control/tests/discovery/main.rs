//! What discovery promises to whoever follows it: the session as scripts of requests, changes and answers, the
//! resources' contents, and the real gRPC face with a client that misbehaves.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)] // tests: a panic is how one fails

mod addresses;
mod bounds;
mod delta;
mod desk;
mod drift;
mod refusals;
mod resources;
mod shard;
mod stream;
mod walks;
mod whole;
