//! The real gRPC face, with real clients in this process: what goes over the wire, and what a client that misbehaves
//! costs the others.

use std::time::Duration;

use control::catalog::Change;
use control::discovery::{Discovery, DiscoveryThread, Kind};
use control::metrics::Metrics;
use control::replica::messages::CatalogChanged;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use mesh::{Protocol, Revision, TrafficReport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Code, Streaming};

use crate::desk::{endpoints, full, node, service};

/// Longer than any machine needs; reached only by a fault.
const DEADLINE: Duration = Duration::from_secs(60);

struct Served {
    discovery: Discovery,
    metrics: Metrics,
    channel: Channel,
    reports: mpsc::Receiver<TrafficReport>,
    index: u64,
    _thread: DiscoveryThread,
}

impl Served {
    async fn start() -> Self {
        let (metrics, (load, reports)) = (Metrics::new(), mpsc::channel(16));
        let (discovery, thread) = Discovery::start(metrics.discovery.clone(), load).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Server::builder().add_service(discovery.streams()).add_service(discovery.load_reports());
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { discovery, metrics, channel, reports, index: 0, _thread: thread }
    }

    async fn begun() -> Self {
        let served = Self::start().await;
        served.discovery.begin().await.unwrap();
        served
    }

    async fn commit(&mut self, change: impl FnOnce(u64) -> Change) {
        self.index += 1;
        let at = Revision::new(1, self.index);
        let changes = [change(self.index)].into();
        let message = CatalogChanged { changes, applied: at, routing: at, replaced: self.index == 1 };
        self.discovery.changes().send(message).await.unwrap();
    }

    async fn delta(&self) -> Delta {
        let (requests, outgoing) = mpsc::channel(64);
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone());
        let answers = client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await.unwrap();
        Delta { requests, answers: answers.into_inner() }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) {
        let mut turns = tokio::time::interval(Duration::from_millis(2));
        let waited = async {
            while !holds(&self.metrics) {
                turns.tick().await;
            }
        };
        tokio::time::timeout(DEADLINE, waited)
            .await
            .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
    }
}

struct Delta {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
}

impl Delta {
    async fn ask(&self, kind: Kind, names: &[&str]) {
        let request = DeltaDiscoveryRequest {
            node: Some(node("penstock")),
            type_url: kind.type_url(),
            resource_names_subscribe: names.iter().map(|name| full(name)).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    async fn ack(&self, kind: Kind, nonce: &str) {
        let (type_url, response_nonce) = (kind.type_url(), nonce.to_owned());
        let request = DeltaDiscoveryRequest { type_url, response_nonce, ..DeltaDiscoveryRequest::default() };
        self.requests.send(request).await.unwrap();
    }

    /// The next answer, acknowledged: names and versions.
    async fn next(&mut self, kind: Kind) -> Vec<String> {
        let answer = self.answer().await.unwrap();
        self.ack(kind, &answer.nonce).await;
        let known =
            answer.resources.into_iter().map(|resource| format!("{}@{}", resource.name, resource.version));
        known.chain(answer.removed_resources.into_iter().map(|name| format!("-{name}"))).collect()
    }

    async fn answer(&mut self) -> Result<DeltaDiscoveryResponse, tonic::Status> {
        let answer = tokio::time::timeout(DEADLINE, self.answers.message()).await.expect("an answer in time");
        answer.map(|answer| answer.expect("the stream goes on"))
    }
}

fn many(last: u64) -> Vec<String> {
    (1..=9000_u64).map(|n| format!("10.{}.{}.{}:80", last % 250, n / 250, n % 250)).collect()
}

fn large(name: &'static str, index: u64) -> Change {
    let addresses = many(index);
    endpoints(name, &addresses.iter().map(String::as_str).collect::<Vec<_>>(), index)
}

#[tokio::test]
async fn an_incremental_client_follows_endpoints_over_the_wire() {
    let mut served = Served::begun().await;
    served.commit(|at| service("web", Some(Protocol::Http1), at)).await;
    let mut client = served.delta().await;
    let mut tickets = served.discovery.tickets();
    client.ask(Kind::Endpoints, &["web", "shop"]).await;
    tickets.changed().await.unwrap(); // what node.rs waits for, and answers by a linearizable read
    let ticket = *tickets.borrow();
    served.discovery.confirm(ticket, Revision::new(1, 1)).await.unwrap();
    assert_eq!(client.next(Kind::Endpoints).await, [full("web") + "@1.1", "-".to_owned() + &full("shop")]);
    served.commit(|at| endpoints("web", &["10.0.0.1:80"], at)).await;
    assert_eq!(client.next(Kind::Endpoints).await, [full("web") + "@1.2"]);
    let settled = async {
        loop {
            let rows = served.discovery.proxies().await.unwrap();
            if rows[0].state == "current" {
                return rows;
            }
        }
    };
    let rows = tokio::time::timeout(DEADLINE, settled).await.unwrap();
    assert_eq!((rows.len(), rows[0].proxy.as_str(), rows[0].client.as_str()), (1, "p1", "penstock"));
    assert_eq!(rows[0].acknowledged, rows[0].latest);
    drop(client);
    served.until("the session is gone", |metrics| metrics.discovery.sessions.get() == 0).await;
}

#[tokio::test]
async fn a_client_of_the_older_variant_follows_endpoints_over_the_wire() {
    let mut served = Served::begun().await;
    served.commit(|at| service("web", Some(Protocol::Grpc), at)).await;
    let (requests, outgoing) = mpsc::channel(8);
    let mut client = AggregatedDiscoveryServiceClient::new(served.channel.clone());
    let answers = client.stream_aggregated_resources(ReceiverStream::new(outgoing)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut request = DiscoveryRequest {
        node: Some(node("gRPC C-core")),
        type_url: Kind::Endpoints.type_url(),
        resource_names: vec![full("web")],
        ..DiscoveryRequest::default()
    };
    requests.send(request.clone()).await.unwrap();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!((first.version_info.as_str(), first.resources.len()), ("1.1", 1));
    request.response_nonce = first.nonce;
    request.version_info = first.version_info;
    requests.send(request).await.unwrap();
    served.commit(|at| endpoints("web", &["10.0.0.1:80"], at)).await;
    assert_eq!(answers.message().await.unwrap().unwrap().version_info, "1.2");
}

#[tokio::test]
async fn nothing_is_answered_before_the_node_has_caught_up() {
    let mut served = Served::start().await;
    let mut client = served.delta().await;
    client.ask(Kind::Cluster, &["web"]).await;
    served.until("the request is read", |metrics| metrics.discovery.requests.get() == 1).await;
    served.commit(|at| service("web", Some(Protocol::Http1), at)).await;
    assert_eq!(served.metrics.discovery.held.get(), 1);
    served.discovery.begin().await.unwrap();
    assert_eq!(client.next(Kind::Cluster).await, [full("web") + "@1.1"], "and not that there is none");
}

#[tokio::test]
async fn a_client_that_never_reads_delays_nobody_and_costs_no_more_than_one_answer() {
    let mut served = Served::begun().await;
    served.commit(|at| service("web", Some(Protocol::Http1), at)).await;
    let stuck = served.delta().await;
    stuck.ask(Kind::Endpoints, &["*"]).await;
    served.until("the stuck one was answered", |metrics| metrics.discovery.pushes.get() == 1).await;
    let mut client = served.delta().await;
    client.ask(Kind::Endpoints, &["web"]).await;
    client.next(Kind::Endpoints).await;
    for _ in 0..20 {
        served.commit(|at| large("web", at)).await;
        assert_eq!(client.next(Kind::Endpoints).await, [full("web") + &format!("@1.{}", served.index)]);
    }
    assert_eq!(served.metrics.discovery.pushes.get(), 1 + 1 + 20, "one to the stuck one, all to the other");
    assert_eq!(served.metrics.discovery.encodings.get(), 21);
    drop(stuck);
}

#[tokio::test]
async fn a_client_that_acknowledges_what_it_has_not_read_is_ended() {
    let mut served = Served::begun().await;
    served.commit(|at| service("web", Some(Protocol::Http1), at)).await;
    let mut liar = served.delta().await;
    liar.ask(Kind::Endpoints, &["web"]).await;
    for nonce in 1..=10_u64 {
        served
            .until("answered, or ended", |m| {
                m.discovery.pushes.get() >= nonce || m.discovery.overruns.get() > 0
            })
            .await;
        served.commit(|at| large("web", at)).await;
        liar.ack(Kind::Endpoints, &nonce.to_string()).await;
    }
    served.until("the stream is ended", |metrics| metrics.discovery.overruns.get() == 1).await;
    served.until("the session is gone", |metrics| metrics.discovery.sessions.get() == 0).await;
    let ended = loop {
        if let Err(status) = liar.answer().await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(ended.message().contains("read all answers"), "{ended}");
}

#[tokio::test]
async fn a_faulty_request_ends_its_stream_with_what_to_do_and_no_other() {
    let mut served = Served::begun().await;
    served.commit(|at| service("web", Some(Protocol::Http1), at)).await;
    let (mut good, mut bad) = (served.delta().await, served.delta().await);
    good.ask(Kind::Cluster, &["web"]).await;
    good.next(Kind::Cluster).await;
    bad.ask(Kind::Cluster, &["web"]).await;
    bad.answer().await.unwrap();
    bad.ack(Kind::Cluster, "77").await;
    let status = bad.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("nonce \"77\" was never sent"), "{status}");
    served.commit(|at| service("web", Some(Protocol::Http2), at)).await;
    assert_eq!(good.next(Kind::Cluster).await, [full("web") + "@1.2"]);
    served.until("one session is left", |metrics| metrics.discovery.sessions.get() == 1).await;
}

#[tokio::test]
async fn a_drain_sends_every_client_to_another_node() {
    let mut served = Served::begun().await;
    served.commit(|at| service("web", Some(Protocol::Http1), at)).await;
    let mut client = served.delta().await;
    client.ask(Kind::Cluster, &["web"]).await;
    client.next(Kind::Cluster).await;
    served.discovery.end_streams("drained").await.unwrap();
    assert_eq!(client.answer().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_load_report_becomes_a_traffic_report_at_the_latest_when_its_stream_ends() {
    let mut served = Served::begun().await;
    let (requests, outgoing) = mpsc::channel(8);
    let mut client = LoadReportingServiceClient::new(served.channel.clone());
    let mut answers = client.stream_load_stats(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let mut request = LoadStatsRequest { node: Some(node("envoy")), cluster_stats: Vec::new() };
    requests.send(request.clone()).await.unwrap();
    let wish = answers.message().await.unwrap().unwrap();
    assert!(wish.send_all_clusters && wish.load_reporting_interval.is_some());
    let locality = UpstreamLocalityStats { total_successful_requests: 5, ..UpstreamLocalityStats::default() };
    request.cluster_stats = vec![ClusterStats {
        cluster_name: full("web"),
        upstream_locality_stats: vec![locality],
        ..ClusterStats::default()
    }];
    requests.send(request).await.unwrap();
    drop(requests);
    let report = tokio::time::timeout(DEADLINE, served.reports.recv()).await.unwrap().unwrap();
    assert_eq!(report.windows[0].edges[0].1.successes, 5);
}

#[tokio::test]
async fn a_client_of_a_cluster_whose_data_was_lost_is_answered_by_the_new_one() {
    let directory = std::env::temp_dir().join(format!("penstock-lost-data-{}", std::process::id()));
    let settings = control::Settings::alone(directory.clone());
    let node = tokio::task::spawn_blocking(move || control::start(settings)).await.unwrap().unwrap();
    let address = format!("http://{}", node.client_address);
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    let (requests, outgoing) = mpsc::channel(64);
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let answers = client.delta_aggregated_resources(ReceiverStream::new(outgoing)).await.unwrap();
    let mut client = Delta { requests, answers: answers.into_inner() };
    let request = DeltaDiscoveryRequest {
        node: Some(crate::desk::node("envoy")),
        type_url: Kind::Cluster.type_url(),
        resource_names_subscribe: vec![full("web")],
        initial_resource_versions: [(full("web"), "1.987654321".to_owned())].into(),
        ..DeltaDiscoveryRequest::default()
    };
    client.requests.send(request).await.unwrap();
    assert_eq!(client.next(Kind::Cluster).await, ["-".to_owned() + &full("web")]);
    tokio::task::spawn_blocking(move || drop(node)).await.unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}
