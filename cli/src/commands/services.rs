//! `penstock services`: which services there are, and whether they can serve.

use api::v1::query_client::QueryClient;
use api::v1::{ServicesRequest, ServicesResponse};

use super::telling::{ink, noting_age, noting_if_empty};
use crate::answer::{Answer, Failure};
use crate::args::{Form, ServicesArgs};
use crate::connection::{ANSWER_BYTES_MAX, Connection};
use crate::render;

pub(super) async fn run(args: ServicesArgs) -> Result<Answer, Failure> {
    let namespace = args.namespace.unwrap_or_default();
    let request = ServicesRequest { namespace: namespace.clone(), stale_ms_max: args.age.stale_ms_max() };
    let response = ask(&mut Connection::new(&args.connection)?, request).await?;
    let answer = Answer::fine(render::services(&response, args.output, ink()));
    let answer = noting_age(answer, response.stale_ms);
    let note = if namespace.is_empty() {
        "no service yet: one comes into being when a workload registers, or by `penstock apply`".to_owned()
    } else {
        format!("no service in namespace {namespace}")
    };
    Ok(noting_if_empty(answer, response.services.is_empty(), args.output != Form::Json, note))
}

/// Asks for the services of a namespace, or of each when none is named.
pub(super) async fn ask(
    connection: &mut Connection,
    request: ServicesRequest,
) -> Result<ServicesResponse, Failure> {
    let call = |channel| {
        let request = request.clone();
        async move {
            QueryClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).services(request).await
        }
    };
    connection.ask(call).await
}
