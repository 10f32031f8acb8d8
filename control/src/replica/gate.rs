//! When the log may take newer commands: as soon as every member knows them. And when a program must end, because the log takes
//! commands that it does not know. Pure; the steward asks and proposes, the driver ends the node, and the simulator does both.

use consensus::NodeId;

use crate::catalog::versions;

/// What is to be done about the version of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// The log takes what this node knows, or more.
    Open,
    /// Every member knows this version: raise it.
    Raise(u32),
    /// These have not said that they know more; each with what it said, or `None` if it did not answer.
    Held(Vec<(NodeId, Option<u32>)>),
}

/// With the version in the log, the newest that this leader knows, and what each other member said of itself.
#[must_use]
pub fn gate(version: u32, own: u32, others: &[(NodeId, Option<u32>)]) -> Gate {
    if version >= own {
        return Gate::Open;
    }
    // A program from before versions were told says 0.
    let known = |said: &Option<u32>| said.map_or(0, |said| said.max(versions::FIRST));
    let common = others.iter().map(|(_, said)| known(said)).min().unwrap_or(own).min(own);
    if common > version {
        return Gate::Raise(common);
    }
    Gate::Held(others.iter().filter(|(_, said)| known(said) <= version).copied().collect())
}

/// Whether a program that knows commands up to `known` must end, because the log takes those of `version`. Asked at each entry
/// that is applied, and at each snapshot, so that nothing behind the entry that raised the version is applied by half.
#[must_use]
pub fn is_too_old(known: u32, version: u32) -> bool {
    version > known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(members: &[(u64, Option<u32>)]) -> Vec<(NodeId, Option<u32>)> {
        members.iter().map(|(node, said)| (NodeId(*node), *said)).collect()
    }

    #[test]
    fn the_version_rises_to_what_all_know_and_not_before_the_last_one_is_upgraded() {
        assert_eq!(gate(1, 3, &said(&[(2, Some(3)), (3, Some(2))])), Gate::Raise(2));
        assert_eq!(gate(1, 2, &said(&[(2, Some(2)), (3, Some(1))])), Gate::Held(said(&[(3, Some(1))])));
        assert_eq!(gate(1, 2, &said(&[(2, Some(0)), (3, Some(2))])), Gate::Held(said(&[(2, Some(0))])));
        assert_eq!(gate(1, 2, &[]), Gate::Raise(2), "a node alone");
    }

    #[test]
    fn who_does_not_answer_holds_it_and_an_open_gate_needs_nothing() {
        assert_eq!(gate(1, 2, &said(&[(2, None)])), Gate::Held(said(&[(2, None)])));
        assert_eq!(gate(2, 2, &said(&[(2, None)])), Gate::Open);
        assert_eq!(gate(3, 2, &said(&[(2, Some(3))])), Gate::Open, "an older leader raises nothing");
    }

    #[test]
    fn a_program_goes_on_as_long_as_the_log_takes_nothing_that_it_does_not_know() {
        assert!(!is_too_old(2, 1) && !is_too_old(2, 2));
        assert!(is_too_old(2, 3));
    }
}
