//! Rollups conserve requests: an acknowledged window is counted once, a lost one at most once, and nothing else is.

use std::collections::BTreeMap;

use mesh::Window;

use super::Violation;

/// A proxy and which of its lives.
pub(crate) type ProxyLife = (u64, u64);

/// What became of a window, as far as its proxy knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Counted for certain.
    Acknowledged,
    /// Perhaps counted: the proxy died, or gave it up, before it was told.
    Untold,
}

/// Every window that any proxy closed.
#[derive(Debug, Default)]
pub(crate) struct RollupsConserve(BTreeMap<ProxyLife, BTreeMap<Window, (u64, Fate)>>);

impl RollupsConserve {
    /// A proxy closed a window of so many requests.
    pub(crate) fn closed(&mut self, proxy: ProxyLife, window: Window, requests: u64) {
        self.0.entry(proxy).or_default().insert(window, (requests, Fate::Untold));
    }

    /// A proxy was told that a window is counted.
    pub(crate) fn acknowledged(&mut self, proxy: ProxyLife, window: Window) {
        if let Some((_, fate)) = self.0.get_mut(&proxy).and_then(|windows| windows.get_mut(&window)) {
            *fate = Fate::Acknowledged;
        }
    }

    /// All nodes went back to a backup: of what was acknowledged nobody knows whether it stands there.
    pub(crate) fn restored(&mut self) {
        self.0.values_mut().flat_map(BTreeMap::values_mut).for_each(|(_, fate)| *fate = Fate::Untold);
    }

    /// In the end the catalog has counted so many requests of each proxy's life.
    pub(crate) fn check(&self, counted: &BTreeMap<ProxyLife, u64>) -> Result<(), Violation> {
        for (proxy, windows) in &self.0 {
            let counted = counted.get(proxy).copied().unwrap_or(0);
            let sum =
                |fate| windows.values().filter(move |(_, of)| *of == fate).map(|(requests, _)| *requests);
            let certain: u64 = sum(Fate::Acknowledged).sum();
            if !is_some_sum(counted.checked_sub(certain), &sum(Fate::Untold).collect::<Vec<_>>()) {
                let story =
                    format!("{counted} requests were counted of proxy {proxy:?}, which closed {windows:?}");
                return Err(Violation::new("rollups conserve requests", story));
            }
        }
        match counted.keys().find(|proxy| !self.0.contains_key(proxy)) {
            Some(proxy) => Err(Violation::new(
                "rollups conserve requests",
                format!("traffic of {proxy:?} was counted, which closed no window"),
            )),
            None => Ok(()),
        }
    }

    /// Requests in acknowledged windows.
    pub(crate) fn told(&self) -> u64 {
        let windows = self.0.values().flat_map(BTreeMap::values);
        windows.filter(|(_, fate)| *fate == Fate::Acknowledged).map(|(requests, _)| requests).sum()
    }
}

/// Whether `rest` is the sum of some of these, each whole or not at all.
fn is_some_sum(rest: Option<u64>, untold: &[u64]) -> bool {
    match (rest, untold) {
        (None, _) => false,
        (Some(rest), []) => rest == 0,
        (Some(rest), [first, others @ ..]) => {
            is_some_sum(Some(rest), others) || is_some_sum(rest.checked_sub(*first), others)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counted: u64) -> Result<(), Violation> {
        let mut invariant = RollupsConserve::default();
        invariant.closed((1, 1), Window(1), 10);
        invariant.acknowledged((1, 1), Window(1));
        invariant.closed((1, 1), Window(2), 3);
        invariant.check(&BTreeMap::from([((1, 1), counted)]))
    }

    #[test]
    fn an_acknowledged_window_counts_once_and_an_untold_one_at_most_once() {
        assert!(of(10).is_ok() && of(13).is_ok());
        for wrong in [0, 3, 9, 11, 16, 20] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn traffic_that_nobody_had_is_a_violation() {
        assert!(RollupsConserve::default().check(&BTreeMap::from([((1, 1), 1)])).is_err());
    }

    #[test]
    fn what_was_acknowledged_before_a_backup_was_restored_counts_at_most_once() {
        let mut invariant = RollupsConserve::default();
        invariant.closed((1, 1), Window(1), 10);
        invariant.acknowledged((1, 1), Window(1));
        invariant.restored();
        let of = |counted| invariant.check(&BTreeMap::from([((1, 1), counted)]));
        assert!(of(0).is_ok() && of(10).is_ok() && of(20).is_err());
    }
}
