//! Config, held to its promises: every complaint at once with its place, and what is rendered applies unchanged.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod chance;
mod complaints;
mod grpc_routes;
mod limits;
mod rendering;
mod sessions;

use api::v1::{Complaint, SourceFile};
use control::config::{Checked, check};

/// Checks files named `a.yaml`, `b.yaml`, ...
fn checked(texts: &[&str]) -> Result<Checked, Vec<Complaint>> {
    let named = |(at, text): (usize, &&str)| {
        let letter = char::from(b'a' + u8::try_from(at).unwrap());
        SourceFile { name: format!("{letter}.yaml"), yaml: (*text).to_owned() }
    };
    check(&texts.iter().enumerate().map(named).collect::<Vec<_>>())
}

/// The complaints as `file:line:column field: message`.
fn told(texts: &[&str]) -> Vec<String> {
    let told = |complaint: Complaint| {
        let Complaint { file, line, column, field, message } = complaint;
        format!("{file}:{line}:{column} {field}: {message}")
    };
    checked(texts).unwrap_err().into_iter().map(told).collect()
}
