//! Writes: seen on every node, applied once, not lost with a leader.

use api::v1::{EndpointsRequest, LeaveRequest, RegisterRequest, RevisionRequest};

use crate::group::{Group, lease, registration, write_id};

#[test]
fn a_node_alone_takes_a_registration_and_still_has_it_after_a_restart() {
    let mut group = Group::of(1);
    let written = group.register(1, registration("web", "web-1")).unwrap();
    assert!(written.revision.unwrap().index > 1);
    assert_eq!(group.instances(1, "web"), ["web-1"]);
    group.end_abruptly(1);
    group.start_again(1);
    assert_eq!(group.instances(1, "web"), ["web-1"]);
}

#[test]
fn a_registration_through_a_follower_is_seen_on_every_node() {
    let group = Group::of(3);
    group.register(group.follower(), registration("web", "web-1")).unwrap();
    for node in group.running() {
        assert_eq!(group.instances(node, "web"), ["web-1"], "node {node}");
    }
}

#[test]
fn a_retry_of_the_same_write_gets_the_first_outcome_also_from_another_node() {
    let group = Group::of(3);
    let first = group.register(1, registration("web", "web-1")).unwrap();
    group.register(2, registration("web", "web-2")).unwrap();
    for node in group.running() {
        let again = group.register(node, registration("web", "web-1")).unwrap();
        assert_eq!(again.revision, first.revision, "node {node}");
    }
}

#[test]
fn a_retry_of_a_registration_after_its_leave_does_not_bring_it_back() {
    let group = Group::of(1);
    group.register(1, registration("web", "web-1")).unwrap();
    let leave = LeaveRequest { id: write_id("web-1", 2), lease: Some(lease("web", "web-1")) };
    let mut client = group.registration(1);
    group.answer(async || client.leave(leave.clone()).await).unwrap();
    group.register(1, registration("web", "web-1")).unwrap();
    assert!(group.instances(1, "web").is_empty());
}

#[test]
fn a_retry_gets_the_first_outcome_after_a_failover_and_from_a_snapshot() {
    let mut group = Group::of(3);
    group.until_all_vote();
    let leader = group.leader();
    let first = group.register(leader, registration("web", "web-1")).unwrap();
    // Enough for a snapshot on each node: what is remembered comes from there when they start again.
    let survivors: Vec<u64> = group.running().into_iter().filter(|node| *node != leader).collect();
    for _ in 0..12 {
        group.write_bulk(leader);
    }
    group.end_abruptly(leader);
    let again = group.register(survivors[0], registration("web", "web-1")).unwrap();
    assert_eq!(again.revision, first.revision, "after the failover");
    group.end_abruptly(survivors[0]);
    group.end_abruptly(survivors[1]);
    for node in 1..=3 {
        group.start_again(node);
    }
    let again = group.register(leader, registration("web", "web-1")).unwrap();
    assert_eq!(again.revision, first.revision, "after a restart of all");
}

#[test]
fn every_node_tells_a_revision_that_it_has_applied_also_without_a_leader() {
    let mut group = Group::of(3);
    let written = group.register(1, registration("web", "web-1")).unwrap().revision.unwrap();
    assert_eq!(group.instances(3, "web"), ["web-1"], "node 3 has applied it");
    for lost in [1, 2] {
        group.end_abruptly(lost);
    }
    let mut client = group.query(3);
    let told = group.until("a revision", async move || {
        let told = client.revision(RevisionRequest {}).await.ok()?.into_inner().revision?;
        (told.index >= written.index).then_some(told)
    });
    assert_eq!(told.epoch, written.epoch);
}

#[test]
fn when_the_leader_ends_abruptly_a_survivor_takes_writes_and_has_every_acknowledged_one() {
    let mut group = Group::of(3);
    group.until_all_vote();
    let leader = group.leader();
    for number in 0..20 {
        group.register(leader, registration("web", &format!("before-{number:02}"))).unwrap();
    }
    group.end_abruptly(leader);
    let survivor = group.running()[0];
    group.register(survivor, registration("web", "after")).unwrap();
    for node in group.running() {
        let instances = group.instances(node, "web");
        assert_eq!(instances.len(), 21, "node {node}: {instances:?}");
    }
}

#[test]
fn a_node_that_comes_back_catches_up_with_what_it_missed() {
    let mut group = Group::of(3);
    let away = group.follower();
    group.end_abruptly(away);
    group.register(group.running()[0], registration("web", "missed")).unwrap();
    group.start_again(away);
    let mut client = group.query(away);
    group.until("the missed write", async move || {
        let request = EndpointsRequest::default();
        let rows = client.endpoints(request).await.ok()?.into_inner().endpoints;
        (rows.len() == 1).then_some(())
    });
}

#[test]
fn a_node_that_missed_a_hundred_megabytes_catches_up_by_snapshot_or_log() {
    let mut group = Group::of(3);
    let away = group.follower();
    group.register(away, registration("web", "before")).unwrap();
    group.end_abruptly(away);
    let leader = group.leader();
    for _ in 0..35 {
        group.write_bulk(leader);
    }
    group.register(leader, registration("web", "missed")).unwrap();
    group.start_again(away);
    let mut client = group.query(away);
    group.until("the missed write", async move || {
        let rows = client.endpoints(EndpointsRequest::default()).await.ok()?.into_inner().endpoints;
        (rows.len() == 2).then_some(())
    });
}

#[test]
fn a_drained_leader_hands_over_and_every_write_in_between_succeeds() {
    let mut group = Group::of(3);
    let leader = group.leader();
    let survivor = group.follower();
    let mut client = group.registration(survivor);
    let writes = group.runtime.spawn(async move {
        for number in 0..50 {
            client.register(registration("web", &format!("web-{number:02}"))).await?;
        }
        Ok::<_, tonic::Status>(())
    });
    group.stop(leader);
    group.runtime.block_on(writes).unwrap().unwrap();
    assert_eq!(group.instances(survivor, "web").len(), 50);
    assert_ne!(group.leader(), leader);
}

#[test]
fn every_node_has_the_same_state_at_the_same_entry_also_after_a_restart() {
    let mut group = Group::of(3);
    let restarted = group.follower();
    for number in 0..100 {
        let instance = format!("web-{number}");
        group.register(1, registration(&format!("service-{}", number % 7), &instance)).unwrap();
    }
    group.end_abruptly(restarted);
    group.start_again(restarted);
    group.instances(restarted, "service-1");
    let hashes = |node: u64| group.runtime.block_on(group.running_node(node).door().hashes()).unwrap().own;
    let own = hashes(restarted);
    for node in group.running() {
        let theirs = hashes(node);
        let common: Vec<_> =
            own.iter().filter(|(index, _)| theirs.iter().any(|(at, _)| at == index)).collect();
        assert!(common.len() >= 100, "node {node}: {own:?} {theirs:?}");
        assert!(common.iter().all(|hash| theirs.contains(hash)), "node {node}: {own:?} {theirs:?}");
    }
}

#[test]
fn a_registration_that_has_no_meaning_is_refused_with_its_field_and_changes_nothing() {
    let group = Group::of(1);
    let mut request = registration("web", "web-1");
    request.endpoint.as_mut().unwrap().address = "10.0.0.1".to_owned();
    let status = group.register(1, request).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("endpoint.address"), "{}", status.message());
    let status = group.register(1, RegisterRequest::default()).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(group.instances(1, "web").is_empty());
}
