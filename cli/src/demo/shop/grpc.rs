//! The gRPC half of the shop: stubs for callers, servers for instances.

use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::CALLER_HEADER;
use super::caller::heard_in;
use super::proto::catalog_client::CatalogClient;
use super::proto::catalog_server::Catalog;
use super::proto::pricing_client::PricingClient;
use super::proto::pricing_server::Pricing;
use super::proto::{ListRequest, ListResponse, QuoteRequest, QuoteResponse};
use super::serve::Instance;
use super::tally::Heard;

const ARTICLES: [&str; 3] = ["sluice", "weir", "lade"];

/// Calls `callee`, one of the two gRPC services.
pub(super) async fn call(channel: Channel, callee: &str, caller: &'static str) -> Heard {
    let outcome = if callee == "pricing" {
        let articles = ARTICLES.map(str::to_owned).to_vec();
        PricingClient::new(channel).quote(from(caller, QuoteRequest { articles })).await.map(|_| ())
    } else {
        CatalogClient::new(channel).list(from(caller, ListRequest {})).await.map(|_| ())
    };
    match outcome {
        Ok(()) => Heard::Good,
        Err(status) => heard_in(&status),
    }
}

fn from<M>(caller: &'static str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(CALLER_HEADER, MetadataValue::from_static(caller));
    request
}

fn caller_of<M>(request: &Request<M>) -> String {
    let caller = request.metadata().get(CALLER_HEADER).and_then(|caller| caller.to_str().ok());
    caller.unwrap_or("(unknown)").to_owned()
}

#[tonic::async_trait]
impl Catalog for Instance {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.answer(&caller_of(&request)).await.map_err(Status::internal)?;
        let articles = ARTICLES.map(str::to_owned).to_vec();
        Ok(Response::new(ListResponse { articles, total_cents: 4_200 }))
    }
}

#[tonic::async_trait]
impl Pricing for Instance {
    async fn quote(&self, request: Request<QuoteRequest>) -> Result<Response<QuoteResponse>, Status> {
        let caller = caller_of(&request);
        self.answer(&caller).await.map_err(Status::internal)?;
        Ok(Response::new(QuoteResponse { cents: 1_400 * request.get_ref().articles.len() as u64 }))
    }
}
