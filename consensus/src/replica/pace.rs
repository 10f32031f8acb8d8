//! How long a silence of the leader is normal here: an election timeout that follows the jitter of its messages.
//!
//! On a host that is overloaded heartbeats come late in bursts; a timeout that is right on a quiet one would elect again
//! and again, which is the last thing an overloaded group needs. Mean and deviation of the gaps are tracked as TCP tracks
//! round trips (Jacobson and Karels 1988; RFC 6298), and a silence counts once it is far outside of them. Pure.

use std::time::Duration;

/// Deviations beyond the mean gap that a silence must last. Six is past what a heavy tail of scheduling delays shows in
/// hours; more makes a frozen host be missed for longer.
const DEVIATIONS: u32 = 6;
/// The timeout grows to this many times its floor. More would leave a group without a leader for seconds.
pub(super) const STRETCH_MAX: u32 = 5;
/// Weight of a new gap in the mean, as a divisor, and in the deviation (RFC 6298's alpha and beta, the former slower: gaps
/// come ten times a second). Smaller forgets an overload before it has passed.
const MEAN_DIVISOR: u32 = 16;
const DEVIATION_DIVISOR: u32 = 4;
/// A deviation sinks slower than it rises, so that the second burst of an overload finds it still high.
const CALM_DIVISOR: u32 = 64;

/// The gaps between the messages of one leader.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    last: Option<Duration>,
    mean: Duration,
    deviation: Duration,
}

impl Pace {
    /// The leader was heard at `now`; `usual` is how often it means to be heard.
    pub(super) fn heard(&mut self, now: Duration, usual: Duration) {
        let Some(last) = self.last.replace(now) else {
            self.mean = usual;
            return;
        };
        // Under writes messages come more often than heartbeats: only lateness is of interest.
        let gap = now.saturating_sub(last).max(usual);
        let off = gap.abs_diff(self.mean);
        let divisor = if off > self.deviation { DEVIATION_DIVISOR } else { CALM_DIVISOR };
        self.deviation = moved(self.deviation, off, divisor);
        self.mean = moved(self.mean, gap, MEAN_DIVISOR);
    }

    /// Another leader, or none: its pace is not known yet, but the host's trouble is likely the same.
    pub(super) fn lost(&mut self) {
        self.last = None;
    }

    /// How long a silence must last before it counts, between `floor` and [`STRETCH_MAX`] times that.
    pub(super) fn patience(&self, floor: Duration) -> Duration {
        (self.mean + self.deviation * DEVIATIONS).clamp(floor, floor * STRETCH_MAX)
    }
}

/// `value`, moved towards `target` by one part in `divisor`.
fn moved(value: Duration, target: Duration, divisor: u32) -> Duration {
    if target >= value { value + (target - value) / divisor } else { value - (value - target) / divisor }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_millis(40);
    const FLOOR: Duration = Duration::from_millis(200);

    /// Hears the leader after each of these gaps, in milliseconds.
    fn after(pace: &mut Pace, now: &mut Duration, gaps: impl IntoIterator<Item = u64>) -> Duration {
        for gap in gaps {
            *now += Duration::from_millis(gap);
            pace.heard(*now, USUAL);
        }
        pace.patience(FLOOR)
    }

    #[test]
    fn a_steady_leader_is_given_the_floor_also_when_it_writes_much() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        assert_eq!(after(&mut pace, &mut now, [40; 100]), FLOOR);
        assert_eq!(after(&mut pace, &mut now, [1; 1000]), FLOOR);
        assert_eq!(after(&mut pace, &mut now, [40, 42, 38, 41, 44, 60]), FLOOR);
    }

    #[test]
    fn late_heartbeats_stretch_the_patience_before_one_is_later_than_it_and_calm_takes_it_back() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        let stretched = after(&mut pace, &mut now, [40, 150, 20, 180, 30, 160, 40, 190]);
        assert!(stretched > Duration::from_millis(300), "{stretched:?}");
        let still = after(&mut pace, &mut now, [40; 10]);
        assert!(still > FLOOR, "the next burst finds it: {still:?}");
        assert_eq!(after(&mut pace, &mut now, [40; 600]), FLOOR);
    }

    #[test]
    fn no_jitter_stretches_the_patience_beyond_its_bound() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        assert_eq!(after(&mut pace, &mut now, [2000, 40, 3000, 40, 5000]), FLOOR * STRETCH_MAX);
    }

    #[test]
    fn the_silence_between_two_leaders_is_no_gap_of_either() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        after(&mut pace, &mut now, [40; 20]);
        pace.lost();
        now += Duration::from_secs(3);
        assert_eq!(after(&mut pace, &mut now, [40; 3]), FLOOR);
    }
}
