//! One instance of a service: listens, does its work, calls those that its service calls, answers, and counts.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh::Protocol;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::CALLER_HEADER;
use super::caller::{Caller, Ways};
use super::proto::catalog_server::CatalogServer;
use super::proto::pricing_server::PricingServer;
use super::services::Service;
use super::tally::{Heard, Tally};

/// One instance.
#[derive(Debug, Clone)]
pub(crate) struct Instance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: &'static Service,
    name: String,
    work: Duration,
    calls: Caller,
    answers: AtomicU64,
    tally: Tally,
}

impl Instance {
    /// The `number`th instance (from 1) of `service`; its calls go by `ways`.
    #[must_use]
    pub(crate) fn new(service: &'static Service, number: usize, ways: &Ways, tally: &Tally) -> Self {
        let slower = if number == service.instances { service.last_slower } else { Duration::ZERO };
        Self(Arc::new(Inner {
            service,
            name: format!("{}-{number}", service.name),
            work: service.work + slower,
            calls: Caller::new(service.name, ways, tally),
            answers: AtomicU64::new(0),
            tally: tally.clone(),
        }))
    }

    /// Does the work of one call from `caller`; what is wrong, if it fails.
    pub(super) async fn answer(&self, caller: &str) -> Result<(), String> {
        let inner = &self.0;
        sleep(inner.work).await;
        let heard = join_all(inner.service.calls.iter().map(|callee| inner.calls.call(callee))).await;
        let failing = inner.service.calls.iter().zip(&heard).find(|(_, heard)| **heard != Heard::Good);
        let number = inner.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let own_fault = inner.service.fails_every.is_some_and(|every| number.is_multiple_of(every));
        let outcome = match failing {
            Some((callee, _)) => Err(format!("{callee} failed")),
            None if own_fault => Err("out of stars".to_owned()),
            None => Ok(()),
        };
        inner.tally.told(caller, inner.service.name, &inner.name, outcome.is_ok());
        outcome
    }
}

/// Serves `instance` on `listener`, until the task is ended.
pub(crate) async fn serve(instance: Instance, listener: TcpListener) {
    match (instance.0.service.protocol, instance.0.service.name) {
        (Protocol::Grpc, name) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let served = if name == "pricing" {
                Server::builder()
                    .add_service(PricingServer::new(instance))
                    .serve_with_incoming(incoming)
                    .await
            } else {
                Server::builder()
                    .add_service(CatalogServer::new(instance))
                    .serve_with_incoming(incoming)
                    .await
            };
            if let Err(error) = served {
                tracing::error!(service = name, %error, "an instance of the demo's application ended");
            }
        }
        _ => serve_http(instance, listener).await,
    }
}

async fn serve_http(instance: Instance, listener: TcpListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was lost before it was accepted");
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true); // the peer is gone already, if this fails
        let instance = instance.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| respond(instance.clone(), request));
            // An error means that the caller went away: it has counted that itself.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    instance: Instance,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller = request.headers().get(CALLER_HEADER).and_then(|caller| caller.to_str().ok());
    let outcome = instance.answer(caller.unwrap_or("(unknown)")).await;
    let (status, body) = match outcome {
        Ok(()) => (StatusCode::OK, format!("{} is well\n", instance.0.service.name)),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    Ok(response)
}
