//! Snapshots between nodes, as a peer sends them: in pieces, resumed after a broken connection, checked before they count.

use api::peer::v1::peer_client::PeerClient;
use api::peer::v1::{SnapshotOffer, SnapshotPiece};
use bytes::Bytes;
use consensus::SnapshotLabel;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::group::Group;

const PIECE_BYTES: usize = 1 << 20;

fn data() -> Bytes {
    (0..1_500_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into()
}

fn offer(index: u64, data: &[u8]) -> SnapshotOffer {
    let label = SnapshotLabel::of(index, data);
    SnapshotOffer { index, bytes: label.bytes, sha256: label.sha256.to_vec().into() }
}

/// Another node, as far as the group can tell.
struct Sender<'g> {
    group: &'g Group,
    client: PeerClient<Channel>,
    name: String,
}

impl<'g> Sender<'g> {
    fn to_a_follower(group: &'g Group) -> Self {
        let follower = group.follower();
        let address = group.settings(follower).peer_address;
        let _runtime = group.runtime.enter();
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let name = group.running().into_iter().find(|node| *node != follower).unwrap().to_string();
        Self { group, client: PeerClient::new(channel), name }
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let cluster = self.group.settings(self.group.running()[0]).cluster.parse().unwrap();
        request.metadata_mut().insert("penstock-cluster", cluster);
        request.metadata_mut().insert("penstock-node", self.name.parse().unwrap());
        request.metadata_mut().insert("penstock-life", "after-1".parse().unwrap());
        request
    }

    fn held(&mut self, offer: &SnapshotOffer) -> Result<u64, Status> {
        let request = self.signed(offer.clone());
        let held = self.group.runtime.block_on(self.client.offer_snapshot(request));
        held.map(|held| held.into_inner().bytes)
    }

    /// Sends `data` from `offset` to `end` under this offer, with a Raft message that is none.
    fn send(&mut self, offer: &SnapshotOffer, data: &Bytes, offset: u64, end: usize) -> Status {
        let message = Bytes::from_static(b"no message of Raft's");
        let mut pieces =
            vec![SnapshotPiece { message, offer: Some(offer.clone()), offset, ..SnapshotPiece::default() }];
        let mut from = usize::try_from(offset).unwrap();
        while from < end {
            let data = data.slice(from..end.min(from + PIECE_BYTES));
            pieces.push(SnapshotPiece { offset: from as u64, data, ..SnapshotPiece::default() });
            from = end.min(from + PIECE_BYTES);
        }
        let request = self.signed(futures_util::stream::iter(pieces));
        self.group.runtime.block_on(self.client.snapshot(request)).unwrap_err()
    }
}

#[test]
fn a_snapshot_that_broke_off_goes_on_from_what_is_held_and_is_checked_as_a_whole() {
    let group = Group::of(3);
    let mut sender = Sender::to_a_follower(&group);
    let (data, offer) = (data(), offer(1000, &data()));
    assert_eq!(sender.held(&offer).unwrap(), 0);
    let broken = sender.send(&offer, &data, 0, 3_500_000);
    assert_eq!(broken.code(), Code::FailedPrecondition, "{broken}");
    let held = sender.held(&offer).unwrap();
    assert_eq!(held, 3_500_000);
    let from_the_begin = sender.send(&offer, &data, 0, data.len());
    assert_eq!(from_the_begin.code(), Code::FailedPrecondition, "{from_the_begin}");
    // All of it has come and is right: only then is the message read, and found to be none.
    let whole = sender.send(&offer, &data, held, data.len());
    assert_eq!(
        (whole.code(), whole.message().contains("malformed")),
        (Code::InvalidArgument, true),
        "{whole}"
    );
}

#[test]
fn a_snapshot_whose_bytes_are_not_the_offered_ones_or_too_many_is_not_taken() {
    let group = Group::of(3);
    let mut sender = Sender::to_a_follower(&group);
    let (data, offer) = (data(), offer(1000, &data()));
    let mut other = data.to_vec();
    other[4_000_000] ^= 1;
    let damaged = sender.send(&offer, &other.into(), 0, data.len());
    assert_eq!(damaged.code(), Code::DataLoss, "{damaged}");
    assert_eq!(sender.held(&offer).unwrap(), 0);
    let endless = SnapshotOffer { bytes: 1 << 40, ..offer };
    assert_eq!(sender.held(&endless).unwrap_err().code(), Code::OutOfRange);
}
