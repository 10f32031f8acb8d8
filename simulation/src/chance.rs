//! The one source of chance of a run: a ChaCha8 stream from the seed. Whoever needs chance in a simulation draws here,
//! in the order of events, so that the same seed gives the same run.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A seeded generator.
#[derive(Debug, Clone)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The generator of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; zero if `bound` is zero. The bias of the modulus is below 2^-32 for what is drawn here.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.bits() % bound }
    }

    /// An index into something of length `length`, which must not be empty.
    pub fn index(&mut self, length: usize) -> usize {
        assert!(length > 0, "nothing to pick from");
        usize::try_from(self.below(length as u64)).expect("an index below a usize fits one")
    }

    /// The same in any order.
    pub fn shuffled<T>(&mut self, mut all: Vec<T>) -> Vec<T> {
        for unplaced in (2..=all.len()).rev() {
            all.swap(unplaced - 1, self.index(unplaced));
        }
        all
    }

    /// True in `per_mille` of 1,000 draws.
    pub fn happens(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A duration from `low` to `high`, evenly.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low).as_micros();
        low + Duration::from_micros(self.below(u64::try_from(span).unwrap_or(u64::MAX) + 1))
    }

    /// A latency with a heavy tail: mostly near `usual`, one in a hundred up to 30 times as long.
    pub fn latency(&mut self, usual: Duration) -> Duration {
        let most = self.between(usual / 2, usual * 3 / 2);
        if self.happens(10) { self.between(usual, usual * 30) } else { most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_seed_does_not() {
        let draw = |seed| {
            let mut chance = Chance::from_seed(seed);
            (0..8).map(|_| chance.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn what_is_shuffled_is_all_there_in_another_order() {
        let ordered: Vec<u64> = (0..20).collect();
        let mut shuffled = Chance::from_seed(1).shuffled(ordered.clone());
        assert_ne!(shuffled, ordered);
        shuffled.sort_unstable();
        assert_eq!(shuffled, ordered);
    }

    #[test]
    fn certain_things_happen_and_impossible_ones_do_not() {
        let mut chance = Chance::from_seed(1);
        assert!((0..100).all(|_| chance.happens(1000)));
        assert!(!(0..100).any(|_| chance.happens(0)));
    }
}
