//! Picks one endpoint for a request: power of two choices over Peak-EWMA load. Pure: time and chance are handed in, so
//! that one seed drives it in simulation. Stands between the route and the connection; must never touch either.

mod chance;
mod ewma;
mod pick;

pub use chance::Chance;
pub use ewma::{ASSUMED_LATENCY, PeakEwma};
pub use pick::{Weights, pick};
