//! Real programs on both sides of the proxies: what curl, nginx, Node, grpcio, websockets and OpenSSL say to each other passes
//! as it would without us. Two workers stand between caller and application, one outbound and one inbound, and know each other by
//! a snapshot that is set directly: no root, no control plane.
//!
//! Needs what `.ci/run tools` installs: the feature `peers`, which `.ci/run peers` sets. Without a program its tests fail.
#![allow(clippy::unwrap_used, unreachable_pub)] // tests: a panic is how one fails

mod affinity;
mod bytes;
mod changes;
mod detection;
mod drain;
mod effects;
mod files;
mod floods;
mod grpc;
mod heads;
mod http;
mod instance;
mod opaque;
mod ports;
mod process;
mod shares;
mod sides;
mod slow;
mod spreading;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tunnels;
mod unanswered;
