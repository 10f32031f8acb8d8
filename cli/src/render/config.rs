//! The answers of `apply`, `get` and `delete`.

use api::v1;
use serde::Serialize;

use super::table::{Column, Table};
use super::{Ink, json, name_or_unknown, revision};
use crate::args::{ApplyForm, DocumentForm};

/// What was done to each document; with `dry_run`, what would have been.
#[must_use]
pub fn applied(
    outcomes: &[v1::Outcome],
    at: Option<&v1::Revision>,
    dry_run: bool,
    form: ApplyForm,
) -> String {
    match form {
        ApplyForm::Json => json(&AppliedView {
            dry_run,
            revision: at.map(|at| revision(Some(at))),
            outcomes: outcomes.iter().map(OutcomeView::of).collect(),
            complaints: Vec::new(),
        }),
        ApplyForm::Text => {
            let tail = if dry_run { " (dry run)" } else { "" };
            let line = |outcome: &v1::Outcome| {
                let name = name_or_unknown(outcome.name.as_ref());
                format!("{} {name} {}{tail}\n", outcome.kind, outcome.action)
            };
            outcomes.iter().map(line).collect()
        }
    }
}

/// Why nothing was written: each complaint as `FILE:LINE:COLUMN: FIELD: MESSAGE`, as compilers say it.
#[must_use]
pub fn complaints(complaints: &[v1::Complaint], form: ApplyForm) -> String {
    match form {
        ApplyForm::Json => json(&AppliedView {
            dry_run: false,
            revision: None,
            outcomes: Vec::new(),
            complaints: complaints.iter().map(ComplaintView::of).collect(),
        }),
        ApplyForm::Text => complaints.iter().map(complaint).collect(),
    }
}

fn complaint(complaint: &v1::Complaint) -> String {
    let v1::Complaint { file, line, column, field, message } = complaint;
    let place = if *line == 0 { file.clone() } else { format!("{file}:{line}:{column}") };
    if field.is_empty() { format!("{place}: {message}\n") } else { format!("{place}: {field}: {message}\n") }
}

/// The documents that `get` was answered.
///
/// # Errors
/// If JSON is wanted and a document is not YAML: the node is at fault.
pub fn documents(response: &v1::GetResponse, form: DocumentForm, ink: Ink) -> Result<String, String> {
    match form {
        DocumentForm::Yaml => {
            let bodies: Vec<&str> =
                response.documents.iter().map(|document| document.yaml.as_str()).collect();
            let whole = |body: &&str| format!("{}\n", body.trim_start_matches("---\n").trim_end());
            Ok(bodies.iter().map(whole).collect::<Vec<_>>().join("---\n"))
        }
        DocumentForm::Json => {
            let items = response.documents.iter().map(|document| crate::yaml::as_json(&document.yaml));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            Ok(json(&serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items })))
        }
        DocumentForm::Table => {
            let mut table =
                Table::new([Column::left("KIND"), Column::left("NAME"), Column::right("REVISION")]);
            for document in &response.documents {
                table.row([
                    document.kind.clone().into(),
                    name_or_unknown(document.name.as_ref()).into(),
                    revision(document.revision.as_ref()).into(),
                ]);
            }
            Ok(table.text(ink))
        }
    }
}

#[derive(Serialize)]
struct AppliedView<'a> {
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    outcomes: Vec<OutcomeView<'a>>,
    complaints: Vec<ComplaintView<'a>>,
}

#[derive(Serialize)]
struct OutcomeView<'a> {
    kind: &'a str,
    name: String,
    action: &'a str,
}

impl<'a> OutcomeView<'a> {
    fn of(outcome: &'a v1::Outcome) -> Self {
        Self { kind: &outcome.kind, name: name_or_unknown(outcome.name.as_ref()), action: &outcome.action }
    }
}

#[derive(Serialize)]
struct ComplaintView<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    field: &'a str,
    message: &'a str,
}

impl<'a> ComplaintView<'a> {
    fn of(complaint: &'a v1::Complaint) -> Self {
        let v1::Complaint { file, line, column, field, message } = complaint;
        Self { file, line: *line, column: *column, field, message }
    }
}
