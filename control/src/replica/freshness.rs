//! How fresh a read must be, and how fresh this node's catalog is known to be.
//!
//! Only a round to the leader (`ReadIndex`) proves anything: a catalog that has applied what the round named holds every write
//! that was acknowledged before the round began. Heartbeats prove nothing, for who sends them may have been replaced. So a
//! round is made every second, whether somebody asks or not, and a read that bears some age is answered from it. Pure.

use std::time::Duration;

use mesh::Timestamp;

/// How often freshness is proved while nobody asks for it. Shorter costs rounds that nobody needs; longer makes each read that
/// bears less wait for a round of its own.
pub(super) const PROVE_EVERY: Duration = Duration::from_secs(1);

/// How fresh what a question sees must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// It sees every write that was acknowledged before it was asked: it shares a round to the leader.
    Linearizable,
    /// It sees every write that was acknowledged so long before it was asked. A round to the leader is made only if this node
    /// cannot vouch for that by itself.
    Within(Duration),
}

/// One moment, by both of a node's clocks. The monotonic one stands still while the host is suspended, the wall clock may be set
/// back: what passed between two moments is the longer of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic one, since any fixed point.
    pub clock: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Moment {
    fn since(self, earlier: Self) -> Duration {
        self.clock.saturating_sub(earlier.clock).max(self.wall.since(earlier.wall))
    }
}

/// When the catalog was last proved to hold everything acknowledged by then.
#[derive(Debug, Default, Clone, Copy)]
pub struct Freshness {
    proved: Option<Moment>,
    asked: Option<Duration>,
}

impl Freshness {
    /// A round begins now.
    pub fn asked(&mut self, now: Duration) {
        self.asked = Some(now);
    }

    /// A round that began at `begun` was confirmed, and what it named is applied.
    pub fn proved(&mut self, begun: Moment) {
        if self.proved.is_none_or(|proved| proved.clock < begun.clock) {
            self.proved = Some(begun);
        }
    }

    /// Whether a round is due for its own sake.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.asked.is_none_or(|asked| now.saturating_sub(asked) >= PROVE_EVERY)
    }

    /// How old the catalog is at most; `None` when nothing was ever proved.
    #[must_use]
    pub fn age(&self, now: Moment) -> Option<Duration> {
        self.proved.map(|proved| now.since(proved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Moment {
        Moment { clock: Duration::from_secs(seconds), wall: Timestamp(1_790_000_000_000 + seconds * 1000) }
    }

    const fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_age_counts_from_the_beginning_of_the_newest_round_that_was_confirmed() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.age(at(9)), None, "nothing was proved yet");
        freshness.asked(at(2).clock);
        assert_eq!(freshness.age(at(9)), None, "asking proves nothing");
        freshness.proved(at(2));
        assert_eq!(freshness.age(at(9)), seconds(7));
        freshness.proved(at(1));
        assert_eq!(freshness.age(at(9)), seconds(7), "a round that ends late takes nothing back");
    }

    #[test]
    fn a_host_that_slept_and_a_clock_that_was_set_back_make_no_catalog_younger() {
        let mut freshness = Freshness::default();
        freshness.proved(at(2));
        let slept = Moment { clock: at(3).clock, wall: at(3602).wall };
        assert_eq!(freshness.age(slept), seconds(3600));
        let set_back = Moment { clock: at(9).clock, wall: at(0).wall };
        assert_eq!(freshness.age(set_back), seconds(7));
    }

    #[test]
    fn a_round_is_due_every_second_and_put_off_by_those_that_readers_ask_for() {
        let mut freshness = Freshness::default();
        assert!(freshness.is_due(Duration::ZERO));
        freshness.asked(at(5).clock);
        assert!(!freshness.is_due(at(5).clock));
        assert!(freshness.is_due(at(5).clock + PROVE_EVERY));
    }
}
