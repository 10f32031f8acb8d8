//! How much one subscriber follows, and for how long. Handed in, so that a test and the simulator can take smaller ones.

use std::time::Duration;

/// How much a subscriber follows, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Authorities followed at once. Smaller: a workload that calls many services thrashes. Larger: a caller that
    /// makes names up costs more memory, about 1 KiB a name.
    pub authorities_max: usize,
    /// Backends followed at once; one past it is treated as if it had no endpoint. Together with `authorities_max` and
    /// `addresses_max` it keeps a session below the 4096 names that a control node takes (routes of each authority, clusters and
    /// endpoints of each authority and backend, listeners of each address): past those the node would end the stream.
    pub backends_max: usize,
    /// Original destinations followed at once. Smaller: a workload that calls many addresses outside of the mesh asks the
    /// control plane about the same ones again. Larger: more names in a session that may have 4096 of them.
    pub addresses_max: usize,
    /// A known authority that nobody used for so long is dropped (never while disconnected). Smaller: a rare call pays
    /// a round trip to the control plane more often. Larger: changes of services that nobody calls are pushed.
    pub idle: Duration,
    /// How long an unknown authority is answered from memory. Smaller: calls to a wrong name reach the control plane
    /// more often. Larger: a name that was dropped from memory late keeps its place from others.
    pub unknown: Duration,
    /// When all places are taken, one that was not used for so long gives way to a new one. Smaller: two sets of
    /// callers push each other out. Larger: a new name is turned away while old ones linger.
    pub yield_after: Duration,
    /// How often a digest of what is held is told to the control node. Smaller: ten thousand proxies cost it more than
    /// their changes do. Larger: drift that should never be lasts longer.
    pub digest: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            authorities_max: 500,
            backends_max: 900,
            addresses_max: 500,
            idle: Duration::from_secs(600),
            unknown: Duration::from_secs(10),
            yield_after: Duration::from_secs(60),
            digest: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_follows_all_it_may_stays_below_what_a_node_takes() {
        const NAMES_PER_SESSION_MAX: usize = 4096;
        let Bounds { authorities_max, backends_max, addresses_max, .. } = Bounds::default();
        // Authorities are followed as clusters also when the places of backends are taken.
        let clusters = authorities_max + backends_max;
        assert!(authorities_max + 2 * clusters + addresses_max < NAMES_PER_SESSION_MAX);
    }
}
