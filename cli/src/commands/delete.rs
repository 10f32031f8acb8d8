//! `penstock delete`: takes documents away, one after another, last first: routes before the services they name.

use api::v1::config_client::ConfigClient;
use api::v1::{DeleteRequest, DeleteResponse, Outcome};

use super::apply::refused;
use super::files;
use super::telling::failed;
use super::write_id::Writes;
use crate::answer::{Answer, Failure};
use crate::args::{DeleteArgs, DocumentKind};
use crate::connection::Connection;
use crate::render;
use crate::yaml::{Named, named};

pub(super) async fn run(args: DeleteArgs) -> Result<Answer, Failure> {
    let mut connection = Connection::new(&args.connection)?;
    let wanted = match wanted(&args)? {
        Ok(wanted) => wanted,
        Err(complaints) => return Ok(refused(&complaints, args.output)),
    };
    let mut writes = Writes::begin("delete", &mut connection).await?;
    let mut outcomes = Vec::new();
    let mut refusals = Vec::new();
    for document in wanted.into_iter().rev() {
        let request = DeleteRequest {
            id: Some(writes.next()),
            kind: document.kind.as_str().to_owned(),
            name: Some(document.name.clone()),
        };
        match one(&mut connection, request).await {
            Ok(response) => outcomes.extend(response.outcome),
            Err(Failure::Refused(said)) if args.ignore_not_found && said.starts_with(NOT_FOUND) => {
                outcomes.push(absent(&document));
            }
            Err(Failure::Refused(said)) => refusals.push(said.trim_start_matches(NOT_FOUND).to_owned()),
            Err(failure) => {
                let done = render::applied(&outcomes, None, false, args.output);
                return Ok(Answer { text: done, ..Answer::from(failure) });
            }
        }
    }
    let text = render::applied(&outcomes, None, false, args.output);
    if refusals.is_empty() {
        return Ok(Answer::fine(text));
    }
    Ok(refusals.into_iter().fold(failed(text), |answer, said| answer.noting(format!("error: {said}"))))
}

/// How a refusal begins that is forgiven by `--ignore-not-found`.
const NOT_FOUND: &str = "not found: ";

async fn one(connection: &mut Connection, request: DeleteRequest) -> Result<DeleteResponse, Failure> {
    let call = |channel| {
        let request = request.clone();
        async move {
            let answer = ConfigClient::new(channel).delete(request).await;
            answer.map_err(|status| match status.code() {
                tonic::Code::NotFound => tonic::Status::not_found(format!("{NOT_FOUND}{}", status.message())),
                _ => status,
            })
        }
    };
    connection.ask(call).await
}

fn absent(document: &Named) -> Outcome {
    Outcome {
        kind: document.kind.as_str().to_owned(),
        name: Some(document.name.clone()),
        action: "was not there".to_owned(),
    }
}

/// What to take away, or every complaint about the files that say so.
fn wanted(args: &DeleteArgs) -> Result<Result<Vec<Named>, Vec<api::v1::Complaint>>, Failure> {
    let namespace = args.namespace.as_deref();
    if let (Some(kind), Some(name)) = (args.kind, &args.name) {
        if kind == DocumentKind::All {
            return Err(Failure::Usage(
                "delete takes service, httproute, grpcroute or trafficpolicy, one at a time, or -f FILE"
                    .to_owned(),
            ));
        }
        return Ok(Ok(vec![Named { kind, name: name.within(namespace) }]));
    }
    let mut found = Vec::new();
    let mut complaints = Vec::new();
    for file in files::read(&args.files)? {
        match named(&file, namespace) {
            Ok(documents) => found.extend(documents),
            Err(more) => complaints.extend(more),
        }
    }
    Ok(if complaints.is_empty() { Ok(found) } else { Err(complaints) })
}
