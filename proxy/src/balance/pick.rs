//! The pick: two endpoints are drawn by chance, the less loaded one serves (Mitzenmacher: "The power of two choices in
//! randomized load balancing", 1996). Pure; who may be picked and how loaded each is, is asked from the caller.

use super::chance::Chance;

/// How often an unusable endpoint may be drawn before all are looked through in order.
const DRAWS_MAX: u32 = 4;

/// Where weights differ, the second choice must be this much less loaded to win: less, and noise in the measures
/// undoes the weights; more, and a slow endpoint keeps its share for too long.
const UPSET_FACTOR: f64 = 2.0;

/// The weights of a set of endpoints, prepared for drawing.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    /// Sums up to and including each endpoint; empty when all weigh the same.
    sums: Vec<u64>,
    count: usize,
}

impl Weights {
    /// Prepares `weights`; a weight of zero counts as one.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let equal = weights.windows(2).all(|pair| pair[0].max(1) == pair[1].max(1));
        let mut sums = Vec::new();
        if !equal {
            let mut sum = 0;
            sums.extend(weights.iter().map(|weight| {
                sum += u64::from((*weight).max(1));
                sum
            }));
        }
        Self { sums, count: weights.len() }
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether all endpoints weigh the same.
    #[must_use]
    pub fn are_equal(&self) -> bool {
        self.sums.is_empty()
    }

    /// Weight of an endpoint relative to the mean, 1.0 when all are equal.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a sum of weights is far below 2^52
    pub fn relative(&self, index: usize) -> f64 {
        let Some(total) = self.sums.last() else { return 1.0 };
        let below = if index == 0 { 0 } else { self.sums[index - 1] };
        (self.sums[index] - below) as f64 * self.count as f64 / *total as f64
    }

    /// The endpoint at `point`, which goes through all of 64 bits: each has a stretch by its weight.
    #[must_use]
    pub(super) fn at(&self, point: u64) -> usize {
        let total = self.sums.last().copied().unwrap_or(self.count as u64);
        let ticket = u64::try_from((u128::from(point) * u128::from(total)) >> 64).expect("the upper half");
        match self.sums.is_empty() {
            true => usize::try_from(ticket).expect("below a usize"),
            false => self.sums.partition_point(|sum| *sum <= ticket),
        }
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        match self.sums.last() {
            None => usize::try_from(chance.below(self.count as u64)).expect("below a usize"),
            Some(total) => {
                let ticket = chance.below(*total);
                self.sums.partition_point(|sum| *sum <= ticket)
            }
        }
    }

    fn draw_usable(&self, usable: impl Fn(usize) -> bool, chance: &mut Chance) -> Option<usize> {
        for _ in 0..DRAWS_MAX {
            let drawn = self.draw(chance);
            if usable(drawn) {
                return Some(drawn);
            }
        }
        let start = self.draw(chance);
        (0..self.count).map(|step| (start + step) % self.count).find(|index| usable(*index))
    }
}

/// One endpoint that is `usable`, by weight and `load`; `None` when none is usable.
///
/// With equal weights the less loaded of two distinct endpoints wins. With unequal ones the first is drawn by weight, and
/// the second takes over only when it is much less loaded; `load` must count requests in flight relative to
/// [`Weights::relative`], so that a heavy endpoint may carry more.
pub fn pick(
    weights: &Weights,
    usable: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> f64,
    chance: &mut Chance,
) -> Option<usize> {
    if weights.count <= 1 {
        return (weights.count == 1 && usable(0)).then_some(0);
    }
    let first = weights.draw_usable(&usable, chance)?;
    let Some(second) = weights.draw_usable(|index| index != first && usable(index), chance) else {
        return Some(first);
    };
    let factor = if weights.are_equal() { 1.0 } else { UPSET_FACTOR };
    Some(if load(first) > factor * load(second) { second } else { first })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    /// How often each of the endpoints was picked in 10,000 picks.
    fn shares(weights: &[u32], loads: &[f64], usable: impl Fn(usize) -> bool) -> Vec<u32> {
        let prepared = Weights::new(weights);
        let mut chance = Chance::seeded(42);
        let mut shares = vec![0; weights.len()];
        for _ in 0..10_000 {
            shares[pick(&prepared, &usable, |index| loads[index], &mut chance).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn equal_endpoints_share_equally() {
        for share in shares(&[100; 4], &[1.0; 4], |_| true) {
            assert!((2300..2700).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_most_loaded_of_equals_gets_nothing() {
        assert_eq!(shares(&[100; 3], &[1.0, 9.0, 1.0], |_| true)[1], 0);
    }

    #[test]
    fn weights_hold_while_loads_are_alike() {
        let shares = shares(&[900, 100], &[1.0, 1.4], |_| true);
        assert!((8800..9200).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn an_overloaded_endpoint_loses_its_share_whatever_its_weight() {
        assert_eq!(shares(&[900, 100], &[5.0, 1.0], |_| true)[0], 0);
    }

    #[test]
    fn the_only_usable_endpoint_is_always_found_and_none_is_none() {
        assert_eq!(shares(&[100; 50], &[1.0; 50], |index| index == 37)[37], 10_000);
        let mut chance = Chance::seeded(1);
        assert_eq!(pick(&Weights::new(&[1, 2]), |_| false, |_| 1.0, &mut chance), None);
        assert_eq!(pick(&Weights::new(&[]), |_| true, |_| 1.0, &mut chance), None);
        assert_eq!(pick(&Weights::new(&[5]), |_| true, |_| 1.0, &mut chance), Some(0));
    }

    #[test]
    fn a_relative_weight_is_one_for_equals_and_follows_the_mean_otherwise() {
        assert_eq!(Weights::new(&[7, 7]).relative(1), 1.0);
        let weights = Weights::new(&[300, 100]);
        assert_eq!((weights.relative(0), weights.relative(1)), (1.5, 0.5));
    }
}
