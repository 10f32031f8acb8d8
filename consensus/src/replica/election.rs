//! When to campaign: election timeouts as a pure function, and the staggered campaign after a lost
//! connection.
//!
//! A killed leader's connections end at once on every survivor; each dials again at once, and is refused. Then it
//! forgets the leader (or it would refuse the others' pre-votes for the length of its lease) and asks for
//! pre-votes after a delay by rank, so that the first in rank usually wins before the second one asks. If the leader
//! lives after all, nobody grants a pre-vote, and nothing happens.

use std::ops::Range;
use std::time::Duration;

/// How often a lost connection may lead to a campaign before the ordinary timeouts take over. The first may
/// come before the other survivors have forgotten the leader, and a round may get lost.
const ATTEMPTS: u32 = 5;

/// How the connection to a peer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// It was open, and ended (FIN, RST). The peer may have died, or have closed it, or a box between may have
    /// forgotten it: whoever saw it dials again at once, and that tells.
    Ended,
    /// The peer's address refuses connections: no process is there, so none that leads.
    Refused,
    /// Nothing answers at the peer's address, or what does breaks off: it may be busy, frozen or cut off.
    Unreachable,
}

/// Why a node campaigned; what each means is said at [`Campaigns`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Cause {
    #[default]
    Timeout,
    LostConnection,
    LongerLog,
    HandOver,
    Alone,
}

/// Campaigns of a node since its start, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Campaigns {
    /// Nothing was heard of a leader for an election timeout.
    pub timeout: u64,
    /// The connection to the leader was lost, and its address refuses another.
    pub lost_connection: u64,
    /// Another asked to lead, and has a shorter log.
    pub longer_log: u64,
    /// The leader handed over to this node.
    pub hand_over: u64,
    /// It is the only voter.
    pub alone: u64,
}

impl Campaigns {
    pub(super) fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Timeout => self.timeout += 1,
            Cause::LostConnection => self.lost_connection += 1,
            Cause::LongerLog => self.longer_log += 1,
            Cause::HandOver => self.hand_over += 1,
            Cause::Alone => self.alone += 1,
        }
    }
}

/// A campaign that is due soon, most often because the connection to the leader was lost.
#[derive(Debug, Default)]
pub(super) struct Campaign {
    at: Option<Duration>,
    attempts_left: u32,
    every: Duration,
    cause: Cause,
}

impl Campaign {
    /// The leader is gone: campaign at `first`, then `every` so often, as long as nobody
    /// leads.
    pub(super) fn schedule(&mut self, first: Duration, every: Duration, cause: Cause) {
        *self = Self { at: Some(first), attempts_left: ATTEMPTS, every, cause };
    }

    /// Why it is due.
    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// A leader is known, or this node is one.
    pub(super) fn call_off(&mut self) {
        self.at = None;
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.at
    }

    /// Whether to campaign now; the next attempt is set.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        if self.at.is_none_or(|at| at > now) {
            return false;
        }
        self.attempts_left -= 1;
        self.at = (self.attempts_left > 0).then_some(now + self.every);
        true
    }
}

/// Position of `node` among the voters but `lost`, the first being 0; `None` if it has no vote.
pub(super) fn rank(voters: &[u64], lost: u64, node: u64) -> Option<u32> {
    let before = voters.iter().filter(|&&voter| voter < node && voter != lost).count();
    voters.contains(&node).then(|| u32::try_from(before).unwrap_or(u32::MAX))
}

/// Ticks until the next election, within `ticks`: the same for the same arguments, spread
/// over nodes, terms and attempts. `attempt` matters because pre-votes do not raise the term: two nodes whose
/// timeouts were equal once would stay so.
pub(super) fn election_ticks(seed: u64, node: u64, term: u64, attempt: u64, ticks: Range<usize>) -> usize {
    let mut mixed = mix(seed);
    for part in [node, term, attempt] {
        mixed = mix(mixed ^ part);
    }
    ticks.start + usize::try_from(mixed % ticks.len() as u64).expect("it is below a usize")
}

/// `SplitMix64`'s finaliser: each bit of the input moves half of the bits of the output.
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use super::*;

    #[test]
    fn ranks_count_the_voters_that_are_left() {
        assert_eq!([1, 2, 3].map(|node| rank(&[1, 2, 3], 1, node)), [Some(0), Some(0), Some(1)]);
        assert_eq!([1, 3].map(|node| rank(&[1, 2, 3], 2, node)), [Some(0), Some(1)]);
        assert_eq!(rank(&[1, 2, 3], 1, 4), None, "a learner does not campaign");
    }

    #[test]
    fn timeouts_stay_in_their_range_and_differ_between_nodes_and_attempts() {
        let draw = |node, attempt| election_ticks(42, node, 3, attempt, 10..20);
        let drawn: Vec<usize> =
            (0..40).flat_map(|attempt| [1, 2, 3].map(|node| draw(node, attempt))).collect();
        assert!(drawn.iter().all(|ticks| (10..20).contains(ticks)));
        assert!((10..20).all(|ticks| drawn.contains(&ticks)), "{drawn:?}");
        let ties = (0..40).filter(|&attempt| draw(1, attempt) == draw(2, attempt)).count();
        assert!(ties < 15, "{ties} of 40 attempts were ties");
    }

    #[test]
    fn a_campaign_is_tried_a_few_times_and_then_left_to_the_timeouts() {
        let mut campaign = Campaign::default();
        let every = Duration::from_millis(30);
        campaign.schedule(Duration::from_millis(1), every, Cause::LostConnection);
        let mut now = Duration::ZERO;
        let mut due = Vec::new();
        while let Some(deadline) = campaign.deadline() {
            assert!(!campaign.is_due(now));
            now = deadline;
            assert!(campaign.is_due(now));
            due.push(now.as_millis());
        }
        assert_eq!(due, [1, 31, 61, 91, 121]);
    }
}
