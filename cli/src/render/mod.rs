//! Answers as text: pure, a response in, a string out. Tables for people, JSON for programs; golden files hold each.

mod backup;
mod check;
mod config;
mod endpoints;
mod log;
mod members;
mod proxies;
mod services;
mod simulated;
mod stat;
mod table;
pub(crate) mod units;

pub use backup::{BackupView, backup, findings as findings_of_survivor, recovered, restored, saved};
pub use check::{Finding, Verdict, findings};
pub use config::{applied, complaints, documents};
pub use endpoints::endpoints;
pub use log::log;
pub use members::{members, members_changed};
pub use proxies::proxies;
pub use services::services;
pub use simulated::{Simulated, simulated, simulated_json};
pub use stat::{edges, stat};
pub use table::{Cell, Column, Table};
pub use units::{count, latency, rate, share};

use api::v1;
use units::revision;

/// Whether the text may carry colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// No escape sequences.
    Plain,
    /// ANSI colours.
    Coloured,
}

fn name(name: &v1::QualifiedName) -> String {
    format!("{}.{}", name.name, name.namespace)
}

fn name_or_unknown(given: Option<&v1::QualifiedName>) -> String {
    given.map_or_else(|| "(unknown)".to_owned(), name)
}

fn authority(authority: Option<&v1::Authority>) -> String {
    let Some(authority) = authority else { return "(unknown)".to_owned() };
    format!("{}:{}", name_or_unknown(authority.service.as_ref()), authority.port)
}

/// A document for programs, with a newline at its end.
fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("our own views have no keys but text");
    text.push('\n');
    text
}
