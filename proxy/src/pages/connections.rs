//! `/connections`: who is connected, to whom, for how long, and what went over it.

use std::time::Duration;

use http::StatusCode;
use mesh::Direction;
use runtime::admin::Answer;
use serde_json::{Value, json};

use super::query::value;
use crate::worker::{Asker, OpenConnection};

/// Connections in one answer, unless `limit` says otherwise, and at most. A person reads some dozens; a program that wants
/// all asks with the largest limit and sees from `open` whether it got them.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// The open connections, those first that are open for longest.
pub(crate) async fn connections(workers: Asker, query: String) -> Answer {
    let limit = match value(&query, "limit").map(str::parse::<usize>) {
        None => LIMIT,
        Some(Ok(limit)) if limit <= LIMIT_MAX => limit,
        Some(_) => {
            let rule = format!("limit must be a whole number up to {LIMIT_MAX}\n");
            return Answer::text(StatusCode::BAD_REQUEST, rule);
        }
    };
    let (open, mut shown) = workers.connections(limit).await;
    shown.sort_by_key(|connection| std::cmp::Reverse(connection.age));
    shown.truncate(limit);
    let page = json!({ "open": open, "connections": shown.iter().map(line).collect::<Vec<_>>() });
    let text = serde_json::to_string_pretty(&page).expect("a tree of texts and numbers is JSON");
    Answer::json(text + "\n")
}

fn line(connection: &OpenConnection) -> Value {
    json!({
        "direction": match connection.direction { Direction::Outbound => "outbound", Direction::Inbound => "inbound" },
        "peer": connection.peer.map(|peer| peer.to_string()),
        "service": connection.service.as_ref().map(ToString::to_string),
        "age_seconds": rounded(connection.age),
        "requests": connection.requests,
        "requests_running": connection.requests_running,
        "bytes": connection.bytes,
    })
}

/// To the millisecond.
fn rounded(age: Duration) -> f64 {
    (age.as_secs_f64() * 1000.0).round() / 1000.0
}
