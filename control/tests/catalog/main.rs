//! The catalog, held to its promises by scripts of commands: what is registered and declared, writes exactly once,
//! traffic counted once, and the same state on every node whatever the bytes.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod declared;
mod determinism;
mod lives;
mod registered;
mod script;
mod traffic;
mod writes;
