//! What a data directory held when it was opened.

use crate::nouns::{HardState, LogEntry, Membership, Snapshot};

/// Everything that a replica starts from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// The last one made durable.
    pub hard_state: HardState,
    /// The newest snapshot. Absent on a node that waits for a leader to bring it into a group.
    pub snapshot: Option<Snapshot>,
    /// The log, without gaps; begins at or below the entry after the snapshot.
    pub entries: Vec<LogEntry>,
    /// Bytes that a crash left half written at the end of the log, and that were cut off.
    pub torn_bytes: u64,
    /// Identity of the directory; 0 when it has none.
    pub disk: u64,
    /// The directory is new, and the node may have promised something on another one that was lost: it must
    /// neither vote nor campaign until the group vouches for it ([`crate::Replica::end_doubt`]).
    pub doubtful: bool,
}

impl Recovered {
    /// The state of each first member of a new group: a synthetic snapshot at index 1, term 1, so that a
    /// later joiner (whose log is empty) is sent a snapshot, and with it the membership.
    pub fn founding(members: Membership) -> Self {
        Self {
            hard_state: HardState { term: 1, vote: 0, commit: 1 },
            snapshot: Some(Snapshot { index: 1, term: 1, membership: members, data: bytes::Bytes::new() }),
            entries: Vec::new(),
            torn_bytes: 0,
            disk: 0,
            doubtful: false,
        }
    }
}
