//! Discovery: what each proxy is told, over xDS. Steps 4 and 5 of a registration's way: changes of the catalog come
//! in, each touched resource is encoded once, and each stream is told what it follows and does not hold yet.
//!
//! - `kind.rs`, `client.rs`, `push.rs`: the words: kinds of resource, who follows, one answer
//! - `mirror.rs`: what a shard knows of the catalog
//! - `shelf.rs`, `resources/`: nouns to encoded resources, in the shape that each kind of client insists on
//! - `session.rs` (`delta.rs`, `whole.rs`, `cut.rs`, `drift.rs`, `subscriptions.rs`): one stream, as a value
//! - `shard.rs`: many sessions over one shelf, as a value (`doubts.rs`: what waits for a proof); `actor.rs` carries it, `messages.rs` says what it hears
//! - `service.rs`: the gRPC face; `load.rs`, `load_service.rs`: load reports of Envoy and gRPC
//! - `start.rs`: its thread, and [`Discovery`], which `node.rs` wires

mod actor;
mod client;
mod cut;
mod delta;
mod doubts;
mod drift;
mod kind;
mod load;
mod load_service;
pub mod messages;
mod mirror;
mod push;
mod resources;
mod service;
mod session;
mod shard;
mod shelf;
mod start;
mod subscriptions;
mod whole;

pub use actor::ShardActor;
pub use client::{Client, Shape};
pub use drift::Drift;
pub use kind::Kind;
pub use load::LoadTally;
pub use load_service::LoadReports;
pub use mirror::{Entry, Mirror, OUTBOUND, Touch};
pub use push::{Push, Resource};
pub use service::Streams;
pub use session::{NAMES_PER_SESSION_MAX, Output, Refusal, Session, Standing, Way};
pub use shard::{Request, SESSIONS_MAX, Sent, SessionId, Shard, Turn};
pub use shelf::Shelf;
pub use start::{Discovery, DiscoveryThread};
