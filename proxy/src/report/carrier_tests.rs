//! The reporter between a counter in the workers' place and a control node that speaks real gRPC.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use api::v1::reports_server::{Reports, ReportsServer};
use mesh::{Direction, Edge, EdgeTraffic, ProxyId};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response};

use super::*;
use crate::metrics::Metrics;
use crate::worker::Idle;

const PATIENCE: Duration = Duration::from_secs(60);

/// Counts in the workers' place: what the test puts in is taken once.
#[derive(Default, Clone)]
struct Counter {
    waiting: Rc<RefCell<Vec<(Edge, EdgeTraffic)>>>,
    drained: Rc<Cell<bool>>,
}

impl Counter {
    fn count(&self, successes: u64) {
        let authority = "shop".parse().unwrap();
        let edge = Edge { direction: Direction::Outbound, caller: None, authority, callee: None };
        let traffic = EdgeTraffic { successes, ..EdgeTraffic::default() };
        self.waiting.borrow_mut().push((edge, traffic));
    }

    fn taken(&self) -> Taken {
        Taken { edges: std::mem::take(&mut self.waiting.borrow_mut()), ..Taken::default() }
    }
}

impl Source for Counter {
    async fn take(&self) -> Taken {
        self.taken()
    }

    fn drain(&self, _: DrainPlan) {
        self.drained.set(true);
    }

    async fn finished(self) -> Taken {
        assert!(self.drained.get(), "the workers end only after a drain");
        self.taken()
    }
}

/// A control node: each report goes to the test, which gives the answer.
struct Node(mpsc::Sender<(v1::TrafficReport, oneshot::Sender<Result<v1::ReportResponse, Status>>)>);

#[tonic::async_trait]
impl Reports for Node {
    async fn report(
        &self,
        request: Request<v1::TrafficReport>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.send((request.into_inner(), answer)).await;
        sent.map_err(|_| Status::unavailable("the test is over"))?;
        answered.await.map_err(|_| Status::unavailable("the test gave no answer"))?.map(Response::new)
    }
}

struct Bench {
    counter: Counter,
    wall: Rc<Cell<u64>>,
    uplink: watch::Sender<Option<Channel>>,
    scrapes: mpsc::Sender<oneshot::Sender<()>>,
    drain: oneshot::Sender<DrainPlan>,
    used: mpsc::Receiver<Vec<Authority>>,
    reports: mpsc::Receiver<(v1::TrafficReport, oneshot::Sender<Result<v1::ReportResponse, Status>>)>,
    channel: Channel,
    metrics: Metrics,
    running: JoinHandle<()>,
}

impl Bench {
    async fn start() -> Self {
        let (sender, reports) = mpsc::channel(4);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(ReportsServer::new(Node(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();

        let (counter, wall) = (Counter::default(), Rc::new(Cell::new(1_000_000)));
        let metrics = Metrics::new();
        let families = Families::new("web".parse().unwrap());
        let (uplink, uplink_receiver) = watch::channel(None);
        let (scrapes, scrapes_receiver) = mpsc::channel(4);
        let (drain, drain_receiver) = oneshot::channel();
        let (used_sender, used) = mpsc::channel(4);
        let clock = Rc::clone(&wall);
        let reporter = Reporter::new(
            Collector::new("web".parse().unwrap()),
            Ring::new(ProxyId { name: "web-1".to_owned(), incarnation: 7 }),
            families,
            metrics.workers.clone(),
            metrics.report.clone(),
            move || Timestamp(clock.get()),
        );
        let lines = Lines {
            uplink: uplink_receiver,
            scrapes: scrapes_receiver,
            drain: drain_receiver,
            used: used_sender,
        };
        let running = spawn_local(reporter.run(counter.clone(), lines, || 0.0));
        Self { counter, wall, uplink, scrapes, drain, used, reports, channel, metrics, running }
    }

    /// A scrape: returns when the counts are taken.
    async fn scrape(&self) {
        let (done, counted) = oneshot::channel();
        self.scrapes.send(done).await.unwrap();
        within(counted).await.unwrap();
    }

    /// Lets the wall clock pass to the next window, and waits until the last one is closed.
    async fn next_window(&mut self) {
        self.wall.set(self.wall.get() + 10_000);
        self.scrape().await; // wakes the reporter, which then looks at the clock
        within(self.used.recv()).await.unwrap();
    }

    fn connect(&self) {
        self.uplink.send_replace(Some(self.channel.clone()));
    }

    /// The next report's windows with their successes, answered by `answer`.
    async fn reported(
        &mut self,
        answer: impl FnOnce(&[u64]) -> Result<v1::ReportResponse, Status>,
    ) -> Vec<(u64, u64)> {
        let (report, reply) = within(self.reports.recv()).await.unwrap();
        let numbers: Vec<u64> = report.windows.iter().map(|window| window.window).collect();
        reply.send(answer(&numbers)).unwrap();
        let successes = |window: &v1::WindowTraffic| {
            window.edges.iter().map(|edge| edge.traffic.as_ref().unwrap().successes).sum()
        };
        report.windows.iter().map(|window| (window.window, successes(window))).collect()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it came in time")
}

fn all(numbers: &[u64]) -> Result<v1::ReportResponse, Status> {
    Ok(v1::ReportResponse { acknowledged: numbers.to_vec(), too_old: Vec::new() })
}

const PLAN: DrainPlan =
    DrainPlan { accept_for: Duration::ZERO, finish_within: Duration::ZERO, idle: Idle::CloseSoon };

#[tokio::test]
async fn each_window_is_reported_once_it_is_closed_and_scrapes_in_between_take_nothing_away() {
    let test = async {
        let mut bench = Bench::start().await;
        bench.connect();
        bench.counter.count(3);
        bench.scrape().await;
        bench.counter.count(4);
        bench.next_window().await;
        assert_eq!(bench.reported(all).await, [(100, 7)]);
        bench.counter.count(5);
        bench.next_window().await;
        assert_eq!(bench.reported(all).await, [(101, 5)]);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn windows_without_a_control_node_are_reported_together_once_one_answers() {
    let test = async {
        let mut bench = Bench::start().await;
        for count in 1..=2 {
            bench.counter.count(count);
            bench.next_window().await;
        }
        assert_eq!(bench.metrics.report.waiting.get(), 2);
        bench.connect();
        let refuse = |_: &[u64]| Err(Status::unavailable("no leader"));
        assert_eq!(bench.reported(refuse).await, [(100, 1), (101, 2)]);
        let only_first = |numbers: &[u64]| all(&numbers[..1]);
        assert_eq!(bench.reported(only_first).await, [(100, 1), (101, 2)]);
        assert_eq!(bench.reported(all).await, [(101, 2)]);
        assert_eq!(bench.metrics.report.failed.get(), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_window_that_is_refused_for_good_does_not_hold_the_others_up() {
    let test = async {
        let mut bench = Bench::start().await;
        for count in 1..=2 {
            bench.counter.count(count);
            bench.next_window().await;
        }
        bench.connect();
        let refuse = |_: &[u64]| Err(Status::invalid_argument("malformed"));
        assert_eq!(bench.reported(refuse).await.len(), 2);
        assert_eq!(bench.reported(all).await, [(101, 2)]);
        assert_eq!(bench.metrics.report.lost_requests.get(), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_drain_ends_the_workers_and_hands_their_last_counts_in() {
    let test = async {
        let mut bench = Bench::start().await;
        bench.connect();
        bench.counter.count(9);
        let (drain, unused) = oneshot::channel();
        drop(unused);
        std::mem::replace(&mut bench.drain, drain).send(PLAN).unwrap();
        assert_eq!(bench.reported(all).await, [(100, 9)]);
        within(&mut bench.running).await.unwrap();
        assert_eq!(bench.metrics.report.acknowledged.get(), 1);
    };
    LocalSet::new().run_until(test).await;
}
