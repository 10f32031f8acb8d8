//! What it means that a node comes back with another disk: for the node itself, which doubts it, and for the others, to which what
//! the lost one confirmed counts no more (docs/decisions/0006-members-in-the-log.md). A pure core: the shells around it ask the
//! others and carry out what is said here. Must never let a node vote that may have forgotten a vote.

use consensus::{NodeId, Status};

use crate::catalog::Members;

/// Where every founded log begins, and in which term (`consensus::Recovered::founding`).
const FOUNDING_INDEX: u64 = 1;
const FOUNDING_TERM: u64 = 1;

/// Whether a node holds more than a founding, or has heard of a later term: somebody was elected.
#[must_use]
pub fn has_begun(status: &Status) -> bool {
    status.last_index > FOUNDING_INDEX || status.term > FOUNDING_TERM
}

/// A majority of the founders, this node among them, has not begun, and nobody else is known to have: its empty disk is its first.
#[must_use]
pub fn doubt_is_unfounded(founders: usize, has_begun: bool, others_have_begun: &[bool]) -> bool {
    let nobody_has = !has_begun && others_have_begun.iter().all(|begun| !begun);
    founders > 0 && nobody_has && others_have_begun.len() + 1 > founders / 2
}

/// What a change of the members means for one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consequences {
    /// The entry that removed it.
    pub removed: Option<u64>,
    /// The log names its disk, so that it is in doubt no more.
    pub named: bool,
    /// Others that begin again on another disk: what the old one confirmed counts no more.
    pub began_anew: Vec<NodeId>,
}

/// What it means for `own`, on this disk, that the members are `now` what they are, after they were those of `before`.
#[must_use]
pub fn consequences(own: NodeId, disk: u64, before: Option<&Members>, now: &Members) -> Consequences {
    let known = |node: u64| before.and_then(|members| members.get(node)).map(|member| member.disk);
    let others = now.iter().filter(|(node, _)| *node != own.0);
    let anew =
        others.filter(|(node, member)| known(*node).is_some_and(|disk| disk != 0 && disk != member.disk));
    Consequences {
        removed: now.removed_at(own.0),
        named: now.get(own.0).is_some_and(|member| member.disk != 0 && member.disk == disk),
        began_anew: anew.map(|(node, _)| NodeId(node)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::members::fixture as members;

    #[test]
    fn a_founder_trusts_its_empty_disk_only_when_a_majority_has_not_begun_and_nobody_has() {
        assert!(doubt_is_unfounded(3, false, &[false]));
        assert!(doubt_is_unfounded(3, false, &[false, false]));
        assert!(!doubt_is_unfounded(3, false, &[]), "the others may have begun without it");
        assert!(!doubt_is_unfounded(3, false, &[false, true]), "somebody has");
        assert!(!doubt_is_unfounded(5, false, &[false]));
        assert!(!doubt_is_unfounded(0, false, &[false, false]), "who waits to be brought in founds nothing");
    }

    /// The leader was too busy to answer, the third node had never been up: a node that had lost its disk took itself for a
    /// first founder, although that leader's term stood on its new disk. It told nobody any more that it was back, and so was
    /// refused for ever.
    #[test]
    fn a_founder_that_has_heard_a_leader_is_no_first_one_whoever_else_has_not() {
        assert!(!doubt_is_unfounded(3, true, &[false]));
        assert!(!doubt_is_unfounded(3, true, &[false, false]));
    }

    #[test]
    fn a_disk_that_the_log_names_ends_a_doubt_and_another_one_of_another_node_ends_what_it_confirmed() {
        let (first, own) = (members(&[(1, "a", 7), (2, "b", 8), (3, "c", 0)], &[]), NodeId(1));
        assert_eq!(
            consequences(own, 9, None, &first),
            Consequences::default(),
            "it is known with another disk"
        );
        assert!(consequences(own, 7, None, &first).named);
        let later = members(&[(1, "a", 9), (2, "b", 5), (3, "c", 6)], &[]);
        let expected = Consequences { removed: None, named: true, began_anew: vec![NodeId(2)] };
        assert_eq!(
            consequences(own, 9, Some(&first), &later),
            expected,
            "node 3 had confirmed nothing by another"
        );
        assert_eq!(consequences(own, 9, None, &later).began_anew, [], "nothing was known before");
        assert_eq!(consequences(own, 9, Some(&later), &members(&[(2, "b", 5)], &[1])).removed, Some(40));
    }
}
