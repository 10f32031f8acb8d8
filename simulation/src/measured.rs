//! What a run was like for those who use the mesh, in figures. Gathered by `world/measuring.rs` for runs that people ask for;
//! the runs of the seeds do without.

use std::time::Duration;

/// A time without an acknowledged write that counts as an outage: longer than an election and its first retry take, and
/// than the pause between two writes of an idle world.
pub const OUTAGE: Duration = Duration::from_millis(250);

/// From one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// It begins here.
    pub from: Duration,
    /// And ends here.
    pub to: Duration,
}

impl Stretch {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// Requests of all proxies' callers, as of one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Requests {
    /// When.
    pub at: Duration,
    /// Requests that were sent since the last look.
    pub sent: u64,
    /// Of these, how many had nowhere to go: their proxy held no endpoint that was still there, while the service had one.
    pub failed: u64,
    /// Of these, how many a dead endpoint would have cost a second try, in expectation.
    pub tried_again: f64,
}

/// What a run was like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// When it ended.
    pub end: Duration,
    /// When each write was acknowledged, in order.
    pub acknowledged: Vec<Duration>,
    /// When which node began to lead, and in which term.
    pub leaders: Vec<(Duration, u64, u64)>,
    /// When which node was dead.
    pub down: Vec<(u64, Stretch)>,
    /// When a proxy came to hold a change, and how long after its commit.
    pub propagation: Vec<(Duration, Duration)>,
    /// What callers met, look by look.
    pub requests: Vec<Requests>,
    /// What was done to the mesh.
    pub acts: Vec<(Duration, String)>,
}

impl Measured {
    /// The stretches of at least [`OUTAGE`] in which no write was acknowledged, the time before the first one left out.
    #[must_use]
    pub fn outages(&self) -> Vec<Stretch> {
        self.gaps().filter(|gap| gap.length() >= OUTAGE).collect()
    }

    /// The longest time between two acknowledged writes.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.gaps().map(|gap| gap.length()).max().unwrap_or_default()
    }

    fn gaps(&self) -> impl Iterator<Item = Stretch> + '_ {
        self.acknowledged.windows(2).map(|pair| Stretch { from: pair[0], to: pair[1] })
    }

    /// How long at most it took from a commit until a proxy held it, for this share of all changes at all proxies
    /// (0.99: the 99th percentile); zero when nothing changed.
    #[must_use]
    pub fn propagation_at(&self, share: f64) -> Duration {
        percentile(self.propagation.iter().map(|(_, took)| *took).collect(), share)
    }

    /// Requests sent, failed and tried again, over the whole run.
    #[must_use]
    pub fn request_sums(&self) -> (u64, u64, f64) {
        let sums = self.requests.iter().fold((0, 0, 0.0), |(sent, failed, again), look| {
            (sent + look.sent, failed + look.failed, again + look.tried_again)
        });
        (sums.0, sums.1, sums.2)
    }
}

/// The value that this share of `values` does not exceed (nearest rank).
#[must_use]
pub fn percentile(mut values: Vec<Duration>, share: f64) -> Duration {
    values.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // a rank
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_outage_is_a_long_gap_between_two_writes_and_not_the_wait_for_the_first() {
        let acknowledged = [900, 910, 1300, 1310].map(|at| at * MS).to_vec();
        let measured = Measured { acknowledged, ..Measured::default() };
        assert_eq!(measured.outages(), [Stretch { from: 910 * MS, to: 1300 * MS }]);
        assert_eq!(measured.longest_gap(), 390 * MS);
        assert_eq!(Measured::default().longest_gap(), Duration::ZERO);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=100).rev().map(|number| number * MS).collect();
        assert_eq!(percentile(values.clone(), 0.5), 50 * MS);
        assert_eq!(percentile(values.clone(), 0.99), 99 * MS);
        assert_eq!(percentile(values.clone(), 1.0), 100 * MS);
        assert_eq!(percentile(values, 0.0), MS);
        assert_eq!(percentile(Vec::new(), 0.5), Duration::ZERO);
    }
}
