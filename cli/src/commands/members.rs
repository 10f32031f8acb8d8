//! `penstock members`: the control nodes as one of them sees them, and changes of them.

use api::v1::members_client::MembersClient;
use api::v1::query_client::QueryClient;
use api::v1::{MembersChanged, MembersRequest, MembersResponse};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::telling::ink;
use crate::answer::{Answer, Failure};
use crate::args::{ChangeArgs, Form, MembersAction, MembersArgs, MembersListArgs};
use crate::connection::Connection;
use crate::render;

pub(super) async fn run(args: MembersArgs) -> Result<Answer, Failure> {
    match args.action {
        None => list(args.list).await,
        Some(MembersAction::List(args)) => list(args).await,
        Some(MembersAction::Add(args)) => {
            let request = args.request();
            change(&args.change, |mut client, request| async move { client.add(request).await }, request)
                .await
        }
        Some(MembersAction::Promote(args)) => {
            let request = args.request();
            change(&args.change, |mut client, request| async move { client.promote(request).await }, request)
                .await
        }
        Some(MembersAction::Remove(args)) => {
            let request = args.request();
            change(&args.change, |mut client, request| async move { client.remove(request).await }, request)
                .await
        }
        Some(MembersAction::Transfer(args)) => {
            let request = args.request();
            change(&args.change, |mut client, request| async move { client.transfer(request).await }, request)
                .await
        }
    }
}

/// Asks for one change, again at the next node while there is no leader: what is so already is answered as done.
async fn change<Q, F>(
    args: &ChangeArgs,
    call: impl Fn(MembersClient<Channel>, Q) -> F,
    request: Q,
) -> Result<Answer, Failure>
where
    Q: Clone,
    F: Future<Output = Result<Response<MembersChanged>, Status>>,
{
    let mut connection = Connection::new(&args.connection)?;
    let changed = connection.ask(|channel| call(MembersClient::new(channel), request.clone())).await?;
    Ok(Answer::fine(render::members_changed(&changed, args.output)))
}

async fn list(args: MembersListArgs) -> Result<Answer, Failure> {
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
