//! Quorum-loss recovery: the data directory of one node that is left becomes the whole cluster. Everything that this node's
//! log holds is kept and counts as committed, also what no majority may ever have confirmed; what only the lost nodes held
//! is lost. Another life is to begin, so that the lost nodes are refused if they come back.

use std::path::PathBuf;
use std::sync::Arc;

use consensus::{
    Batch, EntryKind, HardState, Log, LogSettings, Membership, NodeId, OpenError, PersistError, Recovered,
    Snapshot, StdVfs,
};
use mesh::{Revision, Timestamp};

use super::restore::told;
use crate::catalog::{self, Catalog};
use crate::settings::Settings;

/// Why a directory was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The directory cannot be used: its node runs, it is damaged, or it is another one's. Nothing was changed.
    #[error("{}", told(.0))]
    Directory(#[from] OpenError),
    /// Its state cannot be read. Nothing was changed.
    #[error("the state of this directory cannot be used: {0}")]
    State(#[from] catalog::RestoreError),
    /// There is no log. Nothing was changed.
    #[error("{directory} holds no log of a node; name the data directory of a node that ran")]
    NothingThere {
        /// The directory.
        directory: PathBuf,
    },
    /// This node never belonged to a group. Nothing was changed.
    #[error("this node waits to be brought into a group and holds nothing of it; recover another one")]
    NeverJoined,
    /// The disk refused; do the same again.
    #[error("{0}; nothing counts yet: mend that and do the same again")]
    Disk(#[from] PersistError),
}

/// What a directory holds, for whoever has to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Which cluster.
    pub cluster: String,
    /// Whose directory.
    pub node: u64,
    /// Who voted when the last snapshot was made.
    pub voters: Vec<u64>,
    /// The newest entry; after this the group has it for certain.
    pub last: Revision,
    /// How many of the newest entries are not known to have been committed here. They are kept.
    pub unconfirmed: u64,
    /// The latest stamp of an entry: about when this node last heard of a write.
    pub last_heard: Timestamp,
}

/// The data directory of a node that is left, locked against its node.
pub struct Survivor {
    log: Log,
    catalog: Catalog,
    term: u64,
    last_term: u64,
    findings: Findings,
}

impl Survivor {
    /// Opens the data directory of these settings and reads all of it; changes nothing but what each start puts in order: a
    /// torn tail is cut off, and a founding that was cut short is made anew.
    ///
    /// # Errors
    /// [`RecoverError`]
    pub fn open(settings: &Settings) -> Result<Self, RecoverError> {
        let (directory, node) = (settings.data_directory.clone(), settings.node);
        // To open what is not there would found it.
        if !directory.join("meta").exists() {
            return Err(RecoverError::NothingThere { directory });
        }
        let founders = Membership::of_voters(settings.peers.keys().copied());
        let log = LogSettings::new(directory, &settings.cluster, node, founders);
        let (log, recovered) = Log::open(Arc::new(StdVfs), &log)?;
        let Recovered { hard_state, snapshot, entries, .. } = recovered;
        let snapshot = snapshot.ok_or(RecoverError::NeverJoined)?;
        let mut catalog =
            if snapshot.data.is_empty() { Catalog::new(1) } else { Catalog::restore(&snapshot.data)? };
        let (mut last, mut last_term) = (snapshot.index, snapshot.term);
        for entry in entries.iter().filter(|entry| entry.index > snapshot.index) {
            let normal = entry.kind == i32::from(EntryKind::Normal);
            catalog.apply(entry.index, if normal { &entry.data } else { &[] });
            (last, last_term) = (entry.index, entry.term);
        }
        let findings = Findings {
            cluster: settings.cluster.clone(),
            node: node.0,
            voters: snapshot.membership.voters,
            last: Revision::new(catalog.applied().epoch, last),
            unconfirmed: last.saturating_sub(hard_state.commit),
            last_heard: catalog.now(),
        };
        Ok(Self { log, catalog, term: hard_state.term, last_term, findings })
    }

    /// What it holds.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Makes it the whole cluster. A crash in between leaves it as it was, or recovered; do the same again.
    ///
    /// # Errors
    /// [`RecoverError::Disk`]
    pub fn recover(mut self) -> Result<(), RecoverError> {
        let Findings { node, last, .. } = self.findings;
        let snapshot = Snapshot {
            index: last.index,
            term: self.last_term,
            membership: Membership::of_voters([NodeId(node)]),
            data: self.catalog.for_another_life().snapshot().into(),
        };
        let hard_state = HardState { term: self.term + 1, vote: 0, commit: last.index };
        let alone = Batch { number: 1, hard_state, snapshot: Some(snapshot), entries: Vec::new() };
        self.log.persist(&[alone])?;
        // Who is alone has nobody left who could vouch for its disk. Last, for only a node alone may be without doubt.
        Ok(self.log.end_doubt()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    /// A node that had come back without its disk was followed by the loss of all others: recovered, it would have waited for
    /// a word of the group about its disk before it led, and the group was this node.
    #[test]
    fn a_node_in_doubt_that_becomes_the_whole_cluster_is_in_doubt_no_more() {
        let directory = std::env::temp_dir().join(format!("penstock-recovered-doubt-{}", std::process::id()));
        let settings = Settings { node: NodeId(2), ..Settings::alone(directory.clone()) };
        let founders = Membership::of_voters([1, 2, 3].map(NodeId));
        let log = LogSettings::new(directory.clone(), &settings.cluster, settings.node, founders);
        let opened = || Log::open_as(Arc::new(StdVfs), &log, 7).unwrap().1;
        assert!(opened().doubtful, "it may have had another disk");
        Survivor::open(&settings).unwrap().recover().unwrap();
        let recovered = opened();
        assert_eq!((recovered.doubtful, recovered.disk), (false, 7));
        assert_eq!(recovered.snapshot.unwrap().membership, Membership::of_voters([NodeId(2)]));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
