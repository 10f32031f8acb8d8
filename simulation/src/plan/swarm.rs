//! The plan of a seed. Each class of fault is switched off at random per seed (swarm testing, Groce et al., ISSTA 2012): a run
//! without crashes reaches states that crashes would cut short.

use std::time::Duration;

use super::act::Act;
use super::scenario::{Plan, Step};
use crate::chance::Chance;
use crate::faults::{AT_FOUNDING, CLASSES};
use crate::shape::Shape;

/// One class of faults.
pub struct Class {
    /// The word of its acts.
    pub name: &'static str,
    /// How often it comes among the classes that are switched on.
    pub weight: u64,
    /// Draws one; `None` where a world of this shape cannot have it.
    pub draw: fn(&mut Chance, &Shape) -> Option<Act>,
}

/// Of 1,000 seeds, so many have a given class switched on.
const ON_PER_MILLE: u32 = 400;

/// Of 1,000 seeds, so many have faults while the cluster is founded: the first leaders' first moments are a thousandth of a run,
/// and hardly any fault of the rest of the plan would meet them.
const AT_FOUNDING_PER_MILLE: u32 = 300;

/// Within this time every founding without faults is over.
const FOUNDING: Duration = Duration::from_millis(600);

/// Draws which classes happen, how often, and then each act.
pub(super) fn drawn(chance: &mut Chance, shape: &Shape) -> Plan {
    let on: Vec<&Class> =
        CLASSES.iter().flat_map(|family| family.iter()).filter(|_| chance.happens(ON_PER_MILLE)).collect();
    let every = chance.between(Duration::from_millis(150), Duration::from_millis(2500));
    let mut steps = Vec::new();
    let mut at = pause(every, chance);
    while at < shape.safety && !on.is_empty() {
        if let Some(act) = (pick(&on, chance).draw)(chance, shape) {
            steps.push(Step { at, act });
        }
        at += pause(every, chance);
    }
    steps.extend(at_founding(chance, shape));
    steps.sort_by_key(|step| step.at);
    Plan { steps }
}

/// The first leader does not reign for long, in some seeds, and more goes wrong about that time.
fn at_founding(chance: &mut Chance, shape: &Shape) -> Vec<Step> {
    if !chance.happens(AT_FOUNDING_PER_MILLE) {
        return Vec::new();
    }
    let classes: Vec<&Class> = AT_FOUNDING.iter().map(|name| named(name)).collect();
    let more = 1 + chance.index(4);
    let mut steps = Vec::new();
    for number in 0..more + 2 {
        let (class, at) = match number {
            0 | 1 => (classes[number], Duration::ZERO),
            _ => (pick(&classes, chance), pause(FOUNDING / 4, chance).min(FOUNDING)),
        };
        steps.extend((class.draw)(chance, shape).map(|act| Step { at, act }));
    }
    steps
}

/// The class of this name.
fn named(name: &str) -> &'static Class {
    let found = CLASSES.iter().flat_map(|family| family.iter()).find(|class| class.name == name);
    found.expect("what comes at a founding is drawn from the classes that there are")
}

fn pick<'a>(on: &[&'a Class], chance: &mut Chance) -> &'a Class {
    let all: u64 = on.iter().map(|class| class.weight).sum();
    let mut left = chance.below(all);
    for class in on {
        if left < class.weight {
            return class;
        }
        left -= class.weight;
    }
    unreachable!("what is below the sum of all weights falls to one of them")
}

/// Time to the next fault, in whole milliseconds: plans are read by people.
fn pause(every: Duration, chance: &mut Chance) -> Duration {
    let millis = u64::try_from(chance.latency(every).as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::Scenario;

    #[test]
    fn over_many_seeds_every_class_comes_and_each_is_often_switched_off() {
        let names = |seed| -> BTreeSet<&'static str> {
            Scenario::from_seed(seed).plan.steps.iter().map(|step| step.act.verb()).collect()
        };
        let runs: Vec<_> = (0..200).map(names).collect();
        for class in CLASSES.iter().flat_map(|family| family.iter()) {
            let with = runs.iter().filter(|run| run.contains(class.name)).count();
            assert!((5..150).contains(&with), "{} is in {with} of 200 plans", class.name);
        }
    }

    #[test]
    fn every_act_is_drawn_by_a_class_of_its_name() {
        let named: BTreeSet<_> =
            CLASSES.iter().flat_map(|family| family.iter()).map(|class| class.name).collect();
        assert_eq!(named, Act::VERBS.iter().copied().collect());
    }

    #[test]
    fn whatever_a_seed_draws_the_world_of_its_shape_has() {
        for seed in 0..300 {
            let scenario = Scenario::from_seed(seed);
            for step in &scenario.plan.steps {
                assert_eq!(step.act.check(&scenario.shape), Ok(()), "seed {seed}");
            }
        }
    }
}
