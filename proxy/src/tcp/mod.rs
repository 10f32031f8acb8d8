//! Bytes from one socket to another, without a look into them: with `splice(2)` through lent `pipes` while a lot flows, by
//! a lent buffer while little does, and with neither while nothing does. Knows no service, no HTTP and no account.

mod carry;
mod ends;
mod flow;
mod outstanding;
mod pipes;

pub use carry::{Way, carry, reset};
pub use ends::{End, Ends};
pub use flow::Tools;
pub use pipes::PIPES_MAX;
