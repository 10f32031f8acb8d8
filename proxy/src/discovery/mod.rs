//! Discovery: how the proxy learns where services are, by name and on demand. Step 6 of the way of the data.
//!
//! ```text
//! a worker's Demand -> feed.rs -> subscriber.rs -> stream.rs -> a control node
//!            snapshot <- feed.rs <- subscriber.rs <- stream.rs <-
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `subscriber` | the rules of one incremental xDS stream, as a value |
//! | `kept`, `outcome` | what it remembers, and what comes out of it |
//! | `decode`, `decode_routes`, `decode_endpoints` | xDS resources to the nouns, each checked |

mod decode;
mod decode_endpoints;
mod decode_routes;
#[cfg(test)]
mod fixtures;
mod kept;
mod outcome;
mod subscriber;
#[cfg(test)]
mod subscriber_tests;

pub use decode::Kind;
pub use outcome::{Outputs, Resolution, Tally};
pub use subscriber::{Bounds, Subscriber};
