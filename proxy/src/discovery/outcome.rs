//! What comes out of a subscriber: requests for the stream, and what each wanted authority resolves to.
//!
//! Made by `subscriber.rs`; requests go to `stream.rs`, resolutions become the workers' snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use api::xds::pb::google::rpc::Status;
use mesh::{Authority, Revision};

use super::decode::Kind;
use super::owners::Told;
use crate::snapshot::Known;

/// What an event leads to. Requests go out in this order; resolutions replace what is told of each authority.
#[derive(Debug, Default)]
pub struct Outputs {
    /// To send on the stream.
    pub requests: Vec<DeltaDiscoveryRequest>,
    /// What changed for workers.
    pub resolutions: BTreeMap<Authority, Resolution>,
    /// What changed for workers about original destinations.
    pub owners: Told,
}

/// What the proxy holds, for whoever asks on the admin port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Each resource's kind, name and revision.
    pub held: Vec<(Kind, Authority, Revision)>,
    /// Whether a control node is followed now.
    pub is_connected: bool,
    /// How long ago one was.
    pub age: Duration,
}

/// What happened so far, for metrics. Counts never fall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Responses taken off the stream.
    pub responses: u64,
    /// Resources that were taken into use.
    pub accepted: u64,
    /// Resources that were refused (NACK), stale ones included.
    pub refused: u64,
    /// Resources refused because a later revision is held.
    pub stale: u64,
    /// Authorities dropped because they were idle, unknown or gave way.
    pub evicted: u64,
    /// Wanted authorities and backends turned away because all places were in use.
    pub turned_away: u64,
    /// Digests told.
    pub digests: u64,
}

/// The answer to one wanted authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// This is so until it is told otherwise.
    Known(Known),
    /// No longer followed: whoever needs it must want it again.
    Forgotten,
}

/// The error of a NACK; `None` acknowledges. Each refused name is told, because the control plane takes what is not
/// named as accepted; reasons only of the first, because a message of megabytes helps nobody.
pub(super) fn refusal(refused: &[(String, String)]) -> Option<Status> {
    const REASONS_MAX: usize = 8;
    const INVALID_ARGUMENT: i32 = 3;
    let told = refused.iter().enumerate().map(|(at, (name, reason))| {
        if at < REASONS_MAX { format!("{name}: {reason}") } else { name.clone() }
    });
    let message = told.collect::<Vec<_>>().join("; ");
    (!refused.is_empty()).then(|| Status { code: INVALID_ARGUMENT, message, details: Vec::new() })
}
