//! The gRPC face of reports: checks what a proxy sends and answers after it is committed. Step 10 of the way of the data.

use actix::Addr;
use api::v1::reports_server::Reports;
use api::v1::{ReportResponse, TrafficReport};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::actor::RollupActor;
use super::messages::{Report, ReportError};

/// Windows in one report: what a proxy keeps.
const WINDOWS_MAX: usize = 6;
/// What a proxy is told to wait when a bound is reached, in milliseconds: some batches' time.
const RETRY_AFTER_MS: u64 = 2_000;

/// The reports' service of one node; cheap to clone.
#[derive(Clone)]
pub struct ReportsService {
    rollup: Addr<RollupActor>,
}

impl ReportsService {
    /// Counts with this actor.
    pub fn new(rollup: Addr<RollupActor>) -> Self {
        Self { rollup }
    }
}

#[tonic::async_trait]
impl Reports for ReportsService {
    async fn report(&self, request: Request<TrafficReport>) -> Result<Response<ReportResponse>, Status> {
        let message = request.into_inner();
        let count = message.windows.len();
        if count > WINDOWS_MAX {
            return Err(Status::invalid_argument(format!(
                "{count} windows in one report, the most is {WINDOWS_MAX}: send the oldest first"
            )));
        }
        let report = mesh::TrafficReport::try_from(&message);
        let report = report.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let counted = self.rollup.send(Report(report)).await;
        match counted.map_err(|_| Status::unavailable("this node is stopping; report to another one"))? {
            Ok(acknowledged) => Ok(Response::new(ReportResponse {
                acknowledged: acknowledged.windows.iter().map(|window| window.0).collect(),
                too_old: acknowledged.too_old.iter().map(|window| window.0).collect(),
            })),
            Err(error @ ReportError::NotCommitted(_)) => Err(Status::unavailable(error.to_string())),
            Err(error @ ReportError::Full(_)) => {
                let mut status = Status::resource_exhausted(error.to_string());
                status.metadata_mut().insert("grpc-retry-pushback-ms", MetadataValue::from(RETRY_AFTER_MS));
                Err(status)
            }
        }
    }
}
