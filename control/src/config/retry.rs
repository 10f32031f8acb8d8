//! The `retry` of a rule (Gateway API, GEP-1731) and of a policy, which names gRPC's codes too, and the budget (GEP-3388).

use std::time::Duration;

use api::{BACKOFF_MS, BUDGET_WINDOW_MS, MIN_RETRIES_MAX, RETRY_CODES, RETRY_CODES_MAX};
use mesh::{GrpcCode, Retry, RetryBudget, RouteKind};

use super::complaints::Complaints;
use super::duration;
use super::fields::{Fields, shown};

/// Which codes it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// An `HTTPRoute`: `codes`.
    Http,
    /// A `GRPCRoute`: `grpcCodes`.
    Grpc,
    /// A `TrafficPolicy`: both.
    Both,
}

impl Dialect {
    /// That of a route.
    pub(super) fn of(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Http => Self::Http,
            RouteKind::Grpc => Self::Grpc,
        }
    }
}

/// Reads `retry`.
pub(super) fn read(outer: &mut Fields<'_>, dialect: Dialect, complaints: &mut Complaints) -> Option<Retry> {
    let mut fields = outer.fields("retry", complaints)?;
    let had = complaints.count();
    let (codes, grpc_codes) = match dialect {
        Dialect::Http => (codes(&mut fields, complaints), Vec::new()),
        Dialect::Grpc => {
            fields.refuse(&["codes"], "a call has no HTTP status; name gRPC's in `grpcCodes`", complaints);
            (Vec::new(), grpc_codes(&mut fields, complaints))
        }
        Dialect::Both => (codes(&mut fields, complaints), grpc_codes(&mut fields, complaints)),
    };
    let attempts = fields.number("attempts", 1..=Retry::MAX_ATTEMPTS, complaints);
    let backoff = duration::field(&mut fields, "backoff", &BACKOFF_MS, complaints);
    fields.finish(complaints);
    (complaints.count() == had).then(|| Retry {
        codes,
        grpc_codes,
        attempts: attempts.unwrap_or(Retry::DEFAULT_ATTEMPTS),
        backoff: backoff.unwrap_or(Retry::DEFAULT_BACKOFF),
    })
}

fn codes(fields: &mut Fields<'_>, complaints: &mut Complaints) -> Vec<u16> {
    let mut codes = Vec::new();
    for (path, item) in fields.list("codes", RETRY_CODES_MAX, complaints) {
        let number = item.integer().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| RETRY_CODES.contains(number)).and_then(|n| u16::try_from(n).ok()) {
            Some(code) => codes.push(code),
            None => complaints.add(item.position, &path, "must be an HTTP status from 400 to 599"),
        }
    }
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn grpc_codes(fields: &mut Fields<'_>, complaints: &mut Complaints) -> Vec<GrpcCode> {
    let mut codes = Vec::new();
    for (path, item) in fields.list("grpcCodes", GrpcCode::ALL.len(), complaints) {
        let text = item.text().unwrap_or_default();
        match GrpcCode::named(&text.to_ascii_lowercase().replace('_', "-")) {
            Some(code) => codes.push(code),
            None => {
                let known = GrpcCode::ALL.map(GrpcCode::as_str).join(", ");
                complaints.add(item.position, &path, format!("{} must be one of {known}", shown(text)));
            }
        }
    }
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Reads `retryConstraint`.
pub(super) fn constraint(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<RetryBudget> {
    let mut fields = outer.fields("retryConstraint", complaints)?;
    let mut budget = RetryBudget::default();
    if let Some(mut inner) = fields.fields("budget", complaints) {
        let percent = inner.number("percent", 0..=100, complaints);
        let window = duration::field(&mut inner, "interval", &BUDGET_WINDOW_MS, complaints);
        inner.finish(complaints);
        budget.percent = percent.unwrap_or(budget.percent);
        budget.window = window.unwrap_or(budget.window);
    }
    if let Some(mut inner) = fields.fields("minRetryRate", complaints) {
        let count = inner.number("count", 0..=MIN_RETRIES_MAX, complaints);
        let window = duration::field(&mut inner, "interval", &BUDGET_WINDOW_MS, complaints);
        inner.finish(complaints);
        budget.min_retries = count.unwrap_or(budget.min_retries);
        budget.min_window = window.unwrap_or(budget.min_window);
    }
    fields.finish(complaints);
    Some(budget)
}

/// Reads `timeouts` of a rule: `request` and `backendRequest`, of which the second must not be the longer one (GEP-1742).
pub(super) fn timeouts(
    outer: &mut Fields<'_>,
    complaints: &mut Complaints,
) -> (Option<Duration>, Option<Duration>) {
    let Some(mut fields) = outer.fields("timeouts", complaints) else { return (None, None) };
    let request = duration::timeout(&mut fields, "request", complaints);
    let each = duration::timeout(&mut fields, "backendRequest", complaints);
    if let (Some(request), Some(each)) = (request, each)
        && each > request
    {
        let path = fields.path("backendRequest");
        complaints.add(fields.position, &path, "must not be longer than `request`, which bounds all tries");
    }
    fields.finish(complaints);
    (request, each)
}
