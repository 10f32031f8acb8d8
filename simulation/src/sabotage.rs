//! Deliberate faults of the mesh, to prove that the simulator finds such faults. Each is done at a seam of the simulation (what a
//! driver carries out, sends or writes), never in a crate that is shipped: no binary but this one can have them.

use std::fmt;

use crate::plan::PlanError;

/// Makes [`Sabotage`] from a table: name, word, seeds within which it is found, what is done.
macro_rules! sabotages {
    ($( $name:ident $word:literal $within:literal $what:literal; )*) => {
        /// One deliberate fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sabotage { $( #[doc = $what] $name, )* }

        impl Sabotage {
            /// Every one.
            pub const ALL: &[Self] = &[$( Self::$name ),*];

            /// What it does, for people.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $( Self::$name => $what, )* }
            }

            /// So many seeds, from 1 on, suffice to find it.
            #[must_use]
            pub fn within(self) -> u64 {
                match self { $( Self::$name => $within, )* }
            }

            fn word(self) -> &'static str {
                match self { $( Self::$name => $word, )* }
            }
        }
    };
}

sabotages! {
    VoteForgotten "vote-forgotten" 20 "A vote is not written to disk before it is given";
    EarlyAck "early-ack" 60 "A batch is confirmed before it is durable";
    NoSync "no-sync" 20 "The log writes and never syncs";
    NoDirectorySync "no-directory-sync" 20 "The log never syncs its directory";
    SnapshotMembership "snapshot-membership" 20 "A snapshot is kept with the founders for its membership";
    SnapshotStale "snapshot-stale" 20 "A snapshot names a later entry than it holds";
    LocalRead "local-read" 60 "A read is answered without a round to a quorum";
    RetryApplied "retry-applied" 20 "A write carries no identity, so that its retry is applied again";
    ClockInApply "clock-in-apply" 20 "A node puts its own clock where the leader's stamp stands";
    PartialTwice "partial-twice" 20 "A partial names no windows, so that its repetition is counted again";
    EarlyCount "early-count" 20 "A report is acknowledged before its partial is committed";
    LostRemoval "lost-removal" 20 "After a reconnect a session leaves removals out";
    LostChange "lost-change" 20 "A session misses a change once in a while";
    OldVersion "old-version" 20 "A session sends a resource in an older version";
    BreakBeforeMake "break-before-make" 20 "A proxy puts new rules in force before it knows their clusters";
    RefusalForgotten "refusal-forgotten" 60 "A refusal is passed on as an acknowledgement";
    Hoarding "hoarding" 20 "Answers to a slow proxy are queued and not held back";
    EarlyExpiry "early-expiry" 60 "A new leader counts the silence before its time against leases";
    Unbraked "unbraked" 60 "Everything that falls silent at once expires at once";
    EpochKept "epoch-kept" 60 "A restored backup goes on in the epoch that it was taken in";
    BeginUncommitted "begin-uncommitted" 200 "A node takes a begin on its disk for the cluster's, though it may never be committed";
    HeartbeatVouches "heartbeat-vouches" 60 "A node takes a heartbeat of its leader for a proof that its catalog is fresh";
    StopUnasked "stop-unasked" 60 "A node that is told to stop ends before it has handed over what it leads";
    EmptyDiskVotes "empty-disk-votes" 200 "A node that comes back with an empty disk does not doubt it, and votes";
    OldConfirmations "old-confirmations" 200 "What a lost disk confirmed counts for the empty one too";
    SilentUpgraded "silent-upgraded" 60 "A member that does not say which commands it knows counts as upgraded";
    OlderGoesOn "older-goes-on" 60 "A program goes on where the log takes commands that it does not know";
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Sabotage {
    /// The one of this name.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn named(word: &str) -> Result<Self, PlanError> {
        let known = || Self::ALL.iter().map(|sabotage| sabotage.word()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|sabotage| sabotage.word() == word);
        found.ok_or_else(|| PlanError(format!("sabotage {word}: there are {}", known())))
    }
}
