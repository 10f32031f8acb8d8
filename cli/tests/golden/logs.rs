//! The log of a node as it is shown.

use control::backup::{LogPage, LogRow};

use crate::fixtures::NOW_MS;

/// The end of a log, with a torn frame.
pub(crate) fn log_page() -> LogPage {
    let row = |index, kind, says: &str| LogRow {
        index,
        term: 7,
        at_ms: NOW_MS,
        bytes: 96,
        kind,
        says: says.to_owned(),
        ..LogRow::default()
    };
    LogPage {
        term: 7,
        vote: 2,
        commit: 8122,
        snapshot: 5000,
        first: 4001,
        last: 8123,
        torn_bytes: 41,
        next: None,
        rows: vec![
            LogRow { at_ms: 0, bytes: 0, ..row(8121, "term", "a leader begins its term") },
            LogRow {
                client: "web-1#7".to_owned(),
                sequence: 3,
                ..row(8122, "register", "web-1 of web.default:80 at 10.0.0.1:4143, for 15 s")
            },
            row(8123, "expire", "web-2 of web.default:80"),
        ],
    }
}
