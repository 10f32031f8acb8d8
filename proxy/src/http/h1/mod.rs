//! HTTP/1.1, in both directions. Callers: `serve` takes a `request`, has it answered, and writes the `reply`, all in the
//! connection's own future. Endpoints: `exchange` writes a request over a `link` and reads the `answer`, polled in the
//! caller's future; a request can be written again on another connection without a copy. No task, no channel; must never
//! pool or pick.

mod answer;
mod caller;
mod decode;
mod encode;
mod exchange;
mod link;
#[cfg(test)]
mod mutation_tests;
mod outbox;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod reply;
mod request;
mod serve;
mod spelling;

pub use caller::CallerBody;
pub use decode::{Decoded, Decoder};
pub(super) use exchange::INTERIM_MAX;
pub use exchange::{AnswerHead, Trouble, Upload, exchange};
pub use link::Link;
pub(super) use reply::put_interim;
pub use request::{RequestHead, take_head};
pub use serve::{End, serve};
