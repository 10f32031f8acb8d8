//! A scenario: everything that decides a run, in one value. It comes from a seed or from a file, and can be written back.
//!
//! ```text
//! # why this scenario is kept
//! seed 42
//! shape nodes=3 proxies=10
//! 3.2s kill node=2 dead=1500ms
//! ```
//!
//! The seed still draws what the file does not say (latencies, what clients write): the same file, the same run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::act::Act;
use super::swarm;
use super::value::{PlanError, Value};
use crate::chance::Chance;
use crate::sabotage::Sabotage;
use crate::shape::Shape;

/// Steps of a plan, at most: about a hundred times what a seed draws.
const STEPS_MAX: usize = 10_000;

/// Keeps what the plan draws apart from what the world draws, so that a thinned plan leaves the world's stream alone.
const PLAN_STREAM: u64 = 0x706c_616e;

/// One act and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since the run began.
    pub at: Duration,
    /// What happens.
    pub act: Act,
}

impl Step {
    /// Whether a world of this shape can have it, and has it: what comes when all faults have ended would never happen.
    fn check(&self, shape: &Shape) -> Result<(), PlanError> {
        if self.at > shape.safety {
            let (at, end) = (self.at.written(), shape.safety.written());
            return Err(PlanError(format!(
                "{}: at {at}, but faults end at {end}: set it earlier, or safety= of the shape longer",
                self.act.verb()
            )));
        }
        self.act.check(shape)
    }
}

/// What is done to a world, by time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In order of time.
    pub steps: Vec<Step>,
}

/// Everything that decides a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Draws whatever is not said elsewhere.
    pub seed: u64,
    /// How many of everything.
    pub shape: Shape,
    /// What goes wrong, and what operators do.
    pub plan: Plan,
    /// A deliberate fault in the mesh itself, to prove that it is found.
    pub sabotage: Option<Sabotage>,
}

impl Scenario {
    /// The scenario of a seed: a small world, and faults of some classes.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::from_seed(seed ^ PLAN_STREAM);
        let shape = Shape::drawn(&mut chance);
        let plan = swarm::drawn(&mut chance, &shape);
        Self { seed, shape, plan, sabotage: None }
    }

    /// This shape with the faults that a seed draws for it.
    #[must_use]
    pub fn of_shape(seed: u64, shape: Shape) -> Self {
        let mut chance = Chance::from_seed(seed ^ PLAN_STREAM);
        let plan = swarm::drawn(&mut chance, &shape);
        Self { seed, shape, plan, sabotage: None }
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn read(text: &str) -> Result<Self, PlanError> {
        let mut scenario = Self { seed: 1, shape: Shape::default(), plan: Plan::default(), sabotage: None };
        let at_line = |number: usize| {
            move |PlanError(wrong): PlanError| PlanError(format!("line {}: {wrong}", number + 1))
        };
        // The line of each step: what it names can be checked only once the whole shape is known.
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            scenario.read_line(line).map_err(at_line(number))?;
            lines.resize(scenario.plan.steps.len(), number);
        }
        for (step, number) in scenario.plan.steps.iter().zip(lines) {
            step.check(&scenario.shape).map_err(at_line(number))?;
        }
        scenario.plan.steps.sort_by_key(|step| step.at);
        Ok(scenario)
    }

    fn read_line(&mut self, line: &str) -> Result<(), PlanError> {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "seed" || first == "sabotage" {
            let word = words.next().ok_or_else(|| PlanError(format!("{first}: names nothing")))?;
            if let Some(more) = words.next() {
                return Err(PlanError(format!("{first}: {more}: one word is expected")));
            }
            if first == "seed" {
                self.seed = u64::read("seed", word)?;
            } else {
                self.sabotage = Some(Sabotage::named(word)?);
            }
            return Ok(());
        }
        let verb = if first == "shape" { "shape" } else { words.next().unwrap_or_default() };
        let mut named = BTreeMap::new();
        for word in words {
            let pair = word.split_once('=');
            let (name, value) =
                pair.ok_or_else(|| PlanError(format!("{verb}: {word}: expected name=value")))?;
            if named.insert(name, value).is_some() {
                return Err(PlanError(format!("{verb}: {name}= is there twice")));
            }
        }
        if first == "shape" {
            return self.shape.read(&named);
        }
        if self.plan.steps.len() >= STEPS_MAX {
            return Err(PlanError(format!("more than {STEPS_MAX} steps")));
        }
        self.plan.steps.push(Step { at: Duration::read("at", first)?, act: Act::read(verb, &named)? });
        Ok(())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "shape {}", self.shape.written())?;
        if let Some(sabotage) = self.sabotage {
            writeln!(f, "sabotage {sabotage}")?;
        }
        self.plan
            .steps
            .iter()
            .try_for_each(|step| writeln!(f, "{} {}", step.at.written(), step.act.written()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn every_scenario_of_a_seed_comes_back_from_its_text() {
        for seed in 0..200 {
            let scenario = Scenario::from_seed(seed);
            assert_eq!(Scenario::read(&scenario.to_string()).unwrap(), scenario, "seed {seed}");
        }
    }

    #[test]
    fn steps_of_a_file_are_put_in_order() {
        let read = Scenario::read("# a story\n\n5s kill node=1 dead=1s\n1s kill-all dead=250ms\n").unwrap();
        let words: Vec<_> = read.plan.steps.iter().map(|step| step.act.verb()).collect();
        assert_eq!(words, ["kill-all", "kill"]);
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_wrong() {
        let wrong = |text: &str| Scenario::read(text).unwrap_err().0;
        assert_eq!(wrong("seed 1\n1s kill node=1"), "line 2: kill: dead= is missing");
        assert!(wrong("1s murder node=1").starts_with("line 1: \"murder\" is no act; there are: kill,"));
        assert_eq!(wrong("1s kill node=1 dead=1s why=not"), "line 1: kill: has no field why");
        assert_eq!(wrong("\n1s kill node=4 dead=1s"), "line 2: kill: node=4: must be 0 to 3");
        assert_eq!(
            wrong("9s kill node=4 dead=1s\n1s kill-all dead=1s\nshape nodes=3").get(..7),
            Some("line 1:")
        );
        assert!(wrong("21s kill-all dead=1s").contains("at 21s, but faults end at 20s: set it earlier"));
        assert_eq!(wrong("seed 1 2"), "line 1: seed: 2: one word is expected");
        assert_eq!(wrong("shape nodes=3 nodes=5"), "line 1: shape: nodes= is there twice");
        assert!(wrong("sabotage nothing").contains("there are"));
    }

    #[test]
    fn what_no_machine_could_hold_or_count_is_refused_and_not_begun() {
        for line in [
            "shape nodes=1000000000",
            "shape proxies=1000000000",
            "shape services=100000 instances=100",
            "shape clients=1000000000",
            "shape workloads=1000000000",
            "shape requests_per_second=1000000000",
            "shape zones=1000000000",
            "shape safety=999999999m",
            "shape healing=9999999999m",
            "1s push count=1000000000",
            "1s flap proxy=0 times=1000000000",
            "1s crash-loop proxy=0 times=1000000000",
            "1s slow-disk node=1 factor=18446744073709551615 lasts=1s",
            "1s slow-disk node=1 factor=0 lasts=1s",
            "1s delay usual=99999999m lasts=1s",
            "1s kill node=1 dead=999999999m",
            "1s restore back=1s dead=99999999m",
            "1s drift node=1 ppm=-9223372036854775808",
            "1s jump node=1 by_ms=9223372036854775807",
        ] {
            let told = Scenario::read(line).expect_err(line).0;
            assert!(told.starts_with("line 1: ") && told.contains(" must be "), "{line}: {told}");
        }
    }
}
