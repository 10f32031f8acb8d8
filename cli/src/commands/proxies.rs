//! `penstock proxies`: which proxy holds which revision.

use api::v1::query_client::QueryClient;
use api::v1::{ProxiesRequest, ProxiesResponse};

use super::telling::{ink, noting_if_empty, now_ms};
use crate::answer::{Answer, Failure};
use crate::args::{Form, ProxiesArgs};
use crate::connection::{ANSWER_BYTES_MAX, Connection};
use crate::render;

pub(super) async fn run(args: ProxiesArgs) -> Result<Answer, Failure> {
    let response = ask(&mut Connection::new(&args.connection)?).await?;
    let answer = Answer::fine(render::proxies(&response, args.output, ink(), now_ms()));
    let for_people = args.output != Form::Json;
    let answer = noting_if_empty(answer, response.proxies.is_empty(), for_people, "no proxy is connected");
    let silent = response.missing_nodes.iter().filter(|_| for_people);
    Ok(silent.fold(answer, |answer, node| {
        answer.noting(format!("note: node {node} did not answer: proxies connected to it are missing here"))
    }))
}

/// Asks whichever node answers for the proxies of every reachable node.
pub(super) async fn ask(connection: &mut Connection) -> Result<ProxiesResponse, Failure> {
    let call = |channel| async move {
        let request = ProxiesRequest { this_node_only: false };
        QueryClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).proxies(request).await
    };
    connection.ask(call).await
}
