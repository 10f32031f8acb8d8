//! HTTP/1.1 towards endpoints: one request and its answer over one connection, polled inside the caller's own future.
//! No task, no channel: the head is written from the caller's headers, so that a request can be written again on another
//! connection without a copy. Used by `http::upstream`; must never pool or pick.

mod answer;
mod decode;
mod encode;
mod exchange;
mod link;

pub use decode::{Decoded, Decoder};
pub use exchange::{AnswerHead, Trouble, Upload, exchange};
pub use link::Link;
