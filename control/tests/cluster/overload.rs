//! More than a node can do: what has no room is refused at once and told when to come back, what was taken is done, and who
//! only asks is answered all the while.

use std::collections::BTreeMap;
use std::time::Duration;

use api::v1::registration_client::RegistrationClient;
use api::v1::{EndpointsRequest, RegisterResponse};
use futures_util::future::join_all;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::group::{Group, registration};
use crate::switched_disk::SwitchedDisk;

/// Writes that the node may have in flight, and how many come at once.
const ROOM: usize = 16;
const WRITES: usize = 20 * ROOM;

/// What one of the writes came to.
type Written = Result<Response<RegisterResponse>, Status>;

async fn write(mut node: RegistrationClient<Channel>, number: usize) -> Written {
    node.register(registration("web", &format!("web-{number:03}"))).await
}

/// Whether it was refused for want of room, with a wait.
fn is_told_to_come_back(written: &Written) -> bool {
    let Err(status) = written else { return false };
    let wait =
        status.metadata().get("grpc-retry-pushback-ms").and_then(|wait| wait.to_str().ok()?.parse().ok());
    status.code() == Code::ResourceExhausted && wait.is_some_and(|wait: u64| (100..=2000).contains(&wait))
}

#[test]
fn what_finds_no_room_is_refused_with_a_wait_while_reads_go_on_and_what_was_taken_is_done() {
    let disk = SwitchedDisk::default();
    let group = Group::on_with(&BTreeMap::from([(1, disk.clone())]), |settings| {
        settings.limits.proposals_in_flight = ROOM;
        settings.timings.propose_timeout = Duration::from_secs(3600); // no write is given up while the disk is held
    });
    let node = group.registration(1);
    group.register(1, registration("web", "web-000")).unwrap();
    disk.hold_syncs();
    let rest = group.runtime.block_on(async {
        let mut writes: Vec<_> = (1..=WRITES).map(|number| Box::pin(write(node.clone(), number))).collect();
        while writes.len() > ROOM {
            let (first, _, rest) = futures_util::future::select_all(writes).await;
            assert!(is_told_to_come_back(&first), "nothing can be committed now: {first:?}");
            writes = rest;
        }
        let read = group.query(1).endpoints(EndpointsRequest::default()).await.unwrap().into_inner();
        assert_eq!(read.endpoints.len(), 1, "reads need no disk, and see what is committed");
        disk.release_syncs();
        join_all(writes).await
    });
    // The node's own writes (who it is, for the other members) may have had a place or two.
    let taken = rest.iter().filter(|written| written.is_ok()).count();
    assert!(taken >= ROOM / 2, "{rest:?}");
    assert!(rest.iter().all(|written| written.is_ok() || is_told_to_come_back(written)), "{rest:?}");
    let again = group.runtime.block_on(write(node, WRITES + 1));
    assert!(again.is_ok(), "there is room again: {again:?}");
    assert_eq!(group.instances(1, "web").len(), taken + 2);
}
