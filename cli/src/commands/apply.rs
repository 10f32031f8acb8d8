//! `penstock apply`: sends whole files to be checked and written by a control node, all or none.

use api::v1::ApplyRequest;
use api::v1::config_client::ConfigClient;

use super::files;
use super::telling::failed;
use super::write_id::Writes;
use crate::answer::{Answer, Exit, Failure};
use crate::args::{ApplyArgs, ApplyForm};
use crate::connection::Connection;
use crate::render;

pub(super) async fn run(args: ApplyArgs) -> Result<Answer, Failure> {
    let mut connection = Connection::new(&args.connection)?;
    let files = files::read(&args.files)?;
    let id = if args.dry_run { None } else { Some(Writes::begin("apply", &mut connection).await?.next()) };
    let request = ApplyRequest { id, files, dry_run: args.dry_run };
    let call = |channel| {
        let request = request.clone();
        async move { ConfigClient::new(channel).apply(request).await }
    };
    let response = connection.ask(call).await?;
    if !response.complaints.is_empty() {
        return Ok(refused(&response.complaints, args.output));
    }
    let text = render::applied(&response.outcomes, response.revision.as_ref(), args.dry_run, args.output);
    let answer = Answer::fine(text);
    if response.outcomes.is_empty() && args.output == ApplyForm::Text {
        return Ok(answer.noting("note: the files hold no document"));
    }
    Ok(answer)
}

/// Complaints: for people beside a sentence that nothing happened, for programs as the answer.
pub(super) fn refused(complaints: &[api::v1::Complaint], form: ApplyForm) -> Answer {
    let text = render::complaints(complaints, form);
    match form {
        ApplyForm::Json => failed(text),
        ApplyForm::Text => Answer {
            text: String::new(),
            notes: vec![format!(
                "{text}error: {}: nothing was changed",
                render::count(complaints.len(), "complaint")
            )],
            exit: Exit::Failed,
        },
    }
}
