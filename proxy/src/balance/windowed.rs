//! A count over the last stretch of time, kept in ten slots. Pure: time is handed in and must not run back.

use std::time::{Duration, Instant};

/// Slots of a window: what is older than nine of them and younger than ten is partly forgotten too early. More would
/// cost memory per cluster and worker, fewer forget in jumps.
const SLOTS: u32 = 10;

/// How often something happened within a window.
#[derive(Debug, Clone)]
pub(super) struct Windowed {
    slot: Duration,
    counts: [u32; SLOTS as usize],
    sum: u32,
    /// Where the current slot began, and which one it is.
    began: Instant,
    current: usize,
}

impl Windowed {
    /// Nothing yet, as of `now`.
    pub(super) fn new(window: Duration, now: Instant) -> Self {
        let slot = (window / SLOTS).max(Duration::from_millis(1));
        Self { slot, counts: [0; SLOTS as usize], sum: 0, began: now, current: 0 }
    }

    /// It happened once more.
    pub(super) fn add(&mut self, now: Instant) {
        self.advance(now);
        self.counts[self.current] = self.counts[self.current].saturating_add(1);
        self.sum = self.sum.saturating_add(1);
    }

    /// How often it happened within the window.
    pub(super) fn sum(&mut self, now: Instant) -> u32 {
        self.advance(now);
        self.sum
    }

    fn advance(&mut self, now: Instant) {
        let mut steps = 0;
        while now.saturating_duration_since(self.began) >= self.slot {
            self.began += self.slot;
            self.current = (self.current + 1) % self.counts.len();
            self.sum -= std::mem::take(&mut self.counts[self.current]);
            steps += 1;
            if steps > SLOTS {
                self.began = now; // all is forgotten: no need to count through a long silence
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_counts_for_its_window_and_no_longer() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut count = Windowed::new(Duration::from_secs(1), start);
        count.add(at(0));
        count.add(at(50));
        count.add(at(500));
        for (ms, sum) in [(900, 3), (1_000, 1), (1_499, 1), (1_500, 0), (100_000, 0)] {
            assert_eq!(count.sum(at(ms)), sum, "at {ms} ms");
        }
        count.add(at(100_001));
        assert_eq!(count.sum(at(100_900)), 1);
    }
}
