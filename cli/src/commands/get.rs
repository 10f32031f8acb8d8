//! `penstock get`: services and routes as they were applied.

use api::v1::config_client::ConfigClient;

use super::telling::{ink, noting_if_empty};
use crate::answer::{Answer, Failure};
use crate::args::{DocumentForm, GetArgs};
use crate::connection::{ANSWER_BYTES_MAX, Connection};
use crate::render;

pub(super) async fn run(args: GetArgs) -> Result<Answer, Failure> {
    let request = args.request();
    let call = |channel| {
        let request = request.clone();
        async move { ConfigClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).get(request).await }
    };
    let response = Connection::new(&args.connection)?.ask(call).await?;
    if let (Some(name), true) = (&request.name, response.documents.is_empty()) {
        let kind = if request.kind.is_empty() { "document" } else { &request.kind };
        return Err(Failure::Refused(format!(
            "no {kind} is named {} in namespace {}: `penstock get all -o table` shows what there is",
            name.name, name.namespace
        )));
    }
    let text = render::documents(&response, args.output, ink()).map_err(Failure::Refused)?;
    let empty = response.documents.is_empty();
    Ok(noting_if_empty(
        Answer::fine(text),
        empty,
        args.output != DocumentForm::Json,
        "nothing was applied yet",
    ))
}
