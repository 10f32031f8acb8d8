//! The answer of `debug log`.

use control::backup::{LogPage, LogRow};
use serde::Serialize;

use super::table::{Column, Table};
use super::{Ink, json};
use crate::args::LogForm;

/// The entries of a log, after a line that says what the whole holds.
#[must_use]
pub fn log(page: &LogPage, form: LogForm) -> String {
    if form == LogForm::Json {
        return json(&PageView {
            term: page.term,
            vote: page.vote,
            commit: page.commit,
            snapshot: page.snapshot,
            first: page.first,
            last: page.last,
            torn_bytes: page.torn_bytes,
            next: page.next,
            entries: page.rows.iter().map(RowView::of).collect(),
        });
    }
    let mut text = format!(
        "term {}, voted for {}, committed to {} at least; snapshot to {}; log from {} to {}\n",
        page.term, page.vote, page.commit, page.snapshot, page.first, page.last
    );
    if page.torn_bytes > 0 {
        text += &format!("a crash left {} bytes half written at the end\n", page.torn_bytes);
    }
    if page.rows.is_empty() {
        return text;
    }
    let mut columns = ["INDEX", "TERM", "BYTES"].map(Column::right).to_vec();
    columns.extend(["KIND", "WRITE", "SAYS"].map(Column::left));
    let mut table = Table::new(columns);
    for row in &page.rows {
        let write =
            if row.client.is_empty() { "-".to_owned() } else { format!("{}#{}", row.client, row.sequence) };
        table.row(vec![
            row.index.to_string().into(),
            row.term.to_string().into(),
            row.bytes.to_string().into(),
            row.kind.into(),
            write.into(),
            row.says.clone().into(),
        ]);
    }
    text + "\n" + &table.text(Ink::Plain)
}

#[derive(Serialize)]
struct PageView<'a> {
    term: u64,
    vote: u64,
    commit: u64,
    snapshot: u64,
    first: u64,
    last: u64,
    torn_bytes: u64,
    next: Option<u64>,
    entries: Vec<RowView<'a>>,
}

#[derive(Serialize)]
struct RowView<'a> {
    index: u64,
    term: u64,
    at_ms: u64,
    client: &'a str,
    sequence: u64,
    bytes: usize,
    kind: &'a str,
    says: &'a str,
}

impl<'a> RowView<'a> {
    fn of(row: &'a LogRow) -> Self {
        let LogRow { index, term, at_ms, client, sequence, bytes, kind, says } = row;
        Self {
            index: *index,
            term: *term,
            at_ms: *at_ms,
            client,
            sequence: *sequence,
            bytes: *bytes,
            kind,
            says,
        }
    }
}
