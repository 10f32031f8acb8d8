//! Real nodes on hosts of their own, under faults that only an operating system has: processes killed and frozen, links cut in
//! both directions and in one, a disk that is full. Clients record what they asked and were told; the history of each key must
//! be linearizable, by the same search that the simulation uses.
//!
//! Needs root, `ip` and `nft`. Namespaces, mounts and processes are the test's own, and gone when it ends, also when it fails.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod clients;
mod faults;
mod hosts;
