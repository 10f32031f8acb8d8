//! A series of the families as it goes from a process to the one that takes over from it, in JSON: both are of this program,
//! and the message has a version of its own.

use std::collections::BTreeMap;

use mesh::EdgeTraffic;
use serde::{Deserialize, Serialize};

/// One series; what is missing counts as nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CarriedOver {
    pub(super) outbound: bool,
    pub(super) authority: String,
    pub(super) callee: Option<String>,
    pub(super) successes: u64,
    pub(super) failures: Vec<u64>,
    pub(super) retries: u64,
    pub(super) connections: u64,
    pub(super) closes: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) statuses: Vec<(u16, bool, u64)>,
    pub(super) buckets: Vec<u64>,
    pub(super) sum_ms: f64,
}

impl CarriedOver {
    /// Of one series; its name is set by the caller.
    pub(super) fn of(
        traffic: &EdgeTraffic,
        statuses: &BTreeMap<(u16, bool), u64>,
        buckets: &[u64],
        sum_ms: f64,
    ) -> Self {
        Self {
            successes: traffic.successes,
            failures: traffic.failures.to_vec(),
            retries: traffic.retries,
            connections: traffic.connections,
            closes: traffic.closes,
            request_bytes: traffic.request_bytes,
            response_bytes: traffic.response_bytes,
            statuses: statuses.iter().map(|((status, failed), count)| (*status, *failed, *count)).collect(),
            buckets: buckets.to_vec(),
            sum_ms,
            ..Self::default()
        }
    }

    /// Its counts, without latencies.
    pub(super) fn traffic(&self) -> EdgeTraffic {
        let mut traffic = EdgeTraffic {
            successes: self.successes,
            retries: self.retries,
            connections: self.connections,
            closes: self.closes,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            ..EdgeTraffic::default()
        };
        for (sum, count) in traffic.failures.iter_mut().zip(&self.failures) {
            *sum = *count;
        }
        traffic
    }

    /// Its requests by status and whether they failed.
    pub(super) fn statuses(&self) -> impl Iterator<Item = ((u16, bool), u64)> {
        self.statuses.iter().map(|(status, failed, count)| ((*status, *failed), *count))
    }
}
