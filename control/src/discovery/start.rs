//! Starts discovery: a shard's actor on a thread of its own, with its own current-thread runtime and LocalSet.
//! Called once by `node.rs`, which wires what [`Discovery`] offers.

use std::thread::JoinHandle;

use actix::{Actor as _, Addr, MailboxError};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use mesh::{Revision, TrafficReport};
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::DiscoveryMetrics;
use crate::replica::messages::CatalogChanged;

use super::actor::ShardActor;
use super::load_service::LoadReports;
use super::messages::{Begin, Confirm, EndStreams, GiveUpProof, ReportProxies};
use super::service::Streams;

/// What the ticket is before any session waited.
const NO_TICKET: u64 = 0;

/// Discovery of one node; cheap to clone.
#[derive(Clone)]
pub struct Discovery {
    shard: Addr<ShardActor>,
    metrics: DiscoveryMetrics,
    load: mpsc::Sender<TrafficReport>,
    tickets: watch::Receiver<u64>,
}

/// A thread that ends when the last [`Discovery`] and every stream is gone, or it is told to.
pub struct DiscoveryThread {
    /// Tells it to end.
    pub stop: oneshot::Sender<()>,
    /// To be joined after.
    pub thread: JoinHandle<()>,
}

impl Discovery {
    /// Starts the thread. Load reports of Envoy and gRPC go to `load`.
    ///
    /// # Errors
    /// If the system has no thread or no event queue left.
    pub fn start(
        metrics: DiscoveryMetrics,
        load: mpsc::Sender<TrafficReport>,
    ) -> std::io::Result<(Self, DiscoveryThread)> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ticket, tickets) = watch::channel(NO_TICKET);
        let (started, address) = std::sync::mpsc::sync_channel(1);
        let shard_metrics = metrics.clone();
        let thread = std::thread::Builder::new().name("discovery".to_owned()).spawn(move || {
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let shard = ShardActor::new(shard_metrics, ticket).start();
                if started.send(shard).is_ok() {
                    // An error means that the other end was dropped: the node is gone, so that this ends too.
                    let _ended = stopped.await;
                }
            });
        })?;
        let shard =
            address.recv().map_err(|_| std::io::Error::other("the discovery thread ended at once"))?;
        Ok((Self { shard, metrics, load, tickets }, DiscoveryThread { stop, thread }))
    }

    /// As [`Self::start`], in the current LocalSet: for simulations.
    #[must_use]
    pub fn start_here(metrics: DiscoveryMetrics, load: mpsc::Sender<TrafficReport>) -> Self {
        let (ticket, tickets) = watch::channel(NO_TICKET);
        let shard = ShardActor::new(metrics.clone(), ticket).start();
        Self { shard, metrics, load, tickets }
    }

    /// Who is to be told of the catalog's changes.
    #[must_use]
    pub fn changes(&self) -> actix::Recipient<CatalogChanged> {
        self.shard.clone().recipient()
    }

    /// The ADS service, both variants.
    #[must_use]
    pub fn streams(&self) -> AggregatedDiscoveryServiceServer<Streams> {
        AggregatedDiscoveryServiceServer::new(Streams::new(self.shard.clone()))
    }

    /// The load reporting service.
    #[must_use]
    pub fn load_reports(&self) -> LoadReportingServiceServer<LoadReports> {
        LoadReportingServiceServer::new(LoadReports::new(self.load.clone(), self.metrics.clone()))
    }

    /// Answers sessions from now on. To be called once this node has caught up with the others (a linearizable read
    /// went through), or after a few seconds without a leader: what it knows is better than nothing then.
    ///
    /// # Errors
    /// If the shard is gone.
    pub async fn begin(&self) -> Result<(), MailboxError> {
        self.shard.send(Begin).await
    }

    /// Changes when clients wait because they have seen revisions that this node has not applied, or ask for what it does
    /// not know. Whoever drives this makes a linearizable read then and tells [`Self::confirm`] what it found: without that, clients of a cluster
    /// whose data was lost would wait for ever.
    #[must_use]
    pub fn tickets(&self) -> watch::Receiver<u64> {
        self.tickets.clone()
    }

    /// A linearizable read that began after this ticket was told found `applied`.
    ///
    /// # Errors
    /// If the shard is gone.
    pub async fn confirm(&self, ticket: u64, applied: Revision) -> Result<(), MailboxError> {
        self.shard.send(Confirm { ticket, applied }).await
    }

    /// No linearizable read can be made: what waits for one up to this ticket is answered by what is known.
    ///
    /// # Errors
    /// If the shard is gone.
    pub async fn give_up_proof(&self, ticket: u64) -> Result<(), MailboxError> {
        self.shard.send(GiveUpProof(ticket)).await
    }

    /// Who follows this node's streams; the node's own id is left 0.
    ///
    /// # Errors
    /// If the shard is gone.
    pub async fn proxies(&self) -> Result<Vec<api::v1::ProxyRow>, MailboxError> {
        self.shard.send(ReportProxies).await
    }

    /// Ends every stream and opens no more, so that clients go to another node.
    ///
    /// # Errors
    /// If the shard is gone.
    pub async fn end_streams(&self, reason: &str) -> Result<(), MailboxError> {
        self.shard.send(EndStreams { reason: reason.to_owned() }).await
    }
}
