//! Leases: none expires while its holder renews it, none because nobody led (a new leader lets each begin anew), and mass
//! expiry is held by the brake.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use api::log::v1::{command, outcome};

use super::{AppliedEntry, Violation};
use crate::world::{BRAKE, LEASE};

/// A renewal may have been taken by a leader that was deposed and did not know; it steps down within an election timeout.
const DEPOSED: Duration = Duration::from_secs(1);

/// Clocks drift, and a table is asked twice a second; a leader's clock may run fast by a thousandth.
const SLACK: Duration = Duration::from_millis(50);

/// An expiry may be applied so much later than it was proposed.
const COMMIT: Duration = Duration::from_secs(4);

const NAME: &str = "leases hold";

#[derive(Debug)]
struct Lease {
    registered_index: u64,
    alive_at: Duration,
}

/// What expired: in which term, when, and how many leases were held before.
#[derive(Debug)]
struct Expired {
    term: u64,
    at: Duration,
    held: usize,
}

/// Remembers who holds a lease, and since when somebody leads.
#[derive(Debug, Default)]
pub(crate) struct LeasesHold {
    last: u64,
    leases: BTreeMap<String, Lease>,
    led_since: BTreeMap<u64, Duration>,
    /// What expired within the last window of the brake, by the leader that leads.
    expired: VecDeque<Expired>,
}

impl LeasesHold {
    /// All nodes went back to what stood at `index`, these leases (with the entry that registered each) among it.
    pub(crate) fn restored(index: u64, leases: impl Iterator<Item = (String, u64)>, now: Duration) -> Self {
        let lease = |(instance, registered_index)| (instance, Lease { registered_index, alive_at: now });
        Self { last: index, leases: leases.map(lease).collect(), ..Self::default() }
    }

    /// A node begins to lead in `term`.
    pub(crate) fn leads(&mut self, term: u64, now: Duration) {
        self.led_since.entry(term).or_insert(now);
    }

    /// A holder was told that its lease is renewed, which it asked for at `asked_at`.
    pub(crate) fn renewed(&mut self, instance: &str, asked_at: Duration) {
        if let Some(lease) = self.leases.get_mut(instance) {
            lease.alive_at = lease.alive_at.max(asked_at);
        }
    }

    /// Some node applied this entry; only the first one counts. Says whether a lease expired.
    pub(crate) fn applied(&mut self, entry: &AppliedEntry, now: Duration) -> Result<bool, Violation> {
        if entry.index <= self.last {
            return Ok(false);
        }
        let before = self.leases.len();
        self.last = entry.index;
        match &entry.command.body {
            Some(command::Body::Register(register))
                if u64::from(register.lease_seconds) == LEASE.as_secs() =>
            {
                let first = entry.outcome.index == entry.index;
                if first && matches!(entry.outcome.result, Some(outcome::Result::Done(_))) {
                    let instance = register.endpoint.as_ref().map(|endpoint| endpoint.instance.clone());
                    let lease = Lease { registered_index: entry.index, alive_at: now };
                    self.leases.insert(instance.unwrap_or_default(), lease);
                }
            }
            Some(command::Body::Expire(expire)) => {
                for expired in &expire.leases {
                    let instance =
                        expired.lease.as_ref().map(|lease| lease.instance.as_str()).unwrap_or_default();
                    self.expires(instance, expired.registered_index, entry.term, now)?;
                }
            }
            _ => {}
        }
        Ok(self.leases.len() < before)
    }

    fn expires(&mut self, instance: &str, index: u64, term: u64, now: Duration) -> Result<(), Violation> {
        let held = self.leases.len();
        let Some(lease) = self.leases.get(instance).filter(|lease| lease.registered_index == index) else {
            return Ok(()); // it has registered again since, and is spared
        };
        let silent = now.saturating_sub(lease.alive_at);
        if silent + DEPOSED < LEASE {
            let story = format!("the lease of {instance} expired {silent:?} after it was renewed");
            return Err(Violation::new(NAME, story));
        }
        let led = self.led_since.get(&term).map_or(Duration::ZERO, |since| now.saturating_sub(*since));
        if led + SLACK < LEASE {
            let story =
                format!("the lease of {instance} expired by a leader of {led:?}, which saw no whole lease");
            return Err(Violation::new(NAME, story));
        }
        self.leases.remove(instance);
        self.braked(Expired { term, at: now, held }, instance)
    }

    /// Two windows of the brake, no more, can meet in a span that is shorter than one.
    fn braked(&mut self, expired: Expired, instance: &str) -> Result<(), Violation> {
        let Expired { term, at, .. } = expired;
        self.expired.push_back(expired);
        self.expired.retain(|before| before.term == term && at - before.at <= BRAKE.window - COMMIT);
        let held = self.expired.iter().map(|expired| expired.held).max().unwrap_or_default();
        let share = (held * BRAKE.percent as usize / 100).max(1);
        if self.expired.len() > share * 2 {
            let story = format!("{instance} expired beyond the brake's share of {held} leases");
            return Err(Violation::new(NAME, story));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use api::log::v1::{Command, Done, Expire, ExpiredLease, Register};
    use api::v1::{Endpoint, LeaseKey};

    use super::*;
    use crate::invariants::logs::entry;

    const SECOND: Duration = Duration::from_secs(1);

    fn with(index: u64, body: command::Body) -> AppliedEntry {
        let mut entry = entry(index, Command { body: Some(body), ..Command::default() });
        entry.outcome.result = Some(outcome::Result::Done(Done::default()));
        entry
    }

    fn register(index: u64) -> AppliedEntry {
        let endpoint = Some(Endpoint { instance: format!("workload-{index}"), ..Endpoint::default() });
        with(index, command::Body::Register(Register { endpoint, lease_seconds: 5, ..Register::default() }))
    }

    fn expire(index: u64, registered_index: u64) -> AppliedEntry {
        let instance = format!("workload-{registered_index}");
        let lease = Some(LeaseKey { instance, ..LeaseKey::default() });
        with(index, command::Body::Expire(Expire { leases: vec![ExpiredLease { lease, registered_index }] }))
    }

    fn with_leases(count: u64) -> LeasesHold {
        let mut invariant = LeasesHold::default();
        invariant.leads(1, Duration::ZERO);
        (1..=count).for_each(|index| assert_eq!(invariant.applied(&register(index), SECOND), Ok(false)));
        invariant
    }

    #[test]
    fn an_expiry_within_a_lease_of_the_last_sign_of_life_is_a_violation() {
        let mut invariant = with_leases(1);
        invariant.renewed("workload-1", SECOND * 4);
        assert!(invariant.applied(&expire(10, 1), SECOND * 7).is_err());
        assert!(invariant.applied(&expire(11, 1), SECOND * 9).is_ok());
        assert!(invariant.applied(&expire(12, 1), SECOND * 9).is_ok(), "it is gone already");
    }

    #[test]
    fn a_lease_that_stood_in_a_backup_lives_from_when_that_was_restored() {
        let mut invariant =
            LeasesHold::restored(9, std::iter::once(("workload-1".to_owned(), 1)), SECOND * 10);
        invariant.leads(1, SECOND);
        assert!(invariant.applied(&expire(10, 1), SECOND * 13).is_err());
        assert!(invariant.applied(&expire(11, 1), SECOND * 15).is_ok());
    }

    #[test]
    fn an_expiry_by_a_leader_that_saw_no_whole_lease_is_a_violation() {
        let mut invariant = with_leases(1);
        invariant.leads(2, SECOND * 20);
        let late = AppliedEntry { term: 2, ..expire(10, 1) };
        assert!(invariant.applied(&late, SECOND * 24).is_err());
    }

    #[test]
    fn more_expiries_at_once_than_the_brake_allows_are_a_violation() {
        let mut invariant = with_leases(4);
        assert!(invariant.applied(&expire(10, 1), SECOND * 9).is_ok());
        assert!(invariant.applied(&expire(11, 2), SECOND * 10).is_ok(), "a window ends, and the next begins");
        assert!(invariant.applied(&expire(12, 3), SECOND * 11).is_err());
        let mut invariant = with_leases(4);
        assert!(invariant.applied(&expire(10, 1), SECOND * 9).is_ok());
        assert!(invariant.applied(&expire(11, 2), SECOND * 14).is_ok());
        assert!(invariant.applied(&expire(12, 3), SECOND * 19).is_ok());
    }
}
