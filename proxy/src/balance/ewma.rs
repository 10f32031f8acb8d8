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

/// What requests in a row that were not answered make of an endpoint at most. Shorter, and one that crashes looks quicker than
/// siblings that are well and take this long; longer, and one that is well again is asked late: what is believed of it sinks from
/// here to [`ASSUMED_LATENCY`] in some forty seconds.
const UNANSWERED_MAX: Duration = Duration::from_secs(2);

/// Decayed peak latency of one endpoint.
#[derive(Debug, Clone)]
pub struct PeakEwma {
    seconds: f64,
    measured_at: Option<Instant>,
    /// Requests that it left without an answer, one after the other.
    unanswered: u32,
}

impl PeakEwma {
    /// An endpoint never measured: counts as `assumed` until its first answer, so that it is neither flooded nor starved.
    #[must_use]
    pub fn assumed(assumed: Duration) -> Self {
        Self { seconds: assumed.as_secs_f64(), measured_at: None, unanswered: 0 }
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
        self.unanswered = 0;
    }

    /// Takes in that a request ended so long after it was sent without an answer. No answer is no good news, however quick: it counts as
    /// the assumed latency at least, and as twice as much with each further one that was sent after that was known.
    pub fn observe_unanswered(&mut self, latency: Duration, now: Instant) {
        let knew = |before: Instant| now.saturating_duration_since(before) >= latency;
        let unanswered =
            self.unanswered + u32::from(self.unanswered == 0 || self.measured_at.is_none_or(knew));
        let least = ASSUMED_LATENCY.saturating_mul(1 << (unanswered - 1).min(16)).min(UNANSWERED_MAX);
        self.observe(latency.max(least), now);
        self.unanswered = unanswered;
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

    /// The story: with siblings that took longer than the assumed latency, one that hung up at once was the quickest, however often it did,
    /// and drew most requests.
    #[test]
    fn what_is_left_unanswered_again_and_again_counts_as_ever_slower_until_there_is_an_answer() {
        let start = Instant::now();
        let mut ewma = PeakEwma::assumed(ASSUMED_LATENCY);
        let (quick, mut now) = (Duration::from_millis(1), start);
        let mut believed = Vec::new();
        for _ in 0..9 {
            now += quick;
            ewma.observe_unanswered(quick, now);
            believed.push((ewma.seconds_at(now) * 1000.0).round());
        }
        assert_eq!(believed, [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 2000.0, 2000.0]);
        ewma.observe(quick, now);
        ewma.observe_unanswered(quick, now + quick);
        assert_eq!(ewma.unanswered, 1, "an answer begins the row anew");
    }

    #[test]
    fn many_requests_that_end_unanswered_together_count_as_one() {
        let start = Instant::now();
        let mut ewma = PeakEwma::assumed(ASSUMED_LATENCY);
        for after in [50, 51, 52] {
            ewma.observe_unanswered(Duration::from_millis(50), start + Duration::from_millis(after));
        }
        assert_eq!(ewma.unanswered, 1, "each was sent before the first had ended");
    }
}
