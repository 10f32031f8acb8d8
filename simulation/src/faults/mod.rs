//! The classes of faults, a table for each family, from which seeds draw. What each does is in `world/acts.rs`; that none
//! destroys more copies than the protocol tolerates is seen to by `world/atlas.rs`.

mod clocks;
mod disks;
mod networks;
mod operators;
mod processes;
mod proxies;

use std::time::Duration;

use crate::chance::Chance;
use crate::plan::Class;
use crate::shape::Shape;

/// Every family of classes.
pub(crate) const CLASSES: [&[Class]; 6] = [
    networks::CLASSES,
    disks::CLASSES,
    clocks::CLASSES,
    processes::CLASSES,
    operators::CLASSES,
    proxies::CLASSES,
];

/// What comes while a cluster is founded, from these classes, each of the first two at once: who proposes the first entries of the log
/// dies, the next one's clock may show another time, and the rest holds them up.
pub(crate) const AT_FOUNDING: [&str; 7] =
    ["kill-next-leader", "jump", "kill", "one-way", "lose", "delay", "slow-disk"];

/// A time of so many milliseconds, in whole ones.
fn millis(chance: &mut Chance, low: u64, high: u64) -> Duration {
    Duration::from_millis(low + chance.below(high - low + 1))
}

/// Any node.
fn node(chance: &mut Chance, shape: &Shape) -> u64 {
    chance.below(shape.nodes) + 1
}

/// Two different nodes; `None` where there is one.
fn two_nodes(chance: &mut Chance, shape: &Shape) -> Option<(u64, u64)> {
    let first = node(chance, shape);
    let step = (shape.nodes > 1).then(|| 1 + chance.below(shape.nodes - 1))?;
    Some((first, (first + step - 1) % shape.nodes + 1))
}

/// Any proxy; `None` where there is none.
fn proxy(chance: &mut Chance, shape: &Shape) -> Option<u64> {
    (shape.proxies > 0).then(|| chance.below(shape.proxies))
}
