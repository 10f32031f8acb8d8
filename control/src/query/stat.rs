//! `stat`: traffic of the last seconds, grouped as asked, from the replicated history: the same figures on every node.
//! Pure: a request and a catalog in, rows out. Counts each request once: on the callee's side where a proxy stands there,
//! else on the callers'; on the callers' side where the question is about callers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::FieldError;
use api::v1::{GroupBy, StatRequest, StatResponse, StatRow};
use mesh::{Authority, Direction, Edge, EdgeTraffic, ServiceName, WINDOW_SECONDS, WorkloadName};

use super::near;
use crate::catalog::{Catalog, HistoryEdge, Span};

/// Longest past: what one-minute windows are kept for.
const WINDOW_SECONDS_MAX: u32 = 21_600;
/// Length of the past when none is asked for.
const WINDOW_SECONDS_USUAL: u32 = 60;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StatError {
    /// The request has no meaning.
    #[error("{0}")]
    Invalid(String),
    /// It names what does not exist.
    #[error("{0}")]
    NotFound(String),
}

/// A request whose fields cannot be wrong.
struct Question {
    group_by: GroupBy,
    resource: Option<Name>,
    from: Option<Name>,
    to: Option<Name>,
    seconds: u64,
    namespace: Option<String>,
}

/// A name that may be a service's or a workload's.
struct Name {
    service: ServiceName,
    workload: WorkloadName,
}

/// What one row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    authority: Option<Authority>,
    caller: Option<WorkloadName>,
    callee: Option<WorkloadName>,
}

/// Answers `request` from `catalog`.
pub(super) fn answer(catalog: &Catalog, request: &StatRequest) -> Result<StatResponse, StatError> {
    let question = Question::read(request)?;
    let history = catalog.rollups();
    let span = history.span(catalog.now(), question.seconds);
    let sums = history.sums(span, |edge| question.key(edge));
    let rows = rows(sums, span);
    if rows.is_empty() {
        question.check_names(catalog, span)?;
    }
    Ok(StatResponse {
        rows,
        from_ms: span.from.0,
        to_ms: span.to.0,
        revision: Some(catalog.applied().into()),
        folded_edges: history.folded_in(span),
        stale_ms: 0,
    })
}

impl Question {
    fn read(request: &StatRequest) -> Result<Self, StatError> {
        let group_by = GroupBy::try_from(request.group_by)
            .map_err(|_| StatError::Invalid(format!("group_by = {}: is no grouping", request.group_by)))?;
        let seconds = match request.window_seconds {
            0 => WINDOW_SECONDS_USUAL,
            seconds if seconds % 10 == 0 && seconds <= WINDOW_SECONDS_MAX => seconds,
            seconds => {
                return Err(StatError::Invalid(format!(
                    "window_seconds = {seconds}: must be a multiple of {WINDOW_SECONDS}, at most {WINDOW_SECONDS_MAX}"
                )));
            }
        };
        let name = |name: &Option<api::v1::QualifiedName>, field: &str| -> Result<Option<Name>, StatError> {
            let Some(name) = name else { return Ok(None) };
            let wrong = |error: FieldError| StatError::Invalid(error.within(field).to_string());
            let service = ServiceName::try_from(name).map_err(wrong)?;
            Ok(Some(Name { service, workload: WorkloadName::try_from(name).map_err(wrong)? }))
        };
        Ok(Self {
            group_by: if group_by == GroupBy::Unspecified { GroupBy::Service } else { group_by },
            resource: name(&request.resource, "resource")?,
            from: name(&request.from, "from")?,
            to: name(&request.to, "to")?,
            seconds: seconds.into(),
            namespace: Some(request.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        })
    }

    /// Whether only the callers' side is asked: the question is about who calls whom.
    fn is_of_callers(&self) -> bool {
        self.from.is_some() || self.to.is_some() || self.group_by == GroupBy::Edge
    }

    /// The row that an edge belongs to, and the side that counted it.
    fn key(&self, edge: &HistoryEdge) -> Option<(Key, Direction)> {
        let edge = edge.known()?;
        if (self.is_of_callers() && edge.direction == Direction::Inbound) || !self.covers(edge) {
            return None;
        }
        let key = match self.group_by {
            GroupBy::Service | GroupBy::Unspecified => {
                Key { authority: Some(edge.authority.clone()), caller: None, callee: None }
            }
            GroupBy::Workload => Key { authority: None, caller: None, callee: Some(edge.callee.clone()?) },
            GroupBy::Edge => Key {
                authority: Some(edge.authority.clone()),
                caller: edge.caller.clone(),
                callee: edge.callee.clone(),
            },
        };
        Some((key, edge.direction))
    }

    fn covers(&self, edge: &Edge) -> bool {
        let calls = |name: &Name| {
            edge.authority.service == name.service || edge.callee.as_ref() == Some(&name.workload)
        };
        let called_by = |name: &Name| edge.caller.as_ref() == Some(&name.workload);
        let resource = self.resource.as_ref().is_none_or(|name| match self.group_by {
            GroupBy::Workload => edge.callee.as_ref() == Some(&name.workload),
            GroupBy::Edge => calls(name) || called_by(name),
            GroupBy::Service | GroupBy::Unspecified => edge.authority.service == name.service,
        });
        let namespace = self.namespace.as_ref().is_none_or(|namespace| match (self.group_by, &edge.callee) {
            (GroupBy::Workload, Some(callee)) => callee.namespace() == namespace,
            _ => edge.authority.service.namespace() == namespace,
        });
        resource
            && namespace
            && self.from.as_ref().is_none_or(called_by)
            && self.to.as_ref().is_none_or(calls)
    }

    /// A question without an answer may be one for a name that nobody knows.
    fn check_names(&self, catalog: &Catalog, span: Span) -> Result<(), StatError> {
        let asked: Vec<&Name> = [&self.resource, &self.from, &self.to].into_iter().flatten().collect();
        if asked.is_empty() {
            return Ok(());
        }
        let known = known_names(catalog, span);
        for name in asked {
            let text = name.service.to_string();
            if !known.contains(&text) {
                let known = known.iter().map(String::as_str);
                return Err(StatError::NotFound(near::not_found("service or workload", &text, known)));
            }
        }
        Ok(())
    }
}

/// Every service, every workload that serves, and every caller and callee of the span.
fn known_names(catalog: &Catalog, span: Span) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = catalog.services().map(|(name, _)| name.to_string()).collect();
    known.extend(super::lists::endpoints_of_all(catalog).map(|row| row.endpoint.workload.to_string()));
    let edges = catalog.rollups().sums(span, |edge| edge.known().cloned());
    for edge in edges.into_keys() {
        known.insert(edge.authority.service.to_string());
        known.extend(edge.caller.map(|caller| caller.to_string()));
        known.extend(edge.callee.map(|callee| callee.to_string()));
    }
    known
}

/// One row per key, from the side that counts.
fn rows(sums: BTreeMap<(Key, Direction), EdgeTraffic>, span: Span) -> Vec<StatRow> {
    let mut chosen: BTreeMap<Key, (Direction, EdgeTraffic)> = BTreeMap::new();
    for ((key, direction), traffic) in sums {
        // Inbound sorts before outbound: the callee's side stays where there is one.
        chosen.entry(key).or_insert((direction, traffic));
    }
    chosen.into_iter().map(|(key, (direction, traffic))| row(&key, direction, &traffic, span)).collect()
}

fn row(key: &Key, direction: Direction, traffic: &EdgeTraffic, span: Span) -> StatRow {
    let micros = |quantile: f64| {
        let latency: Duration = traffic.latency.quantile(quantile).unwrap_or_default();
        u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
    };
    #[allow(clippy::cast_precision_loss)] // a rate is shown with four digits
    let requests_per_second = traffic.requests() as f64 / span.seconds() as f64;
    let counters = api::v1::EdgeTraffic { latency: Vec::new(), ..traffic.into() };
    StatRow {
        caller: key.caller.as_ref().map(Into::into),
        authority: key.authority.as_ref().map(Into::into),
        callee: key.callee.as_ref().map(Into::into),
        traffic: Some(counters),
        requests_per_second,
        p50_us: micros(0.50),
        p95_us: micros(0.95),
        p99_us: micros(0.99),
        counted: api::v1::Direction::from(direction).into(),
    }
}

#[cfg(test)]
#[path = "stat_tests.rs"]
mod tests;
