//! Tests of `seats.rs`: what is planned, and what is refused with which words.
#![allow(clippy::unwrap_used)] // a panic is how a test fails
use api::log::v1::{MemberState, MembersState, RemovedMember};
use consensus::Role;
use consensus::replica::Campaigns;

use super::*;

/// Node 1 leads; of the others each with its lag, or `None` if it is silent.
pub(in crate::replica) fn status(voters: &[u64], learners: &[u64], others: &[(u64, Option<u64>)]) -> Status {
    let peer = |(node, lag): &(u64, Option<u64>)| PeerStatus {
        node: NodeId(*node),
        matched: 1000 - lag.unwrap_or(0),
        lag: lag.unwrap_or(0),
        active: lag.is_some(),
        in_snapshot: false,
        lost: false,
        silence: if lag.is_some() { Duration::ZERO } else { Duration::from_secs(60) },
    };
    let membership = Membership::of_voters(voters.iter().copied().map(NodeId));
    Status {
        node: NodeId(1),
        role: Role::Leader,
        term: 3,
        leader: Some(NodeId(1)),
        commit: 1000,
        applied: 1000,
        last_index: 1000,
        first_index: 1,
        log_bytes: 0,
        snapshot_index: 1,
        proposals_waiting: 0,
        reads_waiting: 0,
        batches_waiting: 0,
        campaigns: Campaigns::default(),
        membership: Membership { learners: learners.to_vec(), ..membership },
        membership_is_changing: false,
        peers: others.iter().map(peer).collect(),
    }
}

fn members(version: u32) -> Members {
    let at =
        |node: u64| MemberState { node, peer_address: format!("host-{node}:4101"), ..MemberState::default() };
    Members::restored(Some(MembersState {
        version,
        members: (1..=3).map(at).collect(),
        removed: vec![RemovedMember { node: 8, index: 77 }],
    }))
}

fn plan(status: &Status, wish: &Wish, force: bool) -> Result<Plan, WishError> {
    Ground { status, members: &members(2) }.plan(wish, force)
}

fn add(node: u64, at: &str) -> Wish {
    Wish::Add { node: NodeId(node), peer_address: at.to_owned(), disk: 7, promote: false }
}

fn promote(node: u64, instead_of: Option<u64>) -> Wish {
    Wish::Promote { node: NodeId(node), instead_of: instead_of.map(NodeId) }
}

fn remove(node: u64) -> Wish {
    Wish::Remove { node: NodeId(node) }
}

pub(in crate::replica) fn healthy() -> Status {
    status(&[1, 2, 3], &[], &[(2, Some(0)), (3, Some(0))])
}

#[test]
fn a_new_node_comes_in_without_a_vote_and_with_its_address() {
    let plan = plan(&healthy(), &add(4, "d:4101"), false).unwrap();
    assert_eq!((&plan.wanted.voters[..], &plan.wanted.learners[..]), (&[1, 2, 3][..], &[4][..]));
    assert_eq!(plan.change.seats[0].peer_address, "d:4101");
    assert!(plan.says.contains("penstock members promote 4"), "{}", plan.says);
}

#[test]
fn what_is_so_already_a_used_number_and_a_used_address_are_told() {
    let refusal = |wish| plan(&healthy(), &wish, false).unwrap_err();
    assert!(matches!(refusal(add(3, "host-3:4101")), WishError::Already(_)));
    assert!(refusal(add(3, "elsewhere:4101")).to_string().contains("already, at host-3:4101"));
    let used = refusal(add(8, "h:4101")).to_string();
    assert!(used.contains("node 8 cannot be added") && used.contains("removed by entry 77"), "{used}");
    assert!(used.contains("`penstock control --node 9 --join`"), "a number that nobody had: {used}");
    assert!(refusal(add(4, "host-2:4101")).to_string().contains("node 2 is at host-2:4101"));
    assert!(matches!(refusal(remove(8)), WishError::Already(_)));
    assert_eq!(refusal(remove(9)), WishError::NotFound(NodeId(9)));
    assert!(matches!(refusal(promote(2, None)), WishError::Already(_)));
    assert_eq!(refusal(promote(9, None)), WishError::NotFound(NodeId(9)));
}

#[test]
fn a_learner_gets_a_vote_only_when_it_has_caught_up_and_the_refusal_says_what_it_lacks() {
    let with_lag = |lag| status(&[1, 2, 3], &[4], &[(2, Some(0)), (3, Some(0)), (4, lag)]);
    let refused = |lag| plan(&with_lag(lag), &promote(4, None), false).unwrap_err().to_string();
    assert!(refused(Some(812)).contains("lacks 812 of 1000 entries"), "{}", refused(Some(812)));
    assert!(refused(None).contains("silent for 60 s"));
    let plan = plan(&with_lag(Some(3)), &promote(4, None), false).unwrap();
    assert_eq!(plan.wanted.voters, [1, 2, 3, 4]);
    assert!(plan.says.contains("4 voters survive no more losses than 3"));
}

#[test]
fn a_node_takes_the_place_of_a_dead_one_in_one_step() {
    let status = status(&[1, 2, 3], &[4], &[(2, Some(0)), (3, None), (4, Some(0))]);
    let plan = plan(&status, &promote(4, Some(3)), false).unwrap();
    assert_eq!((plan.wanted.voters, plan.change.removed), (vec![1, 2, 4], vec![3]));
}

/// It was answered as done, and node 3 stayed.
#[test]
fn a_voter_takes_nobodys_place_and_is_not_said_to_have_taken_it() {
    let status = status(&[1, 2, 3, 4], &[], &[(2, Some(0)), (3, Some(0)), (4, Some(0))]);
    let refused = plan(&status, &promote(4, Some(3)), false).unwrap_err().to_string();
    assert!(refused.contains("node 3 is still a member; `penstock members remove 3`"), "{refused}");
    let done = plan(&healthy(), &promote(3, Some(4)), false).unwrap_err();
    assert!(matches!(done, WishError::Already(_)), "the same, sent again: {done}");
}

/// Node 4 of four was killed; who then took out 2 and 3 within two seconds was let, and the cluster had no quorum.
#[test]
fn a_node_whose_address_refuses_is_no_quorum_however_lately_it_was_heard() {
    let mut status = status(&[1, 2, 3], &[], &[(2, Some(0)), (3, Some(0))]);
    assert!(plan(&status, &remove(3), false).is_ok());
    status.peers[0].lost = true;
    let said = plan(&status, &remove(3), false).unwrap_err().to_string();
    assert!(said.contains("only 1 of 2 answer (not: 2)"), "{said}");
}

#[test]
fn what_would_lose_the_quorum_is_refused_unless_forced() {
    let status = status(&[1, 2, 3], &[], &[(2, None), (3, Some(0))]);
    let said = plan(&status, &remove(3), false).unwrap_err().to_string();
    assert!(said.contains("leaves the voters 1, 2, of which only 1 of 2 answer (not: 2)"), "{said}");
    assert!(said.contains("--force"), "{said}");
    assert_eq!(plan(&status, &remove(3), true).unwrap().wanted.voters, [1, 2]);
    assert_eq!(plan(&status, &remove(2), false).unwrap().wanted.voters, [1, 3], "the dead one may go");
}

#[test]
fn a_voter_with_a_new_disk_begins_again_as_a_learner_if_the_others_are_a_quorum() {
    let reseat = Wish::Reseat { node: NodeId(3), disk: 9 };
    let begun = plan(&healthy(), &reseat, false).unwrap();
    assert_eq!((&begun.wanted.voters[..], &begun.wanted.learners[..]), (&[1, 2][..], &[3][..]));
    assert_eq!((begun.change.seats[0].disk, begun.change.seats[0].promote), (9, true));
    let wounded = status(&[1, 2, 3], &[], &[(2, None), (3, None)]);
    assert!(plan(&wounded, &reseat, true).unwrap_err().to_string().contains("only 1 of 2 answer"));
}

/// It was refused, and had to be added anew under another number by hand.
#[test]
fn a_learner_with_a_new_disk_begins_again_without_any_change_of_who_votes() {
    let follows = status(&[1, 2, 3], &[4], &[(2, None), (3, Some(0)), (4, Some(0))]);
    let begun = plan(&follows, &Wish::Reseat { node: NodeId(4), disk: 9 }, false).unwrap();
    assert_eq!(begun.wanted, follows.membership);
    assert_eq!((begun.change.seats[0].disk, begun.change.seats[0].promote), (9, false));
    let stranger = Wish::Reseat { node: NodeId(5), disk: 9 };
    assert_eq!(plan(&follows, &stranger, false).unwrap_err(), WishError::NotFound(NodeId(5)));
}

#[test]
fn the_leader_and_the_last_voter_do_not_go() {
    assert_eq!(plan(&healthy(), &remove(1), true).unwrap_err(), WishError::Leads(NodeId(1)));
    let alone = status(&[1], &[], &[]);
    assert!(plan(&alone, &remove(1), true).unwrap_err().to_string().contains("only one with a vote"));
}

#[test]
fn before_all_know_the_second_version_nodes_may_go_but_not_come() {
    let (status, members) = (healthy(), members(1));
    let ground = Ground { status: &status, members: &members };
    assert!(ground.plan(&add(4, "d:4101"), false).unwrap_err().to_string().contains("version 2"));
    assert_eq!(ground.plan(&remove(3), false).unwrap().change, ChangeMembers::default());
}
