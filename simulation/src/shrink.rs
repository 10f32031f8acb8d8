//! Makes a failing scenario small: fewer classes of faults, fewer faults, shorter, fewer hosts, as long as the same invariant
//! still breaks. A person reads what is left. Every candidate is a whole run, so that nothing is guessed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::plan::{Plan, Scenario};
use crate::world::{Failure, run};

/// A scenario that fails, and how small it was made.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// What is left.
    pub scenario: Scenario,
    /// How that fails.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: u32,
}

struct Shrinking {
    best: Shrunk,
    runs_max: u32,
}

/// Makes `scenario`, which failed with `failure`, as small as `runs_max` runs allow.
#[must_use]
pub fn shrunk(scenario: &Scenario, failure: Failure, runs_max: u32) -> Shrunk {
    let best = Shrunk { scenario: scenario.clone(), failure, runs: 0 };
    let mut shrinking = Shrinking { best, runs_max };
    shrinking.shorten();
    shrinking.without_classes();
    shrinking.without_steps();
    shrinking.fewer_hosts();
    shrinking.shorten();
    shrinking.best
}

impl Shrinking {
    /// Takes a candidate over if it fails in the same way.
    fn try_out(&mut self, candidate: Scenario) -> bool {
        if self.best.runs >= self.runs_max || candidate == self.best.scenario {
            return false;
        }
        self.best.runs += 1;
        match run(&candidate) {
            Err(failure) if failure.violation.invariant == self.best.failure.violation.invariant => {
                (self.best.scenario, self.best.failure) = (candidate, failure);
                true
            }
            _ => false,
        }
    }

    /// Ends the faults where it failed, and what comes later altogether.
    fn shorten(&mut self) {
        let mut candidate = self.best.scenario.clone();
        let at = self.best.failure.at;
        if at < candidate.shape.safety {
            // One that breaks in the safety phase needs no more of it; the healing stays, it is never reached.
            candidate.shape.safety =
                Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX) + 1);
        }
        let last = candidate.plan.steps.last().map_or(Duration::ZERO, |step| step.at);
        if at > candidate.shape.safety && last + Duration::from_secs(1) < candidate.shape.safety {
            candidate.shape.safety = last + Duration::from_secs(1);
        }
        let safety = candidate.shape.safety;
        candidate.plan.steps.retain(|step| step.at <= safety);
        self.try_out(candidate);
    }

    fn without_classes(&mut self) {
        let classes: BTreeSet<_> = self.best.scenario.plan.steps.iter().map(|step| step.act.verb()).collect();
        for class in classes {
            let mut candidate = self.best.scenario.clone();
            candidate.plan.steps.retain(|step| step.act.verb() != class);
            self.try_out(candidate);
        }
    }

    /// Leaves out ever smaller parts of the plan (delta debugging, Zeller and Hildebrandt, 2002).
    fn without_steps(&mut self) {
        let mut part = self.best.scenario.plan.steps.len().div_ceil(2);
        while part > 0 {
            let mut from = 0;
            while from < self.best.scenario.plan.steps.len() {
                let mut candidate = self.best.scenario.clone();
                let until = (from + part).min(candidate.plan.steps.len());
                candidate.plan.steps.drain(from..until);
                if !self.try_out(candidate) {
                    from += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }

    fn fewer_hosts(&mut self) {
        let wishes: [fn(&mut Scenario); 6] = [
            |scenario| scenario.shape.older = 0,
            |scenario| scenario.shape.proxies = 0,
            |scenario| scenario.shape.proxies /= 2,
            |scenario| scenario.shape.workloads = 0,
            |scenario| scenario.shape.clients = 1,
            |scenario| scenario.shape.nodes = 3,
        ];
        for wish in wishes {
            let mut candidate = self.best.scenario.clone();
            wish(&mut candidate);
            let shape = candidate.shape.clone();
            candidate.shape.zones = shape.zones.min(shape.nodes);
            candidate.shape.older = shape.older.min(shape.nodes);
            // What acts on hosts that are no more goes too; a world would not know them.
            let steps =
                candidate.plan.steps.into_iter().filter(|step| step.act.check(&candidate.shape).is_ok());
            candidate.plan = Plan { steps: steps.collect() };
            self.try_out(candidate);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;
    use crate::sabotage::Sabotage;
    use crate::shape::Shape;

    #[test]
    fn a_shrunk_scenario_still_breaks_the_same_invariant_with_fewer_steps() {
        let shape = Shape { safety: Duration::from_secs(4), proxies: 3, ..Shape::default() };
        let scenario = Scenario { sabotage: Some(Sabotage::ClockInApply), ..Scenario::of_shape(1, shape) };
        let failure = run(&scenario).unwrap_err();
        let invariant = failure.violation.invariant;
        let small = shrunk(&scenario, failure, 12);
        assert!(small.runs <= 12 && small.scenario.plan.steps.is_empty(), "{}", small.scenario);
        let again = run(&Scenario::read(&small.scenario.to_string()).unwrap()).unwrap_err();
        assert_eq!((again.violation.invariant, again), (invariant, small.failure));
    }
}
