//! `penstock stat`: how well services and workloads serve.

use api::v1::StatResponse;
use api::v1::query_client::QueryClient;

use super::telling::{ink, noting_age, noting_if_empty};
use crate::answer::{Answer, Failure};
use crate::args::{Form, StatArgs, StatWindow};
use crate::connection::{ANSWER_BYTES_MAX, Connection};
use crate::render;

pub(super) async fn run(args: StatArgs) -> Result<Answer, Failure> {
    let response = ask(&mut Connection::new(&args.traffic.connection)?, args.request()).await?;
    let form = args.traffic.output;
    let answer = Answer::fine(render::stat(&response, args.resource.kind, form, ink()));
    Ok(noted(answer, &response, form, args.traffic.window))
}

/// Asks for traffic, from whichever node answers.
pub(crate) async fn ask(
    connection: &mut Connection,
    request: api::v1::StatRequest,
) -> Result<StatResponse, Failure> {
    let call = |channel| {
        let request = request.clone();
        async move { QueryClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).stat(request).await }
    };
    connection.ask(call).await
}

/// What a reader should know beside the figures.
pub(super) fn noted(answer: Answer, response: &StatResponse, form: Form, window: StatWindow) -> Answer {
    let answer = noting_age(answer, response.stale_ms);
    let for_people = form != Form::Json;
    let note = format!("no traffic in the last {window}; figures come in windows of ten seconds");
    let answer = noting_if_empty(answer, response.rows.is_empty(), for_people, note);
    match response.folded_edges {
        0 => answer,
        folded => answer.noting(format!(
            "note: {} beyond the bound of the catalog, counted together as `other`",
            render::count(usize::try_from(folded).unwrap_or(usize::MAX), "edge")
        )),
    }
}
