//! Which life of the cluster a node's data is of, and whom it hears for that reason, as `control/src/replica/peers` has it: a stream
//! of Raft's messages says it once, when it is opened, and every other call each time. The product decides what a directory is of, and
//! which two lives fit (`peers/life.rs`); here is only carried.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::Recovered;
use control::replica::peers::Life;

use super::event::Sender;
use super::running::Running;
use crate::marks::{Mark, Reached};
use crate::sabotage::Sabotage;

/// How long a node waits that was refused, before it opens its stream again, as the product has it.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// The stream of Raft's messages that another process opened, which stands as long as both do.
#[derive(Debug, Clone, Copy)]
struct Opened {
    /// The start of that process on its machine.
    start: u64,
    /// It was refused, and is not opened again before.
    refused_until: Option<Duration>,
}

/// The life of one process's data, and the streams that others opened to it.
#[derive(Debug)]
pub(super) struct Lives {
    own: Life,
    streams: BTreeMap<u64, Opened>,
}

impl Lives {
    pub(super) fn new(own: Life) -> Self {
        Self { own, streams: BTreeMap::new() }
    }

    /// What every call of this process says.
    pub(super) fn own(&self) -> Life {
        self.own
    }

    /// Whether the data of who calls may be of this life.
    pub(super) fn fits(&self, from: Sender) -> bool {
        from.of_life.fits(self.own)
    }

    /// Whether a message that comes on a stream is let in: the stream is opened with the first one, and again a while after it
    /// was refused.
    fn let_in(&mut self, from: Sender, local: Duration) -> bool {
        let known = self.streams.get(&from.node).filter(|opened| opened.start == from.start);
        match known {
            Some(Opened { refused_until: None, .. }) => true,
            Some(Opened { refused_until: Some(until), .. }) if local < *until => false,
            _ => {
                let fits = self.fits(from);
                let refused_until = (!fits).then(|| local + REFUSED_WAIT);
                self.streams.insert(from.node, Opened { start: from.start, refused_until });
                fits
            }
        }
    }
}

impl Running {
    /// Whether a message of Raft, or a snapshot, is of this life of the cluster. The pieces of a snapshot are a call for themselves.
    pub(super) fn is_of_this_life(&mut self, from: Sender, is_snapshot: bool, local: Duration) -> bool {
        if is_snapshot { self.lives.fits(from) } else { self.lives.let_in(from, local) }
    }

    /// Entries were applied, or a snapshot installed.
    pub(super) fn follow_life(&mut self) {
        self.lives.own = Life::of(&self.catalog);
    }
}

/// The life that a directory is of, unless the node is sabotaged.
pub(super) fn life_of(recovered: &mut Recovered, sabotage: Option<Sabotage>, reached: &mut Reached) -> Life {
    let life = Life::of_directory(recovered);
    let committed = std::mem::replace(&mut recovered.hard_state.commit, u64::MAX);
    let hasty = Life::of_directory(recovered);
    recovered.hard_state.commit = committed;
    if hasty != life {
        reached.insert(Mark::BeginUnsettled);
    }
    if sabotage == Some(Sabotage::BeginUncommitted) { hasty } else { life }
}
