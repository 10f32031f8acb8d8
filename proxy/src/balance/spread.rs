//! How requests are spread beside the pick of two: one after the other, a growing share for a new endpoint, and how many of
//! them stay in the caller's zone. Pure: time and chance are handed in.

use std::time::{Duration, Instant};

use mesh::SlowStart;

use super::chance::Chance;
use super::pick::Weights;

/// Below this share of what an even spread over the zones would give it, a zone is too thin to take all of its callers'
/// requests. Envoy's overprovisioning factor of 1.4, turned round: higher spills needlessly, lower overloads the zone.
const THIN_SHARE: f64 = 0.7;

/// Steps a point through 0 to 1 so that each stretch is met in proportion to its length: the golden ratio's sequence
/// (Weyl). Weighted endpoints take their turns by it without a list of turns.
const GOLDEN_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The next `usable` endpoint in turn, by weight; `turn` counts on.
pub fn in_turn(weights: &Weights, turn: &mut u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let count = weights.count();
    if count == 0 {
        return None;
    }
    *turn = turn.wrapping_add(1);
    let first = if weights.are_equal() {
        usize::try_from(*turn % count as u64).expect("below a usize")
    } else {
        weights.at(turn.wrapping_mul(GOLDEN_STEP))
    };
    (0..count).map(|step| (first + step) % count).find(|index| usable(*index))
}

/// The share of its requests, 0 to 1, that an endpoint of this age takes.
#[must_use]
fn started_share(policy: SlowStart, age: Duration) -> f64 {
    let grown = age.as_secs_f64() / policy.window.as_secs_f64().max(f64::EPSILON);
    grown.max(f64::from(policy.min_percent) / 100.0).min(1.0)
}

/// Whether a request goes to an endpoint that joined at `joined`, or should rather go to another.
#[must_use]
pub fn takes_part(policy: SlowStart, joined: Instant, now: Instant, chance: &mut Chance) -> bool {
    let share = started_share(policy, now.saturating_duration_since(joined));
    share >= 1.0 || below(share, chance)
}

/// The share of requests, 0 to 1, that stay in a zone: `own` is the weight of its ready endpoints, `all` that of all ready
/// ones, in so many `zones`.
#[must_use]
#[allow(clippy::cast_precision_loss)] // weights and zones are far below 2^52
pub fn staying_share(own: u64, all: u64, zones: usize) -> f64 {
    if own == 0 || all == 0 {
        return 0.0;
    }
    let of_even = own as f64 * zones as f64 / all as f64;
    (of_even / THIN_SHARE).min(1.0)
}

/// True in `share` of all cases.
#[must_use]
pub fn below(share: f64, chance: &mut Chance) -> bool {
    const GRAIN: u64 = 1 << 32;
    #[allow(clippy::cast_precision_loss)] // 2^32 fits
    let drawn = chance.below(GRAIN) as f64;
    #[allow(clippy::cast_precision_loss)]
    let bound = share * GRAIN as f64;
    drawn < bound
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn turns(weights: &[u32], count: usize, usable: impl Fn(usize) -> bool) -> Vec<usize> {
        let (weights, mut turn) = (Weights::new(weights), 0);
        (0..count).map(|_| in_turn(&weights, &mut turn, &usable).unwrap()).collect()
    }

    #[test]
    fn equal_endpoints_take_turns_and_one_that_is_not_usable_is_passed_over() {
        assert_eq!(turns(&[100; 3], 6, |_| true), [1, 2, 0, 1, 2, 0]);
        assert_eq!(turns(&[100; 3], 6, |index| index != 1), [2, 2, 0, 2, 2, 0]);
        assert_eq!(in_turn(&Weights::new(&[1, 2]), &mut 0, |_| false), None);
        assert_eq!(in_turn(&Weights::new(&[]), &mut 0, |_| true), None);
    }

    #[test]
    fn weighted_endpoints_take_turns_in_proportion_also_over_a_short_stretch() {
        let turns = turns(&[300, 100], 40, |_| true);
        let first = turns.iter().filter(|index| **index == 0).count();
        assert!((29..=31).contains(&first), "{turns:?}");
        assert!(turns.chunks(8).all(|few| few.contains(&1)), "{turns:?}");
    }

    #[test]
    fn a_new_endpoints_share_grows_from_its_least_to_all() {
        let policy = SlowStart { window: Duration::from_secs(100), min_percent: 10 };
        for (age, share) in [(0, 0.1), (5, 0.1), (50, 0.5), (100, 1.0), (1000, 1.0)] {
            let told = started_share(policy, Duration::from_secs(age));
            assert!((told - share).abs() < 1e-9, "at {age} s: {told}");
        }
        let (joined, mut chance) = (Instant::now(), Chance::seeded(4));
        let mut taken = |age| {
            let now = joined + Duration::from_secs(age);
            (0..1000).filter(|_| takes_part(policy, joined, now, &mut chance)).count()
        };
        assert!((70..130).contains(&taken(0)));
        assert!((450..550).contains(&taken(50)));
        assert_eq!(taken(100), 1000);
    }

    #[test]
    fn requests_leave_a_zone_as_far_as_it_is_thinner_than_its_even_share() {
        for (own, all, zones, share) in [
            (100, 300, 3, 1.0), // its even share
            (70, 300, 3, 1.0),  // thin, but not too thin
            (35, 300, 3, 0.5),  // half of what is enough
            (200, 300, 3, 1.0), // more than its share
            (0, 300, 3, 0.0),   // nobody there
            (100, 100, 1, 1.0), // the only zone
            (0, 0, 0, 0.0),
        ] {
            let told = staying_share(own, all, zones);
            assert!((told - share).abs() < 1e-9, "{own} of {all} in {zones} zones: {told}");
        }
    }
}
