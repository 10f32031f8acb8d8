//! The ejections of one cluster on one worker: carries out what `balance::ejection` decides, keeps the floor over all
//! endpoints, and counts. Told by the account of each request; must never pick.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use mesh::Ejection;

use super::state::WorkerState;
use super::upstream::Upstream;
use crate::balance::{Health, Interval, Outcome, floor_allows};

/// What the endpoints of a cluster share.
#[derive(Debug)]
pub struct Ejections {
    /// When one goes.
    pub policy: Ejection,
    state: Rc<WorkerState>,
    total: u32,
    out: Cell<u32>,
    interval: RefCell<Interval>,
}

impl Ejections {
    /// Begins to eject among these endpoints, or ceases to. Those that are out already stay out.
    pub fn over<'u>(
        policy: Option<Ejection>,
        upstreams: impl Iterator<Item = &'u Rc<Upstream>> + Clone,
        state: &Rc<WorkerState>,
        now: Instant,
    ) -> Option<Rc<Self>> {
        let Some(policy) = policy else {
            for upstream in upstreams {
                upstream.ejections.replace(None);
                upstream.health.take();
            }
            return None;
        };
        let is_out = |upstream: &Rc<Upstream>| upstream.health.borrow().is_out();
        let (total, out) = (upstreams.clone().count(), upstreams.clone().filter(|one| is_out(one)).count());
        let ejections = Rc::new(Self {
            policy,
            state: Rc::clone(state),
            total: u32::try_from(total).unwrap_or(u32::MAX),
            out: Cell::new(u32::try_from(out).unwrap_or(u32::MAX)),
            interval: RefCell::new(Interval::begun(policy.interval, now)),
        });
        state.count(|counters| counters.endpoints_ejected += u64::from(ejections.out.get()));
        for upstream in upstreams {
            upstream.ejections.replace(Some(Rc::clone(&ejections)));
        }
        Some(ejections)
    }

    /// A request to an endpoint ended.
    pub(super) fn observe(&self, upstream: &Upstream, is_failure: bool, now: Instant) {
        let mut health = upstream.health.borrow_mut();
        match health.observe(&self.policy, is_failure, now) {
            Outcome::Stays => {}
            Outcome::ShouldGo => {
                if self.eject(&mut health, now) {
                    self.state.count(|counters| counters.ejected_in_a_row_total += 1);
                    tracing::info!(address = %upstream.address, "endpoint ejected: failures in a row");
                }
            }
            Outcome::Returns => {
                self.out.set(self.out.get().saturating_sub(1));
                upstream.joined.set(Some(now));
                self.state.count(|counters| counters.endpoints_ejected -= 1);
                tracing::info!(address = %upstream.address, "ejected endpoint is back");
            }
        }
    }

    /// Whether it is time to compare success rates.
    pub fn interval_has_ended(&self, now: Instant) -> bool {
        self.interval.borrow_mut().has_ended(self.policy.interval, now)
    }

    /// Sets an endpoint aside whose success rate is far below that of the others.
    pub fn eject_outlier(&self, health: &mut Health, now: Instant) {
        if self.eject(health, now) {
            self.state.count(|counters| counters.ejected_outlier_total += 1);
        }
    }

    fn eject(&self, health: &mut Health, now: Instant) -> bool {
        let allowed = floor_allows(&self.policy, self.out.get(), self.total);
        if allowed {
            health.eject(&self.policy, now);
            self.out.set(self.out.get() + 1);
        }
        self.state.count(|counters| match allowed {
            true => counters.endpoints_ejected += 1,
            false => counters.ejections_refused_total += 1,
        });
        allowed
    }
}

impl Drop for Ejections {
    fn drop(&mut self) {
        let out = u64::from(self.out.get());
        self.state
            .count(|counters| counters.endpoints_ejected = counters.endpoints_ejected.saturating_sub(out));
    }
}
