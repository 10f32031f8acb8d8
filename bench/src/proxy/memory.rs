//! Memory: of an idle proxy, and what a thousand idle connections add.

use super::peers::Peer;
use crate::http_load::{Http, kept};
use crate::process::Failed;

/// Connections that lie idle. They are opened after a hundred others, so that what is made once is there already.
const IDLE: usize = 1_000;
const BEFORE: usize = 100;

/// Resident memory of a proxy in KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    /// Before any load, but for the request that showed it ready.
    pub(super) idle_kib: u64,
    /// With the idle connections.
    pub(super) with_connections_kib: u64,
    /// Per idle connection, in bytes.
    pub(super) connection_bytes: u64,
}

/// Measures one proxy; it must not have been under load.
pub(super) async fn resident(peer: &Peer) -> Result<Resident, Failed> {
    let authority = [Http::One.authority().to_owned()];
    let idle_kib = peer.process.resident_kib()?;
    let first = kept(peer.address, &authority, BEFORE).await?;
    let before = peer.process.resident_kib()?;
    let more = kept(peer.address, &authority, IDLE).await?;
    let with_connections_kib = peer.process.resident_kib()?;
    drop((first, more));
    let connection_bytes = with_connections_kib.saturating_sub(before) * 1024 / IDLE as u64;
    Ok(Resident { idle_kib, with_connections_kib, connection_bytes })
}
