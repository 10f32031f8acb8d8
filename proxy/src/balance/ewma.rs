//! Peak EWMA: how slow an endpoint is, believing bad news at once and good news slowly.
//! Fed by the end of each request, read by each pick. A pure value: time is handed in and must not run back.

use std::time::{Duration, Instant};

/// Time in which an old measure loses 63 % of its weight.
///
/// Shorter, and one slow answer is forgotten before the next pick; longer, and a healed endpoint stays idle.
/// Ten seconds is Finagle's and Linkerd's default.
const DECAY_SECONDS: f64 = 10.0;

/// What an endpoint counts as before its first answer, when no sibling was measured either.
pub const ASSUMED_LATENCY: Duration = Duration::from_millis(30);

/// Decayed peak latency of one endpoint.
#[derive(Debug, Clone)]
pub struct PeakEwma {
    seconds: f64,
    measured_at: Option<Instant>,
}

impl PeakEwma {
    /// An endpoint never measured: counts as `assumed` until its first answer, so that it is neither flooded nor starved.
    #[must_use]
    pub fn assumed(assumed: Duration) -> Self {
        Self { seconds: assumed.as_secs_f64(), measured_at: None }
    }

    /// Whether it was measured at all.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.measured_at.is_some()
    }

    /// Takes in one answer's latency: a peak at once, anything lower by the time that has passed.
    /// Source: Peak EWMA as in Finagle's `PeakEwma` load metric.
    pub fn observe(&mut self, latency: Duration, now: Instant) {
        let sample = latency.as_secs_f64();
        self.seconds = match self.measured_at {
            Some(before) if sample <= self.seconds => {
                let kept = kept_share(before, now);
                self.seconds * kept + sample * (1.0 - kept)
            }
            _ => sample,
        };
        self.measured_at = Some(now);
    }

    /// Latency in seconds as believed at `now`. Without answers it sinks, so that a slow endpoint is tried again.
    #[must_use]
    pub fn seconds_at(&self, now: Instant) -> f64 {
        match self.measured_at {
            Some(before) => self.seconds * kept_share(before, now),
            None => self.seconds,
        }
    }
}

fn kept_share(before: Instant, now: Instant) -> f64 {
    let elapsed = now.saturating_duration_since(before).as_secs_f64();
    (-elapsed / DECAY_SECONDS).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row: after how many ms an answer of how many ms came, and what is believed then, in ms.
    fn believed(rows: &[(u64, u64, f64)]) {
        let start = Instant::now();
        let mut ewma = PeakEwma::assumed(ASSUMED_LATENCY);
        for (at, latency, expected) in rows {
            let now = start + Duration::from_millis(*at);
            ewma.observe(Duration::from_millis(*latency), now);
            let told = ewma.seconds_at(now) * 1000.0;
            assert!((told - expected).abs() < 0.05, "at {at} ms: {told}, expected {expected}");
        }
    }

    #[test]
    fn the_first_answer_replaces_the_assumption() {
        believed(&[(0, 2, 2.0)]);
        believed(&[(0, 90, 90.0)]);
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_by_time() {
        believed(&[
            (0, 10, 10.0),
            (0, 1000, 1000.0),
            (0, 10, 1000.0),
            (10_000, 10, 374.2),
            (60_000, 10, 12.45),
        ]);
    }

    #[test]
    fn without_answers_belief_sinks_so_that_the_endpoint_is_tried_again() {
        let start = Instant::now();
        let mut ewma = PeakEwma::assumed(ASSUMED_LATENCY);
        assert!(!ewma.is_measured());
        ewma.observe(Duration::from_secs(1), start);
        let halved = ewma.seconds_at(start + Duration::from_secs(7));
        assert!((0.48..0.52).contains(&halved), "{halved}");
        assert!(ewma.is_measured());
    }
}
