//! When the workload joins the mesh, stays in it and leaves, as a value: probes and answers go in, calls come out.
//!
//! The rules: register once the application's port answers; renew at a third of the lease; register again what was lost;
//! leave when the port no longer answers, and on drain. A write whose outcome is unknown is tried again under the same
//! sequence, so that it is applied once. It never dials or reads a clock; `carrier.rs` does.

use std::time::Duration;

use mesh::Timestamp;
use runtime::backoff::Backoff;

/// How often the application's port is tried: until it answers, and while it does. Shorter burdens the application;
/// longer makes a start, or a crash, visible later.
const PROBE_UNTIL: Duration = Duration::from_millis(250);
const PROBE_WHILE: Duration = Duration::from_secs(2);
/// So many probes in a row must fail before the workload leaves. Fewer: one full accept queue takes it out of the mesh.
/// More: callers try a dead instance for longer.
const PROBES_FAILED_MAX: u32 = 3;
/// First and last wait before a write or a renewal is tried again. A shorter first one hits the same election twice; a
/// longer last one risks the lease: it must stay well below a third of the shortest one (5 s).
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LAST: Duration = Duration::from_secs(1);
/// Wait after a refusal, which the same request would meet again until an operator acts.
const WAIT_REFUSED: Duration = Duration::from_secs(5);
/// Writes at once. The control plane remembers a client's last 64; half of that leaves room for ones in doubt.
const WRITES_MAX: usize = 32;
/// A lease is renewed when this part of it has passed: two more tries fit before it ends.
const RENEW_PART: u32 = 3;

/// Number of a registration, in the order of the settings.
pub type Place = usize;

/// What the carrier is to do. Each call is answered by one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Try the application's port.
    Probe,
    /// Register; the same sequence may come again.
    Register {
        /// Which one.
        place: Place,
        /// Of the write.
        sequence: u64,
    },
    /// Leave; the same sequence may come again.
    Leave {
        /// Which one.
        place: Place,
        /// Of the write.
        sequence: u64,
    },
    /// Renew all of these at once.
    Renew {
        /// Which ones.
        places: Vec<Place>,
    },
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was applied; of a registration, with this lease.
    Done {
        /// Zero for a leave.
        lease: Duration,
    },
    /// It was not applied, and trying the same again would not help.
    Refused,
    /// It may have been applied or not: nobody answered.
    Unknown,
}

/// What happens to a registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Answers [`Call::Probe`].
    Probed {
        /// Whether the port took a connection.
        answers: bool,
    },
    /// Answers [`Call::Register`] or [`Call::Leave`].
    Wrote {
        /// Which one.
        place: Place,
        /// How it ended.
        written: Written,
    },
    /// Answers [`Call::Renew`] with the ones that are not known any more; `None` when nobody answered.
    Renewed {
        /// To be registered again.
        lost: Option<Vec<Place>>,
    },
    /// A control node can be reached again: what waits is tried at once.
    Reachable,
    /// Leave for good.
    Drain,
    /// [`Registrar::due`] has come.
    Tick,
}

/// Where one registration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Out,
    Joining,
    In,
    Leaving,
}

#[derive(Debug)]
struct Lease {
    standing: Standing,
    /// Of the write that is tried.
    sequence: u64,
    in_flight: bool,
    /// Not before this is a write tried.
    not_before: Timestamp,
    renew_at: Timestamp,
    length: Duration,
    backoff: Backoff,
}

/// Keeps one workload registered for each service it serves.
#[derive(Debug)]
pub struct Registrar {
    leases: Vec<Lease>,
    sequence: u64,
    answers: bool,
    probes_failed: u32,
    probe_at: Timestamp,
    probing: bool,
    /// What the renewal in flight is for; empty when none is.
    renewing: Vec<Place>,
    renew_not_before: Timestamp,
    renew_backoff: Backoff,
    draining: bool,
}

impl Registrar {
    /// One for `count` registrations, none of them in yet.
    #[must_use]
    pub fn new(count: usize, now: Timestamp) -> Self {
        let backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
        let lease = || Lease {
            standing: Standing::Out,
            sequence: 0,
            in_flight: false,
            not_before: now,
            renew_at: now,
            length: Duration::ZERO,
            backoff: backoff.clone(),
        };
        Self {
            leases: (0..count).map(|_| lease()).collect(),
            sequence: 0,
            answers: false,
            probes_failed: 0,
            probe_at: now,
            probing: false,
            renewing: Vec::new(),
            renew_not_before: now,
            renew_backoff: backoff,
            draining: false,
        }
    }

    /// Takes an event in and says what to do now. `chance`, in `[0, 1)`, spreads retries of many proxies.
    pub fn event(&mut self, event: Event, now: Timestamp, chance: f64) -> Vec<Call> {
        match event {
            Event::Probed { answers } => self.probed(answers, now),
            Event::Wrote { place, written } => self.wrote(place, written, now, chance),
            Event::Renewed { lost } => self.renewed(lost, now, chance),
            Event::Reachable => self.reachable(now),
            Event::Drain => self.draining = true,
            Event::Tick => {}
        }
        self.calls(now)
    }

    /// When [`Event::Tick`] should come next; `None` while only answers are waited for.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let probe = (!self.draining && !self.probing).then_some(self.probe_at);
        let room = self.room() > 0;
        let writes = self.leases.iter().filter(|lease| room && self.write_of(lease).is_some());
        let writes = writes.map(|lease| lease.not_before).min();
        let members = self.leases.iter().filter(|lease| lease.standing == Standing::In);
        let renewal = members.map(|lease| lease.renew_at.max(self.renew_not_before)).min();
        let renewal = renewal.filter(|_| self.renewing.is_empty() && self.wants_in());
        [probe, writes, renewal].into_iter().flatten().min()
    }

    /// Whether every registration is in.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.leases.iter().all(|lease| lease.standing == Standing::In)
    }

    /// Whether none is in, as far as can be known: then a drain may go on.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.leases.iter().all(|lease| lease.standing == Standing::Out)
    }

    /// Whether it has been told to leave for good.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether the application's port answered when it was last tried.
    #[must_use]
    pub fn application_answers(&self) -> bool {
        self.answers
    }

    fn wants_in(&self) -> bool {
        self.answers && !self.draining
    }

    fn probed(&mut self, answers: bool, now: Timestamp) {
        self.probing = false;
        self.probes_failed = if answers { 0 } else { self.probes_failed.saturating_add(1) };
        if answers {
            self.answers = true;
        } else if self.probes_failed >= PROBES_FAILED_MAX {
            self.answers = false;
        }
        let steady = self.answers && self.probes_failed == 0;
        self.probe_at = now.plus(if steady { PROBE_WHILE } else { PROBE_UNTIL });
    }

    fn wrote(&mut self, place: Place, written: Written, now: Timestamp, chance: f64) {
        let Some(lease) = self.leases.get_mut(place).filter(|lease| lease.in_flight) else { return };
        lease.in_flight = false;
        match (lease.standing, written) {
            (Standing::Joining, Written::Done { lease: length }) => {
                lease.standing = Standing::In;
                lease.length = length;
                lease.renew_at = now.plus(length / RENEW_PART);
                lease.backoff.reset();
            }
            (Standing::Leaving, Written::Done { .. }) => {
                lease.standing = Standing::Out;
                lease.backoff.reset();
            }
            // Refused to join: it is out. Refused to leave: the lease is not ours any more, so it is out too.
            (_, Written::Refused) => {
                lease.standing = Standing::Out;
                lease.not_before = now.plus(WAIT_REFUSED);
            }
            _ => lease.not_before = now.plus(lease.backoff.next(chance)),
        }
    }

    fn renewed(&mut self, lost: Option<Vec<Place>>, now: Timestamp, chance: f64) {
        let renewed = std::mem::take(&mut self.renewing);
        let Some(lost) = lost else {
            self.renew_not_before = now.plus(self.renew_backoff.next(chance));
            return;
        };
        self.renew_backoff.reset();
        for place in renewed {
            let lease = &mut self.leases[place];
            lease.renew_at = now.plus(lease.length / RENEW_PART);
            if lost.contains(&place) && lease.standing == Standing::In {
                lease.standing = Standing::Out;
                lease.not_before = now;
            }
        }
    }

    fn reachable(&mut self, now: Timestamp) {
        self.renew_not_before = now;
        for lease in &mut self.leases {
            lease.not_before = lease.not_before.min(now);
        }
    }

    /// What has to be written for a registration, if it may be tried at all now.
    fn write_of(&self, lease: &Lease) -> Option<Standing> {
        if lease.in_flight {
            return None;
        }
        match (lease.standing, self.wants_in()) {
            (Standing::Out | Standing::Joining, true) => Some(Standing::Joining),
            // Joining with an unknown outcome may be in: it has to leave.
            (Standing::Joining | Standing::In, false) | (Standing::Leaving, _) => Some(Standing::Leaving),
            (Standing::Out, false) | (Standing::In, true) => None,
        }
    }

    /// How many more writes may be in flight.
    fn room(&self) -> usize {
        WRITES_MAX.saturating_sub(self.leases.iter().filter(|lease| lease.in_flight).count())
    }

    fn calls(&mut self, now: Timestamp) -> Vec<Call> {
        let mut calls = Vec::new();
        if !self.draining && !self.probing && self.probe_at <= now {
            self.probing = true;
            calls.push(Call::Probe);
        }
        let mut room = self.room();
        for place in 0..self.leases.len() {
            let Some(next) = self.write_of(&self.leases[place]) else { continue };
            // Leaving overtakes the wait of a registration that was to be tried again.
            let overtakes = next != self.leases[place].standing && next == Standing::Leaving;
            if room == 0 || (self.leases[place].not_before > now && !overtakes) {
                continue;
            }
            room -= 1;
            if next != self.leases[place].standing {
                self.sequence += 1;
                self.leases[place].sequence = self.sequence;
            }
            let lease = &mut self.leases[place];
            lease.standing = next;
            lease.in_flight = true;
            let sequence = lease.sequence;
            calls.push(match next {
                Standing::Joining => Call::Register { place, sequence },
                _ => Call::Leave { place, sequence },
            });
        }
        calls.extend(self.renewal(now));
        calls
    }

    /// One call for every lease as soon as one of them is due: they come due together from then on.
    fn renewal(&mut self, now: Timestamp) -> Option<Call> {
        let members: Vec<Place> =
            (0..self.leases.len()).filter(|place| self.leases[*place].standing == Standing::In).collect();
        let due = members.iter().any(|place| self.leases[*place].renew_at <= now);
        if !self.renewing.is_empty() || !due || self.renew_not_before > now || !self.wants_in() {
            return None;
        }
        self.renewing.clone_from(&members);
        Some(Call::Renew { places: members })
    }
}

#[cfg(test)]
#[path = "registrar_tests.rs"]
mod tests;
