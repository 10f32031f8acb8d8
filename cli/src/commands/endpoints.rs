//! `penstock endpoints`: the addresses behind services.

use api::v1::query_client::QueryClient;
use api::v1::{EndpointsRequest, EndpointsResponse};

use super::telling::{ink, noting_age, noting_if_empty};
use crate::answer::{Answer, Failure};
use crate::args::{EndpointsArgs, Form};
use crate::connection::{ANSWER_BYTES_MAX, Connection};
use crate::render;

pub(super) async fn run(args: EndpointsArgs) -> Result<Answer, Failure> {
    let response = ask(&mut Connection::new(&args.connection)?, args.request()).await?;
    let answer = Answer::fine(render::endpoints(&response, args.output, ink()));
    let answer = noting_age(answer, response.stale_ms);
    let note = "no endpoint: does a proxy stand beside the workload, and does its application's port answer?";
    Ok(noting_if_empty(answer, response.endpoints.is_empty(), args.output != Form::Json, note))
}

/// Asks for endpoints, from whichever node answers.
pub(crate) async fn ask(
    connection: &mut Connection,
    request: EndpointsRequest,
) -> Result<EndpointsResponse, Failure> {
    let call = |channel| {
        let request = request.clone();
        async move {
            QueryClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).endpoints(request).await
        }
    };
    connection.ask(call).await
}
