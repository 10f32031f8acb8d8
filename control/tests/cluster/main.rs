//! Real control nodes in one process, on free ports of the loopback, asked over gRPC as any client asks. One file per theme.
//! What needs a killed process or a cut link stands with the real processes.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod configs;
mod disk;
mod divergence;
mod founding;
mod group;
mod leases;
mod log_page;
mod members;
mod overload;
mod queries;
mod reads;
mod snapshots;
mod starting;
mod switched_disk;
mod traffic;
mod writes;
