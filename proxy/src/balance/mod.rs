//! Picks one endpoint for a request: power of two choices over Peak-EWMA load, or in turn, or by a ring; decides who is
//! ejected, how many requests stay in a zone, whether a retry fits the budget and how long it waits, and what a rate limit lets through. Pure: time and chance are handed in, so
//! that one seed drives it in simulation. Stands between the route and the connection; must never touch either.

mod backoff;
mod bucket;
mod budget;
mod chance;
mod ejection;
mod ewma;
mod pick;
mod ring;
mod spread;
mod windowed;

pub use backoff::backoff;
pub use bucket::Bucket;
pub use budget::Budget;
pub use chance::Chance;
pub use ejection::{Health, Interval, Outcome, floor_allows, outliers};
pub use ewma::{ASSUMED_LATENCY, PeakEwma};
pub use pick::{Weights, pick};
pub use ring::{Ring, place};
pub use spread::{below, in_turn, staying_share, takes_part};
