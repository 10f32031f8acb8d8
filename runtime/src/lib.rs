//! The manners of a process: how every Penstock program reads its settings, starts, tells about itself and stops.
//!
//! | step of a process' life | module |
//! |---|---|
//! | read settings, report every bad one at once | [`settings`], over [`yaml`] |
//! | log, raise limits, end on a panic, end with the parent | [`telemetry`], [`rlimit`], [`panic_hook`], [`process`] |
//! | open listeners, and the connections of gRPC; find free ports for children | [`listen`], [`dial`], [`ports`] |
//! | say that it lives, is ready, and what it measured | [`admin`] |
//! | try again what failed | [`backoff`] |
//! | stop: take nothing new, finish what runs, until a deadline | [`signals`], [`drain`] |
//!
//! Ground floor: it knows nothing of Raft, xDS or the wire, and holds no rule of the mesh.

pub mod admin;
pub mod backoff;
pub mod dial;
pub mod drain;
pub mod listen;
pub mod panic_hook;
mod port_holder;
pub mod ports;
pub mod process;
pub mod rlimit;
pub mod settings;
pub mod signals;
pub mod telemetry;
pub mod yaml;
