//! `/log-level`: what the process logs, and how to change it until it ends: for a person who looks for a fault that a
//! restart would take away.

use bytes::Bytes;
use http::StatusCode;
use tracing::info;

use super::server::Answer;
use crate::telemetry;

/// Where it is.
pub(super) const PATH: &str = "/log-level";

/// What is logged now.
pub(super) fn shown() -> Answer {
    match telemetry::installed() {
        Some(filter) => Answer::text(StatusCode::OK, format!("{filter}\n")),
        None => no_log(),
    }
}

/// Logs what `body` asks for: `debug`, or `info,proxy=debug`.
pub(super) fn changed(body: &Bytes) -> Answer {
    let raw = String::from_utf8_lossy(body);
    match telemetry::filter(raw.trim()) {
        Err(rule) => Answer::text(StatusCode::BAD_REQUEST, format!("{:?}: {rule}\n", raw.trim())),
        Ok(filter) if telemetry::change(&filter) => {
            info!(%filter, "the log level was changed over the admin port");
            shown()
        }
        Ok(_) => no_log(),
    }
}

fn no_log() -> Answer {
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, "this process has not set up a log of its own\n")
}
