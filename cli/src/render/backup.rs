//! What is told of backups and of directories made from them.

use std::path::Path;

use api::v1::{self, BackupHead};
use control::backup::{Findings, Restored};
use control::catalog::Sizes;
use serde::Serialize;

use super::json;
use super::units::{bytes, count, revision};
use crate::args::BackupForm;

/// A backup as `inspect` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupView {
    /// Of which cluster.
    pub cluster: String,
    /// Of which revision.
    pub revision: String,
    /// When it was taken, Unix milliseconds.
    pub taken_ms: u64,
    /// By which node.
    pub node: u64,
    /// Of which version.
    pub version: String,
    /// Services inside.
    pub services: usize,
    /// Registered endpoints.
    pub endpoints: usize,
    /// Routes.
    pub routes: usize,
    /// Clients whose writes are remembered.
    pub clients: usize,
    /// Edges of the traffic history.
    pub edges: usize,
    /// Bytes of the traffic history.
    pub history_bytes: usize,
    /// Length of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file up to where it stands itself.
    pub sha256: String,
}

impl BackupView {
    /// Puts it together.
    #[must_use]
    pub fn of(head: &BackupHead, sizes: &Sizes, sha256: &[u8; 32], file_bytes: u64) -> Self {
        Self {
            cluster: head.cluster.clone(),
            revision: revision(head.revision.as_ref()),
            taken_ms: head.taken_ms,
            node: head.node,
            version: head.version.clone(),
            services: sizes.services,
            endpoints: sizes.endpoints,
            routes: sizes.routes,
            clients: sizes.clients,
            edges: sizes.edges,
            history_bytes: sizes.history_bytes,
            file_bytes,
            sha256: hex(sha256),
        }
    }
}

/// The answer of `snapshot inspect`.
#[must_use]
pub fn backup(view: &BackupView, form: BackupForm) -> String {
    if form == BackupForm::Json {
        return json(view);
    }
    let history = format!("{} in {}", count(view.edges, "edge"), bytes(view.history_bytes as u64));
    let rows: [(&str, String); 11] = [
        ("cluster", view.cluster.clone()),
        ("revision", view.revision.clone()),
        ("taken", utc(view.taken_ms)),
        ("by", format!("node {}, penstock {}", view.node, view.version)),
        ("services", view.services.to_string()),
        ("endpoints", view.endpoints.to_string()),
        ("routes", view.routes.to_string()),
        ("clients", view.clients.to_string()),
        ("history", history),
        ("size", bytes(view.file_bytes)),
        ("sha256", view.sha256.clone()),
    ];
    rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

/// The answer of `snapshot save`.
#[must_use]
pub fn saved(head: &BackupHead, sha256: &[u8; 32], file: &Path) -> String {
    format!(
        "saved cluster {} at {} to {} ({}, SHA-256 {})\n",
        head.cluster,
        revision(head.revision.as_ref()),
        file.display(),
        bytes(head.bytes),
        hex(sha256)
    )
}

/// The answer of `snapshot restore`.
#[must_use]
pub fn restored(restored: &Restored) -> String {
    let founders: Vec<String> = restored.founders.iter().map(ToString::to_string).collect();
    format!(
        "restored cluster {} at {} into {}, as node {} of cluster {} with the founders {}\n",
        restored.from,
        revision(Some(&v1::Revision::from(restored.revision))),
        restored.directory.display(),
        restored.node,
        restored.cluster,
        founders.join(", ")
    )
}

/// What `recover` tells before it asks: what is there, what it does, what may be lost.
#[must_use]
pub fn findings(findings: &Findings) -> String {
    let voters: Vec<String> = findings.voters.iter().map(ToString::to_string).collect();
    format!(
        "node {} of cluster {}, in a group of nodes {}\n\
         its log ends with entry {} (the last {} not known to be committed), the last one stamped {}\n\
         \n\
         Recovering makes this directory the whole cluster: node {} alone, with everything that stands in its log.\n\
         Lost is what other nodes acknowledged and this one had not received; nothing can tell how much that is.\n\
         The other nodes' directories can never join again. Do this only if a majority of them is lost for good:\n\
         if they can still be started, start them.\n",
        findings.node,
        findings.cluster,
        voters.join(", "),
        findings.last.index,
        findings.unconfirmed,
        utc(findings.last_heard.0),
        findings.node
    )
}

/// The answer of `recover`.
#[must_use]
pub fn recovered(findings: &Findings) -> String {
    format!(
        "recovered: cluster {} is node {} alone, as of entry {}\n",
        findings.cluster, findings.node, findings.last.index
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A moment as `2026-11-26 19:20:24 UTC`. Days are counted as in Howard Hinnant's `civil_from_days`.
fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_the_calendar_has_them() {
        for (seconds, told) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (1_795_720_824, "2026-11-26 19:20:24 UTC"),
        ] {
            assert_eq!(utc(seconds * 1000), told);
        }
    }
}
