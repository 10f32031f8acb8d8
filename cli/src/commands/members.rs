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
    let note = note(&response).filter(|_| args.output != Form::Json);
    Ok(note.into_iter().fold(answer, Answer::noting))
}

/// What a reader of the table should know.
fn note(response: &MembersResponse) -> Option<String> {
    let leads = response.members.iter().any(|member| member.reachable && member.role == "leader");
    if !leads {
        return Some(format!("note: node {} knows no leader; run `penstock check`", response.answered_by));
    }
    // An older node tells no seats.
    let mut voters = response.members.iter().filter(|member| member.seat == "voter");
    match (voters.next(), voters.next()) {
        (Some(only), None) => Some(format!(
            "note: node {} alone has a vote in cluster {:?}, which its loss would end; `penstock members add` brings in others",
            only.node, response.cluster
        )),
        _ => None,
    }
}

/// Asks whichever node answers; needs no leader.
pub(crate) async fn ask(connection: &mut Connection) -> Result<MembersResponse, Failure> {
    connection.ask(|channel| async move { QueryClient::new(channel).members(MembersRequest {}).await }).await
}

#[cfg(test)]
mod tests {
    use api::v1::MemberRow;

    use super::*;

    fn seen(seats: &[&str], leads: bool) -> MembersResponse {
        let member = |(node, seat): (u64, &&str)| MemberRow {
            node,
            seat: (*seat).to_owned(),
            role: if leads { "leader" } else { "follower" }.to_owned(),
            reachable: true,
            ..MemberRow::default()
        };
        let members = (1..).zip(seats).map(member).collect();
        MembersResponse { cluster: "shop".to_owned(), members, answered_by: 1, commands: 2 }
    }

    #[test]
    fn a_cluster_of_one_voter_and_one_without_a_leader_are_told_and_others_are_not() {
        let said = |seats: &[&str], leads| note(&seen(seats, leads)).unwrap_or_default();
        assert!(said(&["voter"], true).contains("node 1 alone has a vote in cluster \"shop\""));
        assert!(said(&["learner", "voter"], true).contains("node 2 alone has a vote"));
        assert!(said(&["voter"], false).contains("knows no leader"));
        assert_eq!([said(&["voter", "voter"], true), said(&[""], true)], ["", ""]);
    }
}
