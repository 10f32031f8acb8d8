//! Leases as the leader keeps them: soft state, of which only expiry is replicated. A pure core, driven by `actor.rs` and by the
//! simulator: events and `now` in, what has lapsed out.
//!
//! A new leader starts each lease anew, so that an outage of the control plane expires nobody. The brake (design, decision 10)
//! holds mass expiry: the leader sees only silence, so all silence of one authority within a window counts as one cause, and
//! only a share of its endpoints may go per window. It must never expire what it has not seen unrenewed for a whole lease, and
//! never say that a lease is renewed whose expiry may stand in the log: the log decides, and a renewal is not in it.

use std::collections::BTreeMap;
use std::time::Duration;

use api::LeaseKey;
use mesh::{Authority, InstanceName};

/// After an expiry was proposed, how long until it is proposed again if the lease still stands. Shorter fills the log with
/// repetitions while a commit is slow; longer keeps a dead endpoint when a proposal was lost.
const PROPOSE_AGAIN: Duration = Duration::from_secs(3);
/// Most expiries told at once: one command of moderate size.
pub const EXPIRIES_MAX: usize = 500;

/// A table that was not asked for so long stood still with its process, or waited behind what overwhelmed it: nobody could be heard.
/// Four times the usual pause; shorter forgives what is mere load, longer lets a freeze count as silence.
const DEAF: Duration = Duration::from_secs(2);

/// How mass expiry is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Share of an authority's endpoints, in percent, that may expire within one window; at least one always may.
    pub percent: u32,
    /// The window's length. It begins with the first expiry.
    pub window: Duration,
}

/// A lease as the catalog holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Which instance.
    pub instance: InstanceName,
    /// How long it lives without a renewal.
    pub seconds: u32,
    /// What an expiry must name.
    pub registered_index: u64,
}

/// A lease that has lapsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Which.
    pub key: LeaseKey,
    /// The registration that was not renewed.
    pub registered_index: u64,
}

/// What becomes of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives for another whole length.
    Renewed,
    /// It is not registered, or its expiry is on its way: its holder must register again, which comes after that in the log.
    Lost,
    /// Entries of earlier leaders, perhaps its expiry among them, are not applied here yet: ask again.
    NotYet,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lapsed {
    /// To be proposed, [`EXPIRIES_MAX`] at most; the rest comes with the next call.
    pub expiries: Vec<Expiry>,
    /// Lapsed, but held by the brake until its window ends.
    pub held: usize,
}

/// The table of leases of a leader; empty while this node does not lead.
#[derive(Debug)]
pub struct Leases {
    brake: Brake,
    authorities: BTreeMap<Authority, Group>,
    count: usize,
    /// The end of the log when leadership was won: up to here, expiries of earlier leaders may come.
    log_end: u64,
    /// When it was asked last what has lapsed.
    asked_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Group {
    leases: BTreeMap<InstanceName, Watched>,
    braking: Option<Braking>,
}

#[derive(Debug)]
struct Watched {
    lease: Duration,
    registered_index: u64,
    due: Duration,
    /// Its expiry was proposed: whether that is applied is the log's to say. Only a registration lets it live again.
    expiring: bool,
}

impl Watched {
    /// A lease that begins now.
    fn begun(granted: &Granted, now: Duration) -> Self {
        let lease = Duration::from_secs(granted.seconds.into());
        Self { lease, registered_index: granted.registered_index, due: now + lease, expiring: false }
    }
}

/// One window of the brake.
#[derive(Debug)]
struct Braking {
    ends: Duration,
    left: usize,
}

impl Leases {
    /// An empty table.
    #[must_use]
    pub fn new(brake: Brake) -> Self {
        Self { brake, authorities: BTreeMap::new(), count: 0, log_end: 0, asked_at: None }
    }

    /// Leadership was lost, or won when the log ended at `log_end`: nothing of an earlier time counts any more.
    pub fn begin(&mut self, log_end: u64) {
        *self = Self { log_end, ..Self::new(self.brake) };
    }

    /// The leases at an authority are now these (ordered by instance or not). New and re-registered ones begin a whole lease.
    pub fn observe(
        &mut self,
        authority: &Authority,
        granted: impl IntoIterator<Item = Granted>,
        now: Duration,
    ) {
        let group = self.authorities.remove(authority).unwrap_or_default();
        self.count -= group.leases.len();
        let mut before = group.leases;
        let mut leases = BTreeMap::new();
        for granted in granted {
            let kept = before
                .remove(&granted.instance)
                .filter(|watched| watched.registered_index == granted.registered_index);
            let watched = kept.unwrap_or_else(|| Watched::begun(&granted, now));
            leases.insert(granted.instance, watched);
        }
        self.count += leases.len();
        if !leases.is_empty() {
            self.authorities.insert(authority.clone(), Group { leases, braking: group.braking });
        }
    }

    /// A renewal has come, of what the catalog, which has applied so much, holds at this key.
    pub fn renew(
        &mut self,
        authority: &Authority,
        granted: Option<Granted>,
        applied: u64,
        now: Duration,
    ) -> Renewal {
        if applied < self.log_end {
            return Renewal::NotYet;
        }
        let Some(granted) = granted else { return Renewal::Lost };
        let leases = &mut self.authorities.entry(authority.clone()).or_default().leases;
        match leases.get_mut(&granted.instance) {
            Some(watched) if watched.registered_index == granted.registered_index => {
                if watched.expiring {
                    return Renewal::Lost;
                }
                watched.due = now + watched.lease;
            }
            // The table has not heard of this registration yet.
            _ => {
                let watched = Watched::begun(&granted, now);
                self.count += usize::from(leases.insert(granted.instance, watched).is_none());
            }
        }
        Renewal::Renewed
    }

    /// What has lapsed and may be expired, and how many the brake holds.
    pub fn lapsed(&mut self, now: Duration) -> Lapsed {
        let mut lapsed = Lapsed::default();
        let unheard = self.asked_at.map_or(Duration::ZERO, |asked_at| now.saturating_sub(asked_at));
        self.asked_at = Some(now);
        if unheard >= DEAF {
            let leases = self.authorities.values_mut().flat_map(|group| group.leases.values_mut());
            leases.for_each(|watched| watched.due = (watched.due + unheard).min(now + watched.lease));
        }
        for (authority, group) in &mut self.authorities {
            group.lapse(authority, self.brake, now, &mut lapsed);
        }
        lapsed
    }

    /// How many leases are watched.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Group {
    fn lapse(&mut self, authority: &Authority, brake: Brake, now: Duration, lapsed: &mut Lapsed) {
        if self.braking.as_ref().is_some_and(|braking| now >= braking.ends) {
            self.braking = None;
        }
        let share = (self.leases.len() * brake.percent as usize / 100).max(1);
        for (instance, watched) in self.leases.iter_mut().filter(|(_, watched)| watched.due <= now) {
            let braking = self.braking.get_or_insert(Braking { ends: now + brake.window, left: share });
            if braking.left == 0 {
                lapsed.held += 1;
            } else if lapsed.expiries.len() < EXPIRIES_MAX {
                braking.left -= 1;
                watched.due = now + PROPOSE_AGAIN;
                watched.expiring = true;
                let key = LeaseKey { authority: authority.clone(), instance: instance.clone() };
                lapsed.expiries.push(Expiry { key, registered_index: watched.registered_index });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    const BRAKE: Brake = Brake { percent: 50, window: Duration::from_secs(60) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn web() -> Authority {
        "web:80".parse().unwrap()
    }

    fn key(number: usize) -> LeaseKey {
        LeaseKey { authority: web(), instance: InstanceName(format!("web-{number:03}")) }
    }

    fn granted(count: usize) -> Vec<Granted> {
        let one = |number| Granted { instance: key(number).instance, seconds: 15, registered_index: 7 };
        (0..count).map(one).collect()
    }

    fn renew(leases: &mut Leases, number: usize, now: Duration) -> Renewal {
        leases.renew(&web(), Some(granted(number + 1).remove(number)), 7, now)
    }

    /// Asks each second, `from` and `until` included; what the last answer is.
    fn lapsed(leases: &mut Leases, from: u64, until: u64) -> Lapsed {
        (from..=until).map(|second| leases.lapsed(seconds(second))).last().unwrap()
    }

    fn watching(count: usize) -> Leases {
        let mut leases = Leases::new(BRAKE);
        leases.observe(&web(), granted(count), seconds(0));
        leases
    }

    #[test]
    fn a_lease_that_is_not_renewed_lapses_after_its_whole_length_and_not_before() {
        let mut leases = watching(1);
        assert_eq!(leases.lapsed(seconds(14)), Lapsed::default());
        let lapsed = leases.lapsed(seconds(15));
        assert_eq!(lapsed.expiries, [Expiry { key: key(0), registered_index: 7 }]);
    }

    #[test]
    fn a_renewed_lease_lives_on() {
        let mut leases = watching(1);
        assert_eq!(renew(&mut leases, 0, seconds(10)), Renewal::Renewed);
        assert!(leases.lapsed(seconds(24)).expiries.is_empty());
        assert_eq!(leases.lapsed(seconds(25)).expiries.len(), 1);
    }

    #[test]
    fn what_is_not_registered_is_lost_even_if_the_table_still_watches_it() {
        assert_eq!(watching(1).renew(&web(), None, 7, seconds(1)), Renewal::Lost);
    }

    #[test]
    fn a_registration_that_the_table_has_not_heard_of_is_renewed_and_watched() {
        let mut leases = watching(1);
        assert_eq!(renew(&mut leases, 1, seconds(1)), Renewal::Renewed);
        assert_eq!(leases.count(), 2);
        assert_eq!(renew(&mut leases, 1, seconds(2)), Renewal::Renewed);
        assert_eq!(leases.count(), 2);
    }

    #[test]
    fn a_lease_whose_expiry_was_proposed_lives_again_only_by_a_registration() {
        let mut leases = watching(1);
        assert_eq!(leases.lapsed(seconds(15)).expiries.len(), 1);
        assert_eq!(renew(&mut leases, 0, seconds(15)), Renewal::Lost);
        let again = Granted { registered_index: 8, ..granted(1).remove(0) };
        assert_eq!(leases.renew(&web(), Some(again), 8, seconds(16)), Renewal::Renewed);
        assert_eq!(lapsed(&mut leases, 16, 30), Lapsed::default());
    }

    #[test]
    fn a_new_leader_renews_nothing_before_it_has_applied_what_earlier_ones_left() {
        let mut leases = Leases::new(BRAKE);
        leases.begin(8);
        assert_eq!(renew(&mut leases, 0, seconds(1)), Renewal::NotYet);
        assert_eq!(leases.renew(&web(), None, 8, seconds(1)), Renewal::Lost);
    }

    #[test]
    fn silence_while_the_leader_itself_stood_still_is_not_counted() {
        let mut leases = watching(1);
        assert_eq!(lapsed(&mut leases, 0, 10), Lapsed::default());
        assert_eq!(leases.lapsed(seconds(40)), Lapsed::default(), "it slept for 30 s");
        assert_eq!(lapsed(&mut leases, 41, 44), Lapsed::default());
        assert_eq!(leases.lapsed(seconds(45)).expiries.len(), 1);
    }

    #[test]
    fn a_new_leader_starts_each_lease_anew() {
        let mut leases = watching(1);
        leases.begin(7);
        leases.observe(&web(), granted(1), seconds(14));
        assert!(leases.lapsed(seconds(28)).expiries.is_empty());
        assert_eq!(leases.lapsed(seconds(29)).expiries.len(), 1);
    }

    #[test]
    fn observing_the_same_again_extends_nothing_and_a_new_registration_does() {
        let mut leases = watching(1);
        leases.observe(&web(), granted(1), seconds(10));
        assert_eq!(leases.lapsed(seconds(15)).expiries.len(), 1);
        let again = Granted { registered_index: 8, ..granted(1).remove(0) };
        leases.observe(&web(), [again], seconds(16));
        assert!(leases.lapsed(seconds(30)).expiries.is_empty());
    }

    #[test]
    fn an_expiry_is_proposed_again_only_after_a_while() {
        let mut leases = watching(1);
        assert_eq!(leases.lapsed(seconds(15)).expiries.len(), 1);
        assert!(leases.lapsed(seconds(16)).expiries.is_empty());
    }

    #[test]
    fn the_brake_lets_half_of_a_service_go_per_window_and_holds_the_rest() {
        let mut leases = watching(10);
        let first = leases.lapsed(seconds(15));
        assert_eq!((first.expiries.len(), first.held), (5, 5));
        leases.observe(&web(), granted(10).split_off(5), seconds(16));
        let held = lapsed(&mut leases, 16, 74);
        assert_eq!((held.expiries.len(), held.held), (0, 5));
        let next = leases.lapsed(seconds(75));
        assert_eq!((next.expiries.len(), next.held), (2, 3));
    }

    #[test]
    fn what_the_brake_holds_is_saved_by_a_renewal() {
        let mut leases = watching(4);
        let first = leases.lapsed(seconds(15));
        assert_eq!((first.expiries.len(), first.held), (2, 2));
        let renewals: Vec<_> = (0..4).map(|number| renew(&mut leases, number, seconds(15))).collect();
        assert_eq!(renewals, [Renewal::Lost, Renewal::Lost, Renewal::Renewed, Renewal::Renewed]);
        leases.observe(&web(), granted(4).split_off(2), seconds(16));
        assert_eq!(lapsed(&mut leases, 16, 29), Lapsed::default());
    }

    #[test]
    fn the_only_instance_of_a_service_is_not_held() {
        assert_eq!(watching(1).lapsed(seconds(15)).held, 0);
    }

    #[test]
    fn one_call_tells_a_bounded_number_and_the_next_the_rest() {
        let mut leases = Leases::new(Brake { percent: 100, ..BRAKE });
        leases.observe(&web(), granted(700), seconds(0));
        assert_eq!(leases.lapsed(seconds(15)).expiries.len(), EXPIRIES_MAX);
        assert_eq!(leases.lapsed(seconds(15)).expiries.len(), 200);
        assert_eq!(leases.count(), 700);
    }
}
