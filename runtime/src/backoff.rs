//! How long to wait before trying again: exponential, with jitter, as a pure value.
//!
//! Used by every dialler and retry loop. Chance is handed in, so that a simulation's seed decides it; it never sleeps
//! and never reads a clock.

use std::time::Duration;

/// The waits of one retry loop. [`Backoff::next`] doubles from `floor` to `ceiling`; [`Backoff::reset`] starts over.
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
    /// The undithered next wait.
    current: Duration,
}

impl Backoff {
    /// Waits that grow from `floor` to `ceiling`.
    ///
    /// # Panics
    /// If `floor` is zero (the loop would spin) or above `ceiling`.
    pub fn new(floor: Duration, ceiling: Duration) -> Self {
        assert!(!floor.is_zero(), "a backoff of zero spins");
        assert!(floor <= ceiling, "a backoff's floor must not lie above its ceiling");
        Self { floor, ceiling, current: floor }
    }

    /// The next wait: between half of the current step and all of it, by `chance` in `[0, 1)`; the step then doubles.
    ///
    /// Half is kept so that a retry is never immediate; the other half is random so that clients that failed together
    /// do not come back together ("equal jitter"). A chance outside of the range is clamped.
    pub fn next(&mut self, chance: f64) -> Duration {
        let half = self.current / 2;
        let wait = half + half.mul_f64(chance.clamp(0.0, 1.0));
        self.current = self.current.saturating_mul(2).min(self.ceiling);
        wait
    }

    /// The attempt succeeded: the next failure waits the floor again.
    pub fn reset(&mut self) {
        self.current = self.floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Duration = Duration::from_millis(100);
    const CEILING: Duration = Duration::from_secs(2);

    #[test]
    fn waits_double_up_to_the_ceiling_and_stay_there() {
        let mut backoff = Backoff::new(FLOOR, CEILING);
        let waits: Vec<u128> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn chance_moves_a_wait_between_half_of_the_step_and_all_of_it() {
        for (chance, expected) in [(-1.0, 50), (0.0, 50), (0.5, 75), (1.0, 100), (7.0, 100)] {
            let wait = Backoff::new(FLOOR, CEILING).next(chance);
            assert_eq!(wait.as_millis(), expected, "chance {chance}");
        }
    }

    #[test]
    fn success_starts_over_at_the_floor() {
        let mut backoff = Backoff::new(FLOOR, CEILING);
        backoff.next(0.3);
        backoff.next(0.3);
        backoff.reset();
        assert_eq!(backoff.next(1.0), FLOOR);
    }

    #[test]
    #[should_panic(expected = "a backoff of zero spins")]
    fn a_floor_of_zero_is_refused() {
        Backoff::new(Duration::ZERO, CEILING);
    }
}
