//! What a connection speaks, from the first bytes of its caller, however they are cut: `sight` judges them and `hello` reads
//! TLS's (both pure), `look` waits for them. Knows no service; what becomes of a connection is `outbound`'s and `inbound`'s.

mod hello;
mod look;
#[cfg(test)]
mod mutation_tests;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod sight;

pub use look::{How, Learned, Seen, look};
pub use sight::{SIGHT_BYTES_MAX, Sight, Spoken, sight};
