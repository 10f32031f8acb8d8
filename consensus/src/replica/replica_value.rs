//! The replica: inputs as methods, outputs by [`Replica::outputs`]. (Skeleton: bodies follow.)

use std::time::Duration;

use bytes::Bytes;

use crate::log::Recovered;
use crate::nouns::{Membership, NodeId};

use super::errors::{ProposeError, ReadError, ReceiveError};
use super::output::{Output, Role};
use super::settings::ReplicaSettings;
use super::status::Status;

/// One member of the Raft group.
#[derive(Debug)]
pub struct Replica {
    settings: ReplicaSettings,
    outputs: Vec<Output>,
}

impl Replica {
    /// Takes up where the log left off. The first outputs may be an `InstallSnapshot` and an `Apply`.
    ///
    /// # Panics
    /// If the settings contradict themselves, or `recovered` does not come from [`crate::Log::open`].
    pub fn new(settings: ReplicaSettings, recovered: Recovered, _now: Duration) -> Self {
        drop(recovered);
        Self {
            settings,
            outputs: Vec::new(),
        }
    }

    /// What is to be done now, in order. Call it once after each round of inputs: everything handed in since is batched.
    pub fn outputs(&mut self, _now: Duration) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When to call [`Self::tick`] next, at the latest.
    pub fn next_deadline(&self) -> Duration {
        self.settings.tick
    }

    /// Time has passed. May be called at any time; ticks that were missed because the process stood still are not made up for.
    pub fn tick(&mut self, _now: Duration) {}

    /// Bytes of a `Send` have arrived from `from`.
    ///
    /// # Errors
    /// [`ReceiveError`]; nothing was changed.
    pub fn receive(
        &mut self,
        _from: NodeId,
        _bytes: Bytes,
        _now: Duration,
    ) -> Result<(), ReceiveError> {
        Ok(())
    }

    /// A `SendSnapshot` has arrived from `from`: its bytes and the snapshot's data, complete.
    ///
    /// # Errors
    /// [`ReceiveError`]; nothing was changed.
    pub fn receive_snapshot(
        &mut self,
        _from: NodeId,
        _bytes: Bytes,
        _data: Bytes,
        _now: Duration,
    ) -> Result<(), ReceiveError> {
        Ok(())
    }

    /// Proposes `data` (not empty). It comes back in `Apply` under `token`, or as `ProposalLost`: exactly one of the two.
    ///
    /// # Errors
    /// [`ProposeError`]; then nothing was proposed and no output will name the token.
    pub fn propose(&mut self, _token: u64, _data: Bytes) -> Result<(), ProposeError> {
        Err(ProposeError::NotLeader { leader: None })
    }

    /// Asks for a linearizable read, on any node. Answered by `ReadReady` or `ReadFailed`: exactly one of the two.
    ///
    /// # Errors
    /// [`ReadError::Busy`]; then no output will name the token.
    pub fn read(&mut self, _token: u64, _now: Duration) -> Result<(), ReadError> {
        Ok(())
    }

    /// All batches up to `number` are durable.
    pub fn persisted(&mut self, _number: u64, _now: Duration) {}

    /// The state machine holds everything up to `index`.
    pub fn applied(&mut self, _index: u64) {}

    /// The connection to `peer` ended (FIN, RST, a refused re-dial). If `peer` leads, a campaign starts within milliseconds.
    pub fn peer_lost(&mut self, _peer: NodeId, _now: Duration) {}

    /// Hands leadership to `to`, or to the node that is furthest. Best effort; watch `RoleChanged`.
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`], or [`ProposeError::LeadershipUnsettled`] when no other voter is fit.
    pub fn transfer_leadership(&mut self, _to: Option<NodeId>) -> Result<NodeId, ProposeError> {
        Err(ProposeError::NotLeader { leader: None })
    }

    /// Proposes new voters; the group passes through a joint membership by itself. Answered like a proposal.
    ///
    /// # Errors
    /// [`ProposeError`]; then nothing was proposed.
    pub fn propose_membership(
        &mut self,
        _token: u64,
        _members: &Membership,
    ) -> Result<(), ProposeError> {
        Err(ProposeError::NotLeader { leader: None })
    }

    /// The state machine was serialised as of `index`, the answer to `MakeSnapshot` (or unasked).
    pub fn snapshot_made(&mut self, _index: u64, _data: Bytes) {}

    /// The snapshot as of `index` is durable.
    pub fn snapshot_kept(&mut self, _index: u64) {}

    /// Sending a snapshot to `peer` ended, well or not.
    pub fn snapshot_sent(&mut self, _peer: NodeId, _ok: bool) {}

    /// How this node stands.
    pub fn status(&self) -> Status {
        Status {
            node: self.settings.node,
            role: Role::Follower,
            term: 0,
            leader: None,
            commit: 0,
            applied: 0,
            last_index: 0,
            first_index: 0,
            log_bytes: 0,
            snapshot_index: 0,
            membership: Membership::default(),
            peers: Vec::new(),
        }
    }
}
