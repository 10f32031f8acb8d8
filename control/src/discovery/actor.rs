//! Carries a shard: requests and changes in, answers out to the streams' bounded channels. Runs on a thread of its own
//! (`start.rs`), so that neither the truth nor a slow stream waits for it. Holds no rule.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::{Actor, Context, Handler};
use mesh::{Revision, Timestamp};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tracing::{debug, info, warn};

use crate::metrics::DiscoveryMetrics;
use crate::replica::messages::CatalogChanged;

use super::client::Client;
use super::drift::Drift;
use super::messages::{
    Begin, CloseStream, Confirm, EndStreams, GiveUpProof, OpenStream, ReportProxies, Take,
};
use super::session::Standing;
use super::shard::{Sent, SessionId, Shard, Turn};

/// Messages that may wait: several times what the gRPC face lets in at once, so that the catalog's changes always find
/// room. A change that finds none costs the whole catalog once more.
const MAILBOX: usize = 1024;

/// Carries a shard.
pub struct ShardActor {
    shard: Shard,
    streams: BTreeMap<SessionId, mpsc::Sender<Sent>>,
    metrics: DiscoveryMetrics,
    /// Encodings that were counted.
    counted: u64,
    tickets: watch::Sender<u64>,
    /// What new streams are told once all were ended.
    ended: Option<Status>,
}

impl ShardActor {
    /// An empty shard; tells the last ticket of a held session, see [`Shard::last_ticket`].
    #[must_use]
    pub fn new(metrics: DiscoveryMetrics, tickets: watch::Sender<u64>) -> Self {
        Self { shard: Shard::default(), streams: BTreeMap::new(), metrics, counted: 0, tickets, ended: None }
    }

    fn carry(&mut self, turn: Turn) {
        self.metrics.held.set(self.shard.held().try_into().unwrap_or(i64::MAX));
        let ticket = self.shard.last_ticket();
        self.tickets.send_if_modified(|told| std::mem::replace(told, ticket) != ticket);
        let encodings = self.shard.shelf().encodings();
        self.metrics.encodings.inc_by(encodings - std::mem::replace(&mut self.counted, encodings));
        for (id, sent) in turn {
            let Some(stream) = self.streams.get(&id) else { continue };
            let ends = match &sent {
                Sent::Push(push) => {
                    self.metrics.pushes.inc();
                    self.metrics.resources.inc_by(push.resources.len() as u64);
                    false
                }
                Sent::Close(status) => {
                    debug!(session = id.0, %status, "stream ended by this node");
                    true
                }
            };
            // One answer per kind is in flight, and there is room for each of them and for the end: only a client that
            // acknowledges what it has not read can fill the channel.
            let full = matches!(stream.try_send(sent), Err(mpsc::error::TrySendError::Full(_)));
            if full {
                self.metrics.overruns.inc();
            }
            if ends || full {
                self.end(id);
            }
        }
    }

    fn end(&mut self, id: SessionId) {
        self.shard.closed(id);
        self.streams.remove(&id);
        self.metrics.sessions.set(self.shard.len().try_into().unwrap_or(i64::MAX));
    }
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<CatalogChanged> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: CatalogChanged, _: &mut Self::Context) {
        let CatalogChanged { changes, applied, routing, replaced } = message;
        let turn = self.shard.changed(&changes, applied, routing, replaced);
        self.carry(turn);
    }
}

impl Handler<Begin> for ShardActor {
    type Result = ();

    fn handle(&mut self, _: Begin, _: &mut Self::Context) {
        let turn = self.shard.begin();
        info!(answered = turn.len(), applied = %self.shard.shelf().applied(), "discovery begins to answer");
        self.carry(turn);
    }
}

impl Handler<Confirm> for ShardActor {
    type Result = ();

    fn handle(&mut self, Confirm { ticket, applied }: Confirm, _: &mut Self::Context) {
        let held = self.shard.held();
        let turn = self.shard.confirmed(ticket, applied);
        let released = held.saturating_sub(self.shard.held());
        if released > 0 {
            warn!(
                released,
                "clients show revisions that this cluster never had: they followed another one, or its data was lost"
            );
        }
        self.carry(turn);
    }
}

impl Handler<GiveUpProof> for ShardActor {
    type Result = ();

    fn handle(&mut self, GiveUpProof(ticket): GiveUpProof, _: &mut Self::Context) {
        let turn = self.shard.unprovable(ticket);
        self.carry(turn);
    }
}

impl Handler<OpenStream> for ShardActor {
    type Result = Result<SessionId, Status>;

    fn handle(&mut self, OpenStream { way, out }: OpenStream, _: &mut Self::Context) -> Self::Result {
        let opened = match &self.ended {
            Some(status) => Err(status.clone()),
            None => self.shard.open(way, now()),
        };
        match &opened {
            Ok(id) => {
                self.streams.insert(*id, out);
            }
            Err(_) => self.metrics.turned_away.inc(),
        }
        self.metrics.sessions.set(self.shard.len().try_into().unwrap_or(i64::MAX));
        opened
    }
}

impl Handler<Take> for ShardActor {
    type Result = ();

    fn handle(&mut self, Take { id, request }: Take, _: &mut Self::Context) {
        self.metrics.requests.inc();
        let before = self.shard.refusals(id);
        let turn = self.shard.request(id, &request);
        let after = self.shard.refusals(id);
        self.metrics.refused.inc_by(after.saturating_sub(before) as u64);
        for (proxy, drift) in self.shard.drifts() {
            self.metrics.drifts.inc();
            match drift {
                Drift::Proxy(kind) => {
                    warn!(%proxy, kind = kind.as_str(), "a proxy does not hold what it was told; its stream starts anew");
                }
                Drift::Session(kind, count) => {
                    warn!(%proxy, kind = kind.as_str(), count, "a proxy was not told of changes; they are told now");
                }
            }
        }
        self.carry(turn);
    }
}

impl Handler<CloseStream> for ShardActor {
    type Result = ();

    fn handle(&mut self, CloseStream(id): CloseStream, _: &mut Self::Context) {
        self.end(id);
    }
}

impl Handler<EndStreams> for ShardActor {
    type Result = ();

    fn handle(&mut self, EndStreams { reason }: EndStreams, _: &mut Self::Context) {
        info!(streams = self.streams.len(), %reason, "discovery ends its streams");
        let status = Status::unavailable(reason);
        self.ended = Some(status.clone());
        let turn = self.streams.keys().map(|id| (*id, Sent::Close(status.clone()))).collect();
        self.carry(turn);
    }
}

impl Handler<ReportProxies> for ShardActor {
    type Result = Vec<api::v1::ProxyRow>;

    fn handle(&mut self, _: ReportProxies, _: &mut Self::Context) -> Self::Result {
        self.shard.standings().map(|(client, since, standing)| row(client, since, standing)).collect()
    }
}

fn row(client: &Client, since: Timestamp, standing: Standing) -> api::v1::ProxyRow {
    let state = match &standing {
        Standing { refused: 1.., .. } => "refused",
        Standing { settled: true, .. } => "current",
        _ => "behind",
    };
    api::v1::ProxyRow {
        proxy: client.id.clone(),
        client: client.user_agent.clone(),
        node: 0,
        acknowledged: Some(wire(standing.acknowledged)),
        latest: Some(wire(standing.latest)),
        resources: u32::try_from(standing.resources).unwrap_or(u32::MAX),
        refused: u32::try_from(standing.refused).unwrap_or(u32::MAX),
        refusal: if standing.refused > 0 { standing.refusal } else { String::new() },
        state: state.to_owned(),
        connected_ms: since.0,
    }
}

fn wire(revision: Revision) -> api::v1::Revision {
    api::v1::Revision::from(revision)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}
