//! Marks: rare states that runs are to reach. A simulator that never gets there proves nothing about them; so a batch of seeds
//! says which marks none of them reached, and `.ci/run` prints it. Named after the coverage marks of TigerBeetle.

use std::collections::BTreeSet;

/// Makes [`Mark`] from a table.
macro_rules! marks {
    ($( $name:ident $what:literal; )*) => {
        /// A rare state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark { $( #[doc = $what] $name, )* }

        impl Mark {
            /// Every one.
            pub const ALL: &[Self] = &[$( Self::$name ),*];

            /// What was reached, for people.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $( Self::$name => $what, )* }
            }
        }
    };
}

marks! {
    SnapshotInstalled "a snapshot came from another node and was installed";
    JointMembership "two memberships held at once";
    DiskFull "a full disk was waited out";
    Yielded "a leader without space handed leadership over";
    HandedOver "a leader that was told to stop saw another lead before it ended";
    Aged "a reader that bears some age was answered without a word of the leader";
    ReadFailed "a disk could not read, and its node started later";
    SyncFailed "a node ended itself after a failed fsync";
    Forgot "a node forgot what its disk only claimed to hold";
    OwnedUp "a lying disk was spared, because a copy would have been lost";
    Out "a node refused its damaged directory, or found that its log was lost";
    Restored "every node was restored from a backup";
    BeginUnsettled "a node started on a directory whose begin of the cluster's life is not known to be committed";
    Outdated "a program ended itself, because the log takes commands that it does not know";
    Reseated "a node that lost its disk was let in again without a vote";
    VoteBack "a node that lost its disk got its vote back";
    Misdirected "a write had landed elsewhere";
    Retried "a write stood twice in the log";
    LeaseExpired "a lease expired";
    Refused "a proxy refused a resource";
    Removed "a proxy was told that a resource is gone";
}

/// Marks that were reached.
pub type Reached = BTreeSet<Mark>;
