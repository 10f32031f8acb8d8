//! Picks one endpoint for a request: power of two choices over Peak-EWMA load. Beside it, what else decides about requests
//! as a pure value: the retry budget and the wait between tries. Pure: time and chance are handed in, so
//! that one seed drives it in simulation. Stands between the route and the connection; must never touch either.

mod backoff;
mod budget;
mod chance;
mod ewma;
mod pick;
mod windowed;

pub use backoff::backoff;
pub use budget::Budget;
pub use chance::Chance;
pub use ewma::{ASSUMED_LATENCY, PeakEwma};
pub use pick::{Weights, pick};
