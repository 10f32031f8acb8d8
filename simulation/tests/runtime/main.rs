//! Runtime simulation, the second layer: the real actors, tonic, hyper and h2 of three control nodes and some proxies, on a
//! simulated network, disk and clock, one seed and one scenario in a process.
//!
//! What the core simulation leaves out is here: streams and their ends, flow control, dials and back-off, mailboxes, drains.
//! Each scenario runs over a few seeds (`PENSTOCK_SEED=7` runs one); a failure names the seed and how to run it again.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod disk;
mod follower;
mod process;
mod scenarios;
mod stage;
mod writer;
