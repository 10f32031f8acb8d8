//! The registration against a control node that speaks real gRPC, beside an application that the test opens.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use api::v1::registration_server::{Registration, RegistrationServer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response};

use super::*;
use crate::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the node was asked, in order.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Register { client: String, sequence: u64 },
    Renew,
    Leave { sequence: u64 },
}

/// A control node that grants leases of a second, and loses the first one.
struct Node {
    asked: mpsc::Sender<Asked>,
    lose: std::sync::atomic::AtomicBool,
}

#[tonic::async_trait]
impl Registration for Node {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let id = request.into_inner().id.unwrap();
        self.asked.try_send(Asked::Register { client: id.client, sequence: id.sequence }).unwrap();
        Ok(Response::new(v1::RegisterResponse { revision: None, lease_seconds: 1 }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let leases = request.into_inner().leases;
        self.asked.try_send(Asked::Renew).unwrap();
        let lose = self.lose.swap(false, std::sync::atomic::Ordering::Relaxed);
        Ok(Response::new(v1::RenewResponse { lost: if lose { leases } else { Vec::new() } }))
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveResponse>, Status> {
        self.asked.try_send(Asked::Leave { sequence: request.into_inner().id.unwrap().sequence }).unwrap();
        Ok(Response::new(v1::LeaveResponse { revision: None }))
    }
}

async fn node(lose: bool) -> (Channel, mpsc::Receiver<Asked>) {
    let (sender, asked) = mpsc::channel(64);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = RegistrationServer::new(Node { asked: sender, lose: lose.into() });
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy(), asked)
}

fn registrations(application: SocketAddr) -> Registrations {
    let authority: mesh::Authority = "web".parse().unwrap();
    let endpoint = v1::Endpoint { instance: "web-1".to_owned(), ..v1::Endpoint::default() };
    let request = v1::RegisterRequest {
        authority: Some((&authority).into()),
        endpoint: Some(endpoint),
        ..v1::RegisterRequest::default()
    };
    Registrations { client: "web-1#7".to_owned(), application, requests: vec![request] }
}

async fn next(asked: &mut mpsc::Receiver<Asked>) -> Asked {
    timeout(PATIENCE, asked.recv()).await.expect("it came in time").unwrap()
}

fn register(sequence: u64) -> Asked {
    Asked::Register { client: "web-1#7".to_owned(), sequence }
}

#[tokio::test]
async fn the_workload_joins_renews_comes_back_when_lost_and_leaves_on_drain() {
    let test = async {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (channel, mut asked) = node(true).await;
        let (_uplink, followed) = watch::channel(Some(channel));
        let drain = CancellationToken::new();
        let metrics = Metrics::new().register;
        let registrations = registrations(application.local_addr().unwrap());
        let carried = spawn_local(carry(registrations, followed, drain.clone(), metrics.clone(), || 0.5));
        assert_eq!(next(&mut asked).await, register(1));
        assert_eq!(next(&mut asked).await, Asked::Renew);
        assert_eq!(next(&mut asked).await, register(2));
        assert_eq!(next(&mut asked).await, Asked::Renew);
        drain.cancel();
        while next(&mut asked).await != (Asked::Leave { sequence: 3 }) {}
        timeout(PATIENCE, carried).await.expect("it came in time").unwrap();
        assert_eq!((metrics.lost.get(), metrics.registered.get()), (1, 0));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn nothing_is_registered_before_the_applications_port_answers_and_a_drain_then_ends_at_once() {
    let test = async {
        let closed = runtime::ports::addresses(1).unwrap()[0];
        let (channel, mut asked) = node(false).await;
        let (_uplink, followed) = watch::channel(Some(channel));
        let drain = CancellationToken::new();
        drain.cancel();
        let metrics = Metrics::new().register;
        timeout(PATIENCE, carry(registrations(closed), followed, drain, metrics, || 0.5)).await.unwrap();
        assert!(asked.try_recv().is_err());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_registration_waits_for_a_control_node_and_goes_out_as_soon_as_one_is_followed() {
    let test = async {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (channel, mut asked) = node(false).await;
        let (uplink, followed) = watch::channel(None);
        let registrations = registrations(application.local_addr().unwrap());
        let metrics = Metrics::new().register;
        spawn_local(carry(registrations, followed, CancellationToken::new(), metrics, || 0.5));
        uplink.send_replace(Some(channel));
        assert_eq!(next(&mut asked).await, register(1), "the same write, tried until it is answered");
    };
    LocalSet::new().run_until(test).await;
}
