//! Deliberate faults of the mesh, to prove that the simulator finds such faults. Each is done at a seam of the simulation (what a
//! driver carries out, sends or writes), never in a crate that is shipped: no binary but this one can have them.

use std::fmt;
use std::str::FromStr;

use crate::plan::PlanError;

/// Makes [`Sabotage`] from a table: name, word, what is done.
macro_rules! sabotages {
    ($( $name:ident $word:literal $what:literal; )*) => {
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

            fn word(self) -> &'static str {
                match self { $( Self::$name => $word, )* }
            }
        }
    };
}

sabotages! {
    VoteForgotten "vote-forgotten" "A vote is not written to disk before it is given";
    EarlyAck "early-ack" "A batch is confirmed before it is durable";
    NoSync "no-sync" "The log writes and never syncs";
    NoDirectorySync "no-directory-sync" "The log never syncs its directory";
    SnapshotMembership "snapshot-membership" "A snapshot is kept with the founders for its membership";
    SnapshotStale "snapshot-stale" "A snapshot names a later entry than it holds";
    LocalRead "local-read" "A read is answered without a round to a quorum";
    RetryApplied "retry-applied" "A write carries no identity, so that its retry is applied again";
    ClockInApply "clock-in-apply" "A node puts its own clock where the leader's stamp stands";
    PartialTwice "partial-twice" "A partial names no windows, so that its repetition is counted again";
    EarlyCount "early-count" "A report is acknowledged before its partial is committed";
    LostRemoval "lost-removal" "After a reconnect a session leaves removals out";
    LostChange "lost-change" "A session misses a change once in a while";
    OldVersion "old-version" "A session sends a resource in an older version";
    BreakBeforeMake "break-before-make" "A proxy puts new rules in force before it knows their clusters";
    RefusalForgotten "refusal-forgotten" "A refusal is passed on as an acknowledgement";
    Hoarding "hoarding" "Answers to a slow proxy are queued and not held back";
    EarlyExpiry "early-expiry" "A new leader counts the silence before its time against leases";
    NoBrake "no-brake" "Mass expiry is not held";
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Sabotage {
    type Err = PlanError;

    fn from_str(word: &str) -> Result<Self, PlanError> {
        let known = || Self::ALL.iter().map(|sabotage| sabotage.word()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().copied().find(|sabotage| sabotage.word() == word);
        found.ok_or_else(|| PlanError(format!("sabotage {word}: there are {}", known())))
    }
}
