//! Which proposals go to Raft now, which wait, and which are refused: a pure core, driven by [`super::driver`].
//!
//! Config and discovery go at once, up to a bound. Traffic partials yield: they go while few of the first class are in flight,
//! a few at a time, and after a while in any case, because proxies keep only their last six windows. Must never lose one.
//!
//! The bound on what is in flight is one of number and one of time: when commits take longer than clients wait for them, a longer
//! queue would only fill with writes whose clients have gone.

use std::collections::VecDeque;
use std::time::Duration;

use super::messages::Class;

/// Rollups go at once while no more of the first class are in flight. Smaller starves them on a busy node for their whole
/// patience; larger lets a partial of a megabyte stand before a registration.
const ROLLUPS_YIELD_ABOVE: usize = 64;
/// Rollups in flight at once. One would let the disk idle between two; more fills the log's bound with them.
const ROLLUPS_IN_FLIGHT_MAX: usize = 4;
/// Rollups that wait. Each waiting one holds its memory; the rollup actor has no more than a few out at a time.
const ROLLUPS_WAITING_MAX: usize = 64;
/// How long a rollup yields at most. Proxies keep a window for a minute: much longer would lose it.
const ROLLUP_PATIENCE: Duration = Duration::from_secs(5);
/// What a refused proposer is told to wait at least. Shorter hammers a full node; longer idles it.
pub(super) const RETRY_AFTER_MS: u64 = 100;
/// What it is told at most: also a node that was stuck for a minute is well again a second later.
const RETRY_AFTER_MS_MAX: u64 = 2000;
/// Longest wait for a commit that a proposal is let into. Longer than this, and clients with a timeout of some seconds begin to
/// go while they still wait; shorter, and the stall of a disk refuses what it could have taken.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(1);
/// So many may always be in flight, or nothing would show that commits are fast again.
const ALWAYS_IN_FLIGHT: usize = 64;

/// The proposals in flight, by class, and the rollups that wait.
#[derive(Debug)]
pub(super) struct Admission<T> {
    in_flight_max: usize,
    discovery: usize,
    rollups: usize,
    waiting: VecDeque<(Duration, T)>,
    /// How long the last one of the first class waited for its commit.
    commit_wait: Duration,
}

/// What is to be done with a proposal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    /// Propose it; it counts as in flight until [`Admission::settled`].
    Go(T),
    /// It waits inside, until [`Admission::due`] gives it back.
    Waits,
    /// A bound is reached; nothing is kept.
    Refused(T),
}

impl<T> Admission<T> {
    /// With room for so many of the first class.
    pub(super) fn new(in_flight_max: usize) -> Self {
        let commit_wait = Duration::ZERO;
        Self { in_flight_max, discovery: 0, rollups: 0, waiting: VecDeque::new(), commit_wait }
    }

    /// A proposal has come.
    pub(super) fn offered(&mut self, class: Class, proposal: T, now: Duration) -> Verdict<T> {
        match class {
            Class::Discovery if !self.has_room() => Verdict::Refused(proposal),
            Class::Discovery => {
                self.discovery += 1;
                Verdict::Go(proposal)
            }
            Class::Rollup if self.waiting.len() >= ROLLUPS_WAITING_MAX => Verdict::Refused(proposal),
            Class::Rollup => {
                self.waiting.push_back((now, proposal));
                self.due(now).map_or(Verdict::Waits, Verdict::Go)
            }
        }
    }

    /// The oldest rollup that may go now, if any; it counts as in flight. Called until it answers `None`.
    pub(super) fn due(&mut self, now: Duration) -> Option<T> {
        let (since, _) = self.waiting.front()?;
        let patient = now.saturating_sub(*since) < ROLLUP_PATIENCE;
        if self.rollups >= ROLLUPS_IN_FLIGHT_MAX || (patient && self.discovery > ROLLUPS_YIELD_ABOVE) {
            return None;
        }
        self.rollups += 1;
        self.waiting.pop_front().map(|(_, proposal)| proposal)
    }

    fn has_room(&self) -> bool {
        let late = self.commit_wait > COMMIT_WAIT_MAX && self.discovery >= ALWAYS_IN_FLIGHT;
        self.discovery < self.in_flight_max && !late
    }

    /// What a refused proposer is to wait: about as long as the last commit took.
    pub(super) fn retry_after_ms(&self) -> u64 {
        let wait = u64::try_from(self.commit_wait.as_millis()).unwrap_or(u64::MAX);
        wait.clamp(RETRY_AFTER_MS, RETRY_AFTER_MS_MAX)
    }

    /// One proposal of this class has its answer, after `waited`.
    pub(super) fn settled(&mut self, class: Class, waited: Duration) {
        let count = match class {
            Class::Discovery => {
                self.commit_wait = waited;
                &mut self.discovery
            }
            Class::Rollup => &mut self.rollups,
        };
        *count = count.checked_sub(1).expect("each proposal is settled once, after it went");
    }

    /// All in flight, for the metric.
    pub(super) fn in_flight(&self) -> usize {
        self.discovery + self.rollups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn busy(discovery: usize) -> Admission<u32> {
        let mut admission = Admission::new(1000);
        for number in 0..discovery {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            assert_eq!(admission.offered(Class::Discovery, number, NOW), Verdict::Go(number));
        }
        admission
    }

    #[test]
    fn a_rollup_goes_at_once_on_an_idle_node() {
        assert_eq!(busy(0).offered(Class::Rollup, 7, NOW), Verdict::Go(7));
    }

    #[test]
    fn a_rollup_waits_while_the_first_class_is_busy_and_goes_when_it_is_not() {
        let mut admission = busy(ROLLUPS_YIELD_ABOVE + 1);
        assert_eq!(admission.offered(Class::Rollup, 7, NOW), Verdict::Waits);
        assert_eq!(admission.due(NOW), None);
        admission.settled(Class::Discovery, Duration::ZERO);
        assert_eq!(admission.due(NOW), Some(7));
    }

    #[test]
    fn a_rollup_does_not_wait_for_ever() {
        let mut admission = busy(ROLLUPS_YIELD_ABOVE + 1);
        assert_eq!(admission.offered(Class::Rollup, 7, NOW), Verdict::Waits);
        assert_eq!(admission.due(NOW + ROLLUP_PATIENCE), Some(7));
    }

    #[test]
    fn few_rollups_are_in_flight_at_once_and_few_wait() {
        let mut admission = busy(0);
        let verdicts: Vec<_> = (0..100).map(|n| admission.offered(Class::Rollup, n, NOW)).collect();
        let count = |wanted: fn(&Verdict<u32>) -> bool| verdicts.iter().filter(|v| wanted(v)).count();
        assert_eq!(count(|v| matches!(v, Verdict::Go(_))), ROLLUPS_IN_FLIGHT_MAX);
        assert_eq!(count(|v| matches!(v, Verdict::Waits)), ROLLUPS_WAITING_MAX);
    }

    #[test]
    fn beyond_the_bound_the_first_class_is_refused_until_one_is_settled() {
        let mut admission = Admission::new(1);
        assert_eq!(admission.offered(Class::Discovery, 1, NOW), Verdict::Go(1));
        assert_eq!(admission.offered(Class::Discovery, 2, NOW), Verdict::Refused(2));
        admission.settled(Class::Discovery, Duration::ZERO);
        assert_eq!(admission.offered(Class::Discovery, 3, NOW), Verdict::Go(3));
    }

    #[test]
    fn while_commits_take_longer_than_clients_wait_only_a_few_are_let_in() {
        let mut admission = busy(ALWAYS_IN_FLIGHT + 1);
        admission.settled(Class::Discovery, COMMIT_WAIT_MAX * 3);
        assert_eq!(admission.offered(Class::Discovery, 1, NOW), Verdict::Refused(1));
        assert_eq!(admission.retry_after_ms(), RETRY_AFTER_MS_MAX, "as long as a commit, within bounds");
        admission.settled(Class::Discovery, COMMIT_WAIT_MAX * 3);
        assert_eq!(admission.offered(Class::Discovery, 2, NOW), Verdict::Go(2), "some always go, to see");
        admission.settled(Class::Discovery, Duration::from_millis(3));
        assert_eq!(admission.offered(Class::Discovery, 3, NOW), Verdict::Go(3));
        assert_eq!(admission.offered(Class::Discovery, 4, NOW), Verdict::Go(4), "commits are fast again");
        assert_eq!(admission.retry_after_ms(), RETRY_AFTER_MS);
    }
}
