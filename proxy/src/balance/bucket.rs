//! A token bucket: how many requests a local rate limit still lets through. Pure: time is handed in.

use std::time::Instant;

use mesh::RateLimit;

/// What is left, filled again steadily.
#[derive(Debug, Clone)]
pub struct Bucket {
    limit: RateLimit,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(limit: RateLimit, now: Instant) -> Self {
        Self { limit, tokens: f64::from(limit.burst), filled_at: now }
    }

    /// What it was made from.
    #[must_use]
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Whether one more request is let through; if so, it is counted.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        let each = self.limit.interval.as_secs_f64() / f64::from(self.limit.requests);
        self.tokens = (self.tokens + passed / each).min(f64::from(self.limit.burst));
        self.filled_at = now;
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_as_many_as_the_interval_allows() {
        let start = Instant::now();
        let limit = RateLimit { requests: 10, interval: Duration::from_secs(1), burst: 5 };
        let mut bucket = Bucket::full(limit, start);
        for (at, passes) in [(0, 5), (50, 0), (100, 1), (100, 0), (600, 5), (60_000, 5)] {
            let now = start + Duration::from_millis(at);
            let passed = (0..100).filter(|_| bucket.take(now)).count();
            assert_eq!(passed, passes, "at {at} ms");
        }
    }

    #[test]
    fn what_is_steady_at_the_rate_always_passes() {
        let start = Instant::now();
        let limit = RateLimit { requests: 3, interval: Duration::from_secs(1), burst: 1 };
        let mut bucket = Bucket::full(limit, start);
        assert!((0..100).all(|number| bucket.take(start + Duration::from_millis(334) * number)));
        let mut bucket = Bucket::full(limit, start);
        let passed =
            (0..100).filter(|number| bucket.take(start + Duration::from_millis(100) * *number)).count();
        assert!((25..=34).contains(&passed), "{passed} of 100 at three times the rate");
    }
}
