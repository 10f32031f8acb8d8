//! Which endpoints are set aside for failing, and how they come back. One [`Health`] per endpoint; the floor of those that
//! stay is kept over all of them. Told of each outcome, asked by each pick. Pure: time is handed in.
//!
//! An endpoint that was out long enough is not trusted at once: it gets one request at a time (half-open) until one succeeds.

use std::time::{Duration, Instant};

use mesh::{Ejection, SuccessRate};

/// How often the time out doubles at most; `max_time` bounds it anyway.
const DOUBLINGS_MAX: u32 = 16;

/// How an endpoint fares.
#[derive(Debug, Clone, Default)]
pub struct Health {
    failures_in_a_row: u32,
    /// In the interval that runs.
    requests: u32,
    failures: u32,
    /// How often it was ejected and has not lived down since.
    ejections: u32,
    out_until: Option<Instant>,
}

/// What an outcome leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Stays,
    /// It should be ejected, if the floor allows.
    ShouldGo,
    /// It was out, and is ready again.
    Returns,
}

impl Health {
    /// Whether it may be picked, with so many requests in flight to it: when it is not out, or alone to probe it.
    #[must_use]
    pub fn admits(&self, in_flight: u32, now: Instant) -> bool {
        self.out_until.is_none_or(|until| now >= until && in_flight == 0)
    }

    /// Whether it is out, half-open included.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.out_until.is_some()
    }

    /// Whether it was out long enough to be probed.
    #[must_use]
    pub fn is_half_open(&self, now: Instant) -> bool {
        self.out_until.is_some_and(|until| now >= until)
    }

    /// A request to it ended.
    pub fn observe(&mut self, policy: &Ejection, is_failure: bool, now: Instant) -> Outcome {
        match self.out_until {
            Some(until) if now < until => return Outcome::Stays, // begun before it was ejected
            Some(_) if is_failure => {
                self.eject(policy, now);
                return Outcome::Stays;
            }
            Some(_) => {
                self.out_until = None;
                (self.failures_in_a_row, self.requests, self.failures) = (0, 0, 0);
                return Outcome::Returns;
            }
            None => {}
        }
        self.requests = self.requests.saturating_add(1);
        if !is_failure {
            self.failures_in_a_row = 0;
            return Outcome::Stays;
        }
        self.failures = self.failures.saturating_add(1);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let is_enough = policy.consecutive_failures.is_some_and(|most| self.failures_in_a_row >= most);
        if is_enough { Outcome::ShouldGo } else { Outcome::Stays }
    }

    /// Sets it aside: twice as long as the last time.
    pub fn eject(&mut self, policy: &Ejection, now: Instant) {
        let time = policy.base_time.saturating_mul(1 << self.ejections.min(DOUBLINGS_MAX));
        self.out_until = Some(now + time.min(policy.max_time));
        self.ejections = self.ejections.saturating_add(1);
        self.failures_in_a_row = 0;
    }

    /// Success rate of the interval, if there were enough requests; the next interval begins. One that was in all along
    /// lives down an ejection.
    fn close_interval(&mut self, rate: Option<&SuccessRate>) -> Option<f64> {
        let (requests, failures) = (std::mem::take(&mut self.requests), std::mem::take(&mut self.failures));
        if self.is_out() {
            return None;
        }
        self.ejections = self.ejections.saturating_sub(1);
        let rate = rate?;
        (requests > 0 && requests >= rate.min_requests)
            .then(|| 1.0 - f64::from(failures) / f64::from(requests))
    }
}

/// Whether one more may go, when `out` of `total` are out.
#[must_use]
pub fn floor_allows(policy: &Ejection, out: u32, total: u32) -> bool {
    let in_share = u64::from(out + 1) * 100 <= u64::from(total) * u64::from(policy.max_percent);
    let stay = total.saturating_sub(out + 1);
    // One may always go by the percentage, or a small set could never lose any; the floor holds for it too.
    (in_share || out == 0) && stay >= policy.min_ready.max(1)
}

/// Ends an interval for all endpoints of a set: which of them succeeded so much less than the others that they should go,
/// the worst first.
#[must_use]
pub fn outliers<'h>(policy: &Ejection, healths: impl Iterator<Item = &'h mut Health>) -> Vec<usize> {
    let rate = policy.success_rate.as_ref();
    let mut rates: Vec<(usize, f64)> = healths
        .enumerate()
        .filter_map(|(at, health)| health.close_interval(rate).map(|success| (at, success)))
        .collect();
    let Some(rate) = rate.filter(|rate| rates.len() >= rate.min_endpoints.max(2) as usize) else {
        return Vec::new();
    };
    #[allow(clippy::cast_precision_loss)] // a set has some thousands of endpoints
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, success)| success).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, success)| (success - mean).powi(2)).sum::<f64>() / count;
    let least = mean - variance.sqrt() * f64::from(rate.stdev_factor) / 1000.0;
    rates.retain(|(_, success)| *success < least);
    rates.sort_by(|left, right| left.1.total_cmp(&right.1));
    rates.into_iter().map(|(at, _)| at).collect()
}

/// How often success rates are to be compared, asked by a sweep that runs more often.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    next: Instant,
}

impl Interval {
    /// The first one begins.
    #[must_use]
    pub fn begun(length: Duration, now: Instant) -> Self {
        Self { next: now + length }
    }

    /// Whether it has ended; then the next one begins.
    pub fn has_ended(&mut self, length: Duration, now: Instant) -> bool {
        let ended = now >= self.next;
        if ended {
            self.next = now + length;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Ejection {
        Ejection { consecutive_failures: Some(3), base_time: Duration::from_secs(10), ..Ejection::default() }
    }

    #[test]
    fn failures_in_a_row_eject_and_one_success_in_between_forgives() {
        let now = Instant::now();
        for (outcomes, expected) in [
            ("ff", Outcome::Stays),
            ("fff", Outcome::ShouldGo),
            ("ffsff", Outcome::Stays),
            ("ffsfff", Outcome::ShouldGo),
            ("sss", Outcome::Stays),
        ] {
            let mut health = Health::default();
            let last = outcomes.chars().map(|outcome| health.observe(&policy(), outcome == 'f', now)).last();
            assert_eq!(last, Some(expected), "{outcomes}");
        }
        let never = Ejection { consecutive_failures: None, ..policy() };
        let mut health = Health::default();
        assert!((0..100).all(|_| health.observe(&never, true, now) == Outcome::Stays));
    }

    #[test]
    fn an_ejected_endpoint_is_probed_by_one_request_at_a_time_and_comes_back_by_a_success() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::default();
        health.eject(&policy(), start);
        assert!(health.is_out() && !health.admits(0, at(9)));
        assert_eq!(health.observe(&policy(), false, at(9)), Outcome::Stays, "begun before it was ejected");
        assert!(health.admits(0, at(10)) && !health.admits(1, at(10)));
        assert_eq!(health.observe(&policy(), true, at(11)), Outcome::Stays);
        assert!(!health.admits(0, at(30)) && health.admits(0, at(31)), "twice as long the second time");
        assert_eq!(health.observe(&policy(), false, at(32)), Outcome::Returns);
        assert!(!health.is_out() && health.admits(99, at(32)));
    }

    #[test]
    fn the_time_out_is_bounded_and_lived_down_interval_by_interval() {
        let now = Instant::now();
        let policy = Ejection { max_time: Duration::from_secs(25), ..policy() };
        let mut health = Health::default();
        (0..40).for_each(|_| health.eject(&policy, now));
        assert!(!health.admits(0, now + Duration::from_secs(24)));
        assert!(health.admits(0, now + Duration::from_secs(25)));
        assert_eq!(health.observe(&policy, false, now + Duration::from_secs(25)), Outcome::Returns);
        (0..40).for_each(|_| assert!(outliers(&policy, std::iter::once(&mut health)).is_empty()));
        health.eject(&policy, now);
        assert!(health.admits(0, now + Duration::from_secs(10)), "as long as the first time");
    }

    #[test]
    fn the_floor_holds_whoever_fails() {
        let policy = |max_percent, min_ready| Ejection { max_percent, min_ready, ..Ejection::default() };
        for (max_percent, min_ready, out, total, allowed) in [
            (50, 1, 0, 2, true),
            (50, 1, 1, 2, false),
            (50, 1, 0, 1, false),
            (10, 1, 0, 3, true),
            (10, 1, 1, 3, false),
            (10, 1, 1, 20, true),
            (100, 3, 6, 10, true),
            (100, 3, 7, 10, false),
            (100, 0, 8, 10, true),
            (100, 0, 9, 10, false),
        ] {
            let policy = policy(max_percent, min_ready);
            assert_eq!(floor_allows(&policy, out, total), allowed, "{policy:?}: {out} of {total}");
        }
    }

    /// Which of the endpoints go, given how many of their requests succeeded of how many.
    fn gone(policy: &Ejection, counts: &[(u32, u32)]) -> Vec<usize> {
        let now = Instant::now();
        let mut healths = vec![Health::default(); counts.len()];
        for (health, (successes, requests)) in healths.iter_mut().zip(counts) {
            for at in 0..*requests {
                health.observe(policy, at >= *successes, now);
            }
        }
        outliers(policy, healths.iter_mut())
    }

    #[test]
    fn who_succeeds_far_less_than_the_others_goes_the_worst_first() {
        let rate = SuccessRate { min_requests: 10, min_endpoints: 3, stdev_factor: 1000 };
        let policy = Ejection { success_rate: Some(rate), consecutive_failures: None, ..policy() };
        assert_eq!(gone(&policy, &[(100, 100), (100, 100), (100, 100), (50, 100)]), [3]);
        assert_eq!(gone(&policy, &[(40, 100), (100, 100), (100, 100), (99, 100), (50, 100)]), [0, 4]);
        assert!(gone(&policy, &[(50, 100), (50, 100), (50, 100)]).is_empty(), "all alike");
        assert!(gone(&policy, &[(100, 100), (50, 100)]).is_empty(), "too few to compare");
        assert!(gone(&policy, &[(100, 100), (100, 100), (100, 100), (0, 9)]).is_empty(), "too few requests");
        let never = Ejection { success_rate: None, ..policy };
        assert!(gone(&never, &[(100, 100), (100, 100), (100, 100), (0, 100)]).is_empty());
    }

    #[test]
    fn an_interval_ends_once_in_its_length() {
        let (start, length) = (Instant::now(), Duration::from_secs(10));
        let mut interval = Interval::begun(length, start);
        let ends: Vec<u64> =
            (0..35).filter(|at| interval.has_ended(length, start + Duration::from_secs(*at))).collect();
        assert_eq!(ends, [10, 20, 30]);
    }
}
