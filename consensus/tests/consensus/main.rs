//! The crate from outside: three replicas on virtual network, time and disks, and the log on a disk that a
//! test can break.
#![allow(clippy::unwrap_used)] // a test may fail by panic

mod cluster;
mod crashes;
mod disk;
mod elections;
mod incoming;
mod log_faults;
mod log_recovery;
mod membership;
mod reads;
mod snapshots;
mod writes;
