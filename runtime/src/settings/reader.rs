//! One typed question per key; every bad answer is kept, and all of them are told at the end.
//!
//! Stands between the raw [`Sources`] and a program's own settings struct:
//!
//! ```
//! # use runtime::settings::{Reader, Sources, parse};
//! # use std::time::Duration;
//! # struct Settings { listen: std::net::SocketAddr, lease: Duration }
//! let sources = Sources::new().with_environment([("PENSTOCK_LISTEN", "127.0.0.1:4100")]);
//! let mut reader = Reader::new(sources);
//! let listen = reader.required("listen", parse::socket_address);
//! let range = Duration::from_secs(1)..=Duration::from_secs(3600);
//! let lease = reader.or("lease_seconds", parse::seconds(range), Duration::from_secs(10));
//! let settings = reader.finish(|| Some(Settings { listen: listen?, lease }));
//! assert!(settings.is_ok());
//! ```
//!
//! Must never stop at the first bad setting, and never let one pass.

use super::complaint::{Complaint, Complaints, Origin, nearest};
use super::sources::{Found, Sources, Value, flag_of, variable_of};
use super::{VARIABLE_PREFIX, parse::Parsed};
use crate::yaml::Entry;

/// Reads the settings of one program, key by key.
#[derive(Debug)]
pub struct Reader {
    sources: Sources,
    asked: Vec<String>,
    complaints: Vec<Complaint>,
}

impl Reader {
    /// A reader of `sources`, whose own complaints (a file that is no YAML) it takes over.
    pub fn new(mut sources: Sources) -> Self {
        let complaints = std::mem::take(&mut sources.complaints);
        Self { sources, asked: Vec::new(), complaints }
    }

    /// The value of a key that must be given. `None` after a complaint.
    pub fn required<T>(&mut self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        let found = self.ask(key);
        if found.is_none() {
            let rule = format!(
                "is missing: set it in the settings file, as {} or as {}",
                variable_of(key),
                flag_of(key)
            );
            self.complaints.push(Complaint { origin: Origin::Nowhere, subject: key.to_owned(), rule });
        }
        self.single(&found?, parse)
    }

    /// The value of a key that may be left out. `None` also after a complaint.
    pub fn optional<T>(&mut self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        let found = self.ask(key)?;
        self.single(&found, parse)
    }

    /// The value of a key, or `default` where it is left out (or bad, after a complaint).
    pub fn or<T>(&mut self, key: &str, parse: impl Fn(&str) -> Parsed<T>, default: T) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// The values of a key that takes several: a list or a mapping (as `key=value` each) in the file, a text with commas
    /// elsewhere. Empty where it is left out. Each bad element is a complaint of its own.
    pub fn list<T>(&mut self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Vec<T> {
        let Some(found) = self.ask(key) else { return Vec::new() };
        let elements: Vec<(String, Origin)> = match &found.value {
            Value::Nothing => Vec::new(),
            Value::One(text) => {
                text.split(',').map(|part| (part.trim().to_owned(), found.origin.clone())).collect()
            }
            Value::Many(elements) => elements.clone(),
            Value::Nested(kind) => {
                self.complain(
                    &found,
                    &format!("must be a list of plain values, and an element of this {kind} is not"),
                );
                return Vec::new();
            }
        };
        let mut values = Vec::with_capacity(elements.len());
        for (element, origin) in elements {
            match parse(&element) {
                Ok(value) => values.push(value),
                Err(rule) => {
                    let subject = format!("{}={element}", found.written);
                    self.complaints.push(Complaint { origin, subject, rule });
                }
            }
        }
        values
    }

    /// Declares a key that somebody else reads, so that it is not called unknown.
    pub fn known(&mut self, key: &str) {
        self.asked.push(key.to_owned());
    }

    /// Complains about `key` unless `holds`; `rule` may name other keys by [`Reader::spelled`].
    pub fn check(&mut self, key: &str, holds: bool, rule: &str) {
        if holds {
            return;
        }
        match self.sources.find(key) {
            Some(found) => self.complain(&found, rule),
            None => {
                let subject = format!("{key} (not set)");
                self.complaints.push(Complaint { origin: Origin::Nowhere, subject, rule: rule.to_owned() });
            }
        }
    }

    /// The key as the user wrote it (`PENSTOCK_HEARTBEAT_MS`, `--heartbeat-ms`), or as in the file if it is not set.
    pub fn spelled(&self, key: &str) -> String {
        self.sources.find(key).map_or_else(|| key.to_owned(), |found| found.written)
    }

    /// Closes the reading: what `build` makes of the values, or every complaint, unknown keys included.
    ///
    /// # Panics
    /// If there is no complaint and `build` answers `None` all the same: then the program, not the user, is wrong.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<T, Complaints> {
        self.find_unknown_keys();
        self.find_misspelled_variables();
        if self.complaints.is_empty() {
            return Ok(build().expect("every getter that answers `None` for a required key has complained"));
        }
        self.complaints.sort_by(|a, b| a.origin.cmp(&b.origin));
        Err(Complaints(self.complaints))
    }

    fn ask(&mut self, key: &str) -> Option<Found> {
        self.asked.push(key.to_owned());
        self.sources.find(key)
    }

    fn single<T>(&mut self, found: &Found, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        let rule = match &found.value {
            Value::One(text) => match parse(text) {
                Ok(value) => return Some(value),
                Err(rule) => rule,
            },
            Value::Nothing => "has no value: give one, or take the key out".to_owned(),
            Value::Many(_) if found.origin == Origin::Flag => {
                "is given more than once: give it once".to_owned()
            }
            Value::Many(_) | Value::Nested(_) => "must be one value, not a list or a mapping".to_owned(),
        };
        self.complain(found, &rule);
        None
    }

    fn complain(&mut self, found: &Found, rule: &str) {
        let subject = match &found.value {
            Value::One(text) => format!("{}={text}", found.written),
            _ => found.written.clone(),
        };
        self.complaints.push(Complaint { origin: found.origin.clone(), subject, rule: rule.to_owned() });
    }

    /// Every key of the file that nobody asked for is a complaint.
    fn find_unknown_keys(&mut self) {
        let Some(file) = &self.sources.file else { return };
        let mut unknown = Vec::new();
        self.walk(&file.entries, "", &mut unknown);
        let complaints = unknown.into_iter().map(|(line, key)| {
            let rule = match nearest(&key, self.asked.iter().map(String::as_str)) {
                Some(near) => format!("is no key of this program; is `{near}` meant?"),
                None => format!("is no key of this program; it knows {}", self.asked.join(", ")),
            };
            Complaint::in_file(&file.name, line, &key, rule)
        });
        self.complaints.extend(complaints.collect::<Vec<_>>());
    }

    fn walk(&self, entries: &[Entry], prefix: &str, unknown: &mut Vec<(usize, String)>) {
        for entry in entries {
            let key = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
            let inside = format!("{key}.");
            if self.asked.contains(&key) {
                continue;
            }
            match entry.value.entries() {
                Some(children) if self.asked.iter().any(|asked| asked.starts_with(&inside)) => {
                    self.walk(children, &key, unknown);
                }
                _ => unknown.push((entry.position.line, key)),
            }
        }
    }

    /// A variable that nobody asked for is a complaint only if it is nearly one that was: Kubernetes puts variables of
    /// its own making beside ours (`PENSTOCK_CONTROL_PORT_4100_TCP` for a service of that name), and must not stop us.
    fn find_misspelled_variables(&mut self) {
        let known: Vec<String> = self.asked.iter().map(|key| variable_of(key)).collect();
        for (variable, value) in &self.sources.environment {
            if known.contains(variable) {
                continue;
            }
            let tail = |name: &str| name.trim_start_matches(VARIABLE_PREFIX).to_owned();
            let tails: Vec<String> = known.iter().map(|name| tail(name)).collect();
            if let Some(near) = nearest(&tail(variable), tails.iter().map(String::as_str)) {
                let rule = format!("is no setting of this program; is {VARIABLE_PREFIX}{near} meant?");
                let subject = format!("{variable}={value}");
                self.complaints.push(Complaint { origin: Origin::Environment, subject, rule });
            }
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
