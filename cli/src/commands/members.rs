//! `penstock members`: the control nodes as one of them sees them.

use api::v1::query_client::QueryClient;
use api::v1::{MembersRequest, MembersResponse};

use super::telling::ink;
use crate::answer::{Answer, Failure};
use crate::args::{Form, MembersArgs};
use crate::connection::Connection;
use crate::render;

pub(super) async fn run(args: MembersArgs) -> Result<Answer, Failure> {
    let response = ask(&mut Connection::new(&args.connection)?).await?;
    let answer = Answer::fine(render::members(&response, args.output, ink()));
    let leads = response.members.iter().any(|member| member.reachable && member.role == "leader");
    if leads || args.output == Form::Json {
        return Ok(answer);
    }
    Ok(answer.noting(format!("note: node {} knows no leader; run `penstock check`", response.answered_by)))
}

/// Asks whichever node answers; needs no leader.
pub(crate) async fn ask(connection: &mut Connection) -> Result<MembersResponse, Failure> {
    connection.ask(|channel| async move { QueryClient::new(channel).members(MembersRequest {}).await }).await
}
