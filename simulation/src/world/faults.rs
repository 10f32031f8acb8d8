//! What goes wrong in a run, drawn from its seed. Each class is switched off at random per seed (swarm testing, Groce et
//! al., ISSTA 2012): a run without crashes reaches states that crashes would cut short.

use std::time::Duration;

use crate::chance::Chance;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultClass {
    /// kill -9 of a node, started again later.
    Crash,
    /// kill -9 of all nodes at once.
    CrashAll,
    /// A node reaches nobody, and nobody it.
    Isolate,
    /// One direction between two nodes is cut.
    OneWay,
    /// Every cut is mended.
    Mend,
    /// A disk becomes slow, or quick again.
    SlowDisk,
    /// A proxy dies and starts again with nothing.
    RestartProxy,
}

const CLASSES: [FaultClass; 7] = [
    FaultClass::Crash,
    FaultClass::CrashAll,
    FaultClass::Isolate,
    FaultClass::OneWay,
    FaultClass::Mend,
    FaultClass::SlowDisk,
    FaultClass::RestartProxy,
];

/// The faults of one seed.
#[derive(Debug, Clone)]
pub(crate) struct FaultPlan {
    classes: Vec<FaultClass>,
    /// Usual time from one fault to the next.
    every: Duration,
}

impl FaultPlan {
    /// Draws which classes happen, and how often.
    pub(crate) fn drawn(chance: &mut Chance) -> Self {
        let mut classes: Vec<_> = CLASSES.into_iter().filter(|_| chance.happens(650)).collect();
        let cuts = classes.iter().any(|class| matches!(class, FaultClass::Isolate | FaultClass::OneWay));
        if cuts && !classes.contains(&FaultClass::Mend) {
            classes.push(FaultClass::Mend);
        }
        let every = chance.between(Duration::from_millis(150), Duration::from_millis(2500));
        Self { classes, every }
    }

    /// The next fault; `None` when this seed has none.
    pub(crate) fn next(&self, chance: &mut Chance) -> Option<FaultClass> {
        (!self.classes.is_empty()).then(|| self.classes[chance.index(self.classes.len())])
    }

    /// Time to the fault after this one.
    pub(crate) fn pause(&self, chance: &mut Chance) -> Duration {
        chance.latency(self.every)
    }
}
