//! The retry budget of one cluster: how many retries all of its requests may cause together. Asked before each retry,
//! told of each request that might cause one. Pure: time is handed in.

use std::time::Instant;

use mesh::RetryBudget;

use super::windowed::Windowed;

/// What was spent, and what there is.
#[derive(Debug, Clone)]
pub struct Budget {
    policy: RetryBudget,
    requests: Windowed,
    /// Retries paid for by requests.
    earned: Windowed,
    /// Retries out of those that are always allowed.
    granted: Windowed,
}

impl Budget {
    /// Nothing spent, as of `now`.
    #[must_use]
    pub fn new(policy: RetryBudget, now: Instant) -> Self {
        Self {
            policy,
            requests: Windowed::new(policy.window, now),
            earned: Windowed::new(policy.window, now),
            granted: Windowed::new(policy.min_window, now),
        }
    }

    /// What it was made from.
    #[must_use]
    pub fn policy(&self) -> RetryBudget {
        self.policy
    }

    /// A request came that may be tried again.
    pub fn request(&mut self, now: Instant) {
        self.requests.add(now);
    }

    /// Whether one more retry fits; if so, it is spent. What requests have paid for goes first.
    pub fn spend(&mut self, now: Instant) -> bool {
        let paid = u64::from(self.requests.sum(now)) * u64::from(self.policy.percent);
        if (u64::from(self.earned.sum(now)) + 1) * 100 <= paid {
            self.earned.add(now);
            return true;
        }
        if self.granted.sum(now) < self.policy.min_retries {
            self.granted.add(now);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Each row: at which ms, how many requests come, and how many of 1000 wanted retries fit then.
    fn fits(percent: u32, min_retries: u32, rows: &[(u64, u32, u32)]) {
        let start = Instant::now();
        let policy = RetryBudget { percent, min_retries, ..RetryBudget::default() };
        let mut budget = Budget::new(policy, start);
        for (at, requests, expected) in rows {
            let now = start + Duration::from_millis(*at);
            (0..*requests).for_each(|_| budget.request(now));
            let spent = (0..1000).filter(|_| budget.spend(now)).count();
            assert_eq!(spent, *expected as usize, "at {at} ms with {percent} % and {min_retries}/s");
        }
    }

    #[test]
    fn a_share_of_the_requests_and_a_floor_per_second_may_be_tried_again() {
        fits(20, 0, &[(0, 100, 20), (10, 0, 0), (20, 10, 2), (30, 4, 0), (40, 1, 1)]);
        fits(0, 10, &[(0, 1000, 10), (500, 1000, 0), (1_000, 1000, 10)]);
        fits(20, 3, &[(0, 0, 3), (100, 50, 10), (1_000, 0, 3)]);
        fits(100, 0, &[(0, 7, 7)]);
        fits(0, 0, &[(0, 1000, 0)]);
    }

    #[test]
    fn requests_pay_for_retries_only_within_the_window() {
        fits(20, 0, &[(0, 100, 20), (11_000, 0, 0)]);
        fits(20, 0, &[(0, 100, 20), (11_000, 5, 1)]);
    }
}
