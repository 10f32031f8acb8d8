//! A node's clocks: a monotonic one that drifts, and a wall clock beside it that jumps.

use std::time::Duration;

/// Wall clock of a perfect host when the simulation begins: 2026-01-02 in milliseconds. A day before it epochs of lives begin to count,
/// and each life would begin with one more than the last, whatever its leader's clock says.
pub(crate) const WALL_START_MS: u64 = 1_767_312_000_000;

const MILLION: i64 = 1_000_000;

/// Both clocks of a node against the world's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// World and local time when the drift last changed.
    since: (Duration, Duration),
    drift_ppm: i64,
    jumped_ms: i64,
}

/// `span`, longer by `ppm` millionths.
fn stretched(span: Duration, ppm: i64) -> Duration {
    let nanos = i64::try_from(span.as_nanos()).expect("a simulation is short");
    // In two parts, for the whole product needs 128 bits, whose division is slow.
    let more = nanos / MILLION * ppm + nanos % MILLION * ppm / MILLION;
    Duration::from_nanos(u64::try_from(nanos + more).unwrap_or(0))
}

impl Clock {
    pub(crate) fn new(skew: Duration, drift_ppm: i64) -> Self {
        Self { since: (Duration::ZERO, skew), drift_ppm, jumped_ms: 0 }
    }

    /// The node's time when the world's is `now`.
    pub(crate) fn local(&self, now: Duration) -> Duration {
        self.since.1 + stretched(now.saturating_sub(self.since.0), self.drift_ppm)
    }

    /// The world's time when the node's is `local`; later by some microseconds at most, never earlier.
    pub(crate) fn world(&self, local: Duration) -> Duration {
        let passed = local.saturating_sub(self.since.1);
        let nanos = i64::try_from(passed.as_nanos()).expect("a simulation is short");
        let pace = MILLION + self.drift_ppm;
        let world = nanos / pace * MILLION + nanos % pace * MILLION / pace;
        self.since.0 + Duration::from_nanos(u64::try_from(world).unwrap_or(0)) + Duration::from_micros(1)
    }

    /// The wall clock of this node.
    pub(crate) fn wall_ms(&self, now: Duration) -> u64 {
        let local = u64::try_from(self.local(now).as_millis()).expect("a simulation is short");
        (WALL_START_MS + local).saturating_add_signed(self.jumped_ms)
    }

    /// The drift is this from `now` on; the monotonic clock goes on from where it is.
    pub(crate) fn drift(&mut self, now: Duration, ppm: i64) {
        self.since = (now, self.local(now));
        self.drift_ppm = ppm.clamp(-100_000, 100_000);
    }

    /// The wall clock jumps; the monotonic one does not.
    pub(crate) fn jump(&mut self, by_ms: i64) {
        self.jumped_ms = self.jumped_ms.saturating_add(by_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_monotonic_clock_never_runs_back_however_the_drift_changes() {
        let mut clock = Clock::new(Duration::from_millis(300), 500);
        let before = clock.local(SECOND);
        clock.drift(SECOND, -1000);
        clock.jump(-60_000);
        assert!(clock.local(SECOND) >= before && clock.local(SECOND * 2) > before);
        assert!(clock.wall_ms(SECOND) < WALL_START_MS);
    }

    #[test]
    fn a_wake_up_comes_when_the_node_asked_for_it_or_just_after() {
        for ppm in [-1000, 0, 137, 1000] {
            let mut clock = Clock::new(Duration::from_millis(17), 0);
            clock.drift(SECOND, ppm);
            let wanted = Duration::from_micros(7_654_321);
            let at = clock.world(wanted);
            assert!(
                clock.local(at) >= wanted && clock.local(at) < wanted + Duration::from_micros(5),
                "{ppm}"
            );
        }
    }
}
