//! How long a retry waits. Pure: chance is handed in. (`runtime::backoff` is for connections to the control plane, which
//! may wait for many seconds; a caller waits here.)

use std::time::Duration;

use mesh::Retry;

use super::chance::Chance;

/// The wait before retry number `retry`, counted from 0: at least `retry_policy.backoff` (GEP-1731), twice that for each
/// further one, and up to as much again by chance, so that callers who failed together do not come again together.
#[must_use]
pub fn backoff(retry_policy: &Retry, retry: u32, chance: &mut Chance) -> Duration {
    let base = retry_policy.backoff;
    let longest = base * Retry::MAX_BACKOFF_FACTOR;
    let wait = base.saturating_mul(1 << retry.min(10)).min(longest);
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    (wait + Duration::from_micros(chance.below(micros.max(1)))).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_differ() {
        let retry =
            Retry { codes: vec![], grpc_codes: vec![], attempts: 9, backoff: Duration::from_millis(20) };
        let mut chance = Chance::seeded(3);
        for (number, least, most) in [(0, 20, 40), (1, 40, 80), (2, 80, 160), (3, 160, 200), (9, 200, 200)] {
            let mut waits: Vec<_> = (0..50).map(|_| backoff(&retry, number, &mut chance)).collect();
            let within = Duration::from_millis(least)..=Duration::from_millis(most);
            assert!(waits.iter().all(|wait| within.contains(wait)), "{number}: {waits:?}");
            waits.dedup();
            assert!(waits.len() > 10 || least == most, "{number}: {waits:?}");
        }
    }
}
