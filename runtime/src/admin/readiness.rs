//! What must hold before a process calls itself ready, each condition with its reason while it does not.
//!
//! Made by `main`, a [`Condition`] handed to each part that has something to wait for (caught up, first config, listening),
//! read by the admin server. A part that drains or falls behind takes its word back. Must never decide what ready means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All conditions of one process. Ready when every one of them holds; with none, ready at once.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<State>>>,
}

#[derive(Debug)]
struct State {
    name: &'static str,
    /// Why it does not hold; `None` when it does.
    lacking: Option<String>,
}

/// One condition, held by the part of the program that knows.
#[derive(Debug, Clone)]
pub struct Condition {
    conditions: Arc<Mutex<Vec<State>>>,
    index: usize,
}

impl Readiness {
    /// A process without conditions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that does not hold yet, and why: `("catalog", "not caught up with the leader")`.
    pub fn condition(&self, name: &'static str, lacking: &str) -> Condition {
        let mut conditions = locked(&self.conditions);
        conditions.push(State { name, lacking: Some(lacking.to_owned()) });
        Condition { conditions: Arc::clone(&self.conditions), index: conditions.len() - 1 }
    }

    /// What is lacking, as `name: reason`; empty when ready.
    pub fn lacking(&self) -> Vec<String> {
        let conditions = locked(&self.conditions);
        conditions
            .iter()
            .filter_map(|state| Some(format!("{}: {}", state.name, state.lacking.as_ref()?)))
            .collect()
    }
}

impl Condition {
    /// It holds from now on.
    pub fn met(&self) {
        locked(&self.conditions)[self.index].lacking = None;
    }

    /// It does not hold any more (or still not), for this reason.
    pub fn lacking(&self, reason: &str) {
        locked(&self.conditions)[self.index].lacking = Some(reason.to_owned());
    }
}

fn locked(conditions: &Mutex<Vec<State>>) -> MutexGuard<'_, Vec<State>> {
    conditions.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_condition_holds_and_not_before() {
        let readiness = Readiness::new();
        assert!(readiness.lacking().is_empty());
        let catalog = readiness.condition("catalog", "not caught up");
        let listener = readiness.condition("listener", "not open");
        listener.met();
        assert_eq!(readiness.lacking(), ["catalog: not caught up"]);
        catalog.met();
        assert!(readiness.lacking().is_empty());
        listener.lacking("draining");
        assert_eq!(readiness.lacking(), ["listener: draining"]);
    }
}
