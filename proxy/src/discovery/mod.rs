//! Discovery: how the proxy learns where services are, by name and on demand. Step 6 of the way of the data.
//!
//! ```text
//! a worker's Demand -> feed.rs -> subscriber.rs -> stream.rs -> a control node
//!          Published <- feed.rs <- subscriber.rs <- stream.rs <-
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `subscriber`, `bounds` | the rules of one incremental xDS stream, as a value |
//! | `subscriber_greeting` | what is said first on a new stream |
//! | `subscriber_addresses`, `owners` | whose the original destinations of intercepted connections are |
//! | `kept`, `outcome`, `digest` | what it remembers, what comes out of it, and how it tells what it holds |
//! | `decode`, `decode_routes`, `decode_endpoints` | xDS resources to the nouns, each checked |
//! | `uplink` | which control node is next, and the connection to it |
//! | `stream` | carries requests and responses, goes on to the next node when one is lost |
//! | `feed`, `cache` | carries demands in and snapshots out; keeps the last good config on disk |

mod bounds;
mod cache;
mod decode;
mod decode_endpoints;
mod decode_filters;
mod decode_retries;
mod decode_routes;
mod decode_sessions;
mod digest;
mod feed;
#[cfg(test)]
mod fixtures;
mod kept;
mod outcome;
mod owners;
#[cfg(test)]
mod owners_tests;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod stream;
#[cfg(test)]
mod stream_tests;
mod subscriber;
mod subscriber_addresses;
mod subscriber_greeting;
#[cfg(test)]
mod subscriber_tests;
mod uplink;

pub use bounds::Bounds;
pub use cache::is_kept;
pub use decode::Kind;
pub use feed::{Asked, Feed};
pub use outcome::{Holding, Outputs, Resolution, Tally};
pub use stream::{StreamEvent, carry};
pub use subscriber::Subscriber;
pub use uplink::{Addresses, Uplink};
