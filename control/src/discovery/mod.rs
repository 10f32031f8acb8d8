//! Discovery: what each proxy is told, over xDS. Steps 4 and 5 of a registration's way: changes of the catalog come
//! in, each touched resource is encoded once, and each stream is told what it follows and does not hold yet.
//!
//! - `kind.rs`, `client.rs`, `push.rs`: the words: kinds of resource, who follows, one answer
//! - `mirror.rs`: what a shard knows of the catalog
//! - `shelf.rs`, `resources/`: nouns to encoded resources, in the shape that each kind of client insists on
//! - `session.rs` (`delta.rs`, `whole.rs`, `cut.rs`, `subscriptions.rs`): one stream, as a value

mod client;
mod cut;
mod delta;
mod kind;
mod mirror;
mod push;
mod resources;
mod session;
mod shelf;
mod subscriptions;
mod whole;

pub use client::{Client, Shape};
pub use kind::Kind;
pub use mirror::{Entry, Mirror, OUTBOUND, Touch};
pub use push::{Push, Resource};
pub use session::{NAMES_PER_SESSION_MAX, Output, Refusal, Session, Standing, Way};
pub use shelf::Shelf;
