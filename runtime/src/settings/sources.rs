//! The raw settings of one start, each value with its origin: flags before the environment before the file.
//!
//! Filled by `main`, asked by [`Reader`](super::Reader). Holds text only: it must never decide what a value means.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::VARIABLE_PREFIX;
use super::complaint::{Complaint, Origin};
use crate::yaml::{self, Content, Entry, Node};

/// Largest settings file read. A real one has some kilobytes; more is another file given by mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything that was said about settings before any of it is understood.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub(super) file: Option<SettingsFile>,
    /// By variable, without those that are empty.
    pub(super) environment: BTreeMap<String, String>,
    /// By key, in the order given.
    pub(super) flags: BTreeMap<String, Vec<String>>,
    pub(super) complaints: Vec<Complaint>,
}

/// The parsed settings file.
#[derive(Debug, Clone)]
pub(super) struct SettingsFile {
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
}

/// The raw value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The key as the user wrote it: `listen`, `PENSTOCK_LISTEN` or `--listen`.
    pub(super) written: String,
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// One text, or several where the user wrote a list (or a mapping, as `key=value` each) or repeated a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Nothing,
    One(String),
    Many(Vec<(String, Origin)>),
    /// Something deeper, with its kind in words.
    Nested(&'static str),
}

impl Sources {
    /// No settings at all: every key is missing or at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the text of a settings file; `name` is what complaints call it.
    #[must_use]
    pub fn with_file(mut self, name: &str, text: &str) -> Self {
        let parsed = yaml::parse(text);
        self.complaints.extend(
            parsed
                .faults
                .iter()
                .map(|fault| Complaint::in_file(name, fault.position.line, "", fault.what.as_str())),
        );
        let mut documents = parsed.documents.into_iter().filter(|node| node.content != Content::Null);
        let entries = match documents.next().map(|node| (node.position.line, node.content)) {
            None => Vec::new(),
            Some((_, Content::Map(entries))) => entries,
            Some((line, _)) => {
                let rule = "the file must be a mapping of keys to values, such as `listen: 127.0.0.1:4100`";
                self.complaints.push(Complaint::in_file(name, line, "", rule));
                Vec::new()
            }
        };
        if let Some(second) = documents.next() {
            let rule = "a settings file holds one document: take out the `---` and what follows, or merge it";
            self.complaints.push(Complaint::in_file(name, second.position.line, "", rule));
        }
        self.file = Some(SettingsFile { name: name.to_owned(), entries });
        self
    }

    /// Reads the settings file at `path`. A file that cannot be read is a complaint like any other.
    #[must_use]
    pub fn with_file_at(mut self, path: &Path) -> Self {
        let name = path.display().to_string();
        match read_bounded(path) {
            Ok(text) => self.with_file(&name, &text),
            Err(reason) => {
                let rule = format!("the settings file cannot be read: {reason}");
                self.complaints.push(Complaint::in_file(&name, 0, "", rule));
                self
            }
        }
    }

    /// Takes the variables that start with [`VARIABLE_PREFIX`], from `std::env::vars_os` or a test. An empty variable
    /// counts as not set, as charts and shells write it.
    #[must_use]
    pub fn with_environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<std::ffi::OsString>,
        V: Into<std::ffi::OsString>,
    {
        for (variable, value) in variables {
            let Ok(variable) = variable.into().into_string() else { continue };
            if !variable.starts_with(VARIABLE_PREFIX) {
                continue;
            }
            match value.into().into_string() {
                Ok(value) if value.is_empty() => {}
                Ok(value) => {
                    self.environment.insert(variable, value);
                }
                Err(_) => self.complaints.push(Complaint {
                    origin: Origin::Environment,
                    subject: variable,
                    rule: "must be UTF-8 text".to_owned(),
                }),
            }
        }
        self
    }

    /// Takes a flag that the command line carried, by its key in the file (`election_timeout_ms` for
    /// `--election-timeout-ms`); `None` is a flag that was not given. A flag given again adds to a list.
    #[must_use]
    pub fn with_flag(mut self, key: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.flags.entry(key.to_owned()).or_default().push(value.to_string());
        }
        self
    }

    /// What was said of `key`, by the strongest source.
    pub(super) fn find(&self, key: &str) -> Option<Found> {
        self.in_flags(key).or_else(|| self.in_environment(key)).or_else(|| self.in_file(key))
    }

    fn in_flags(&self, key: &str) -> Option<Found> {
        let values = self.flags.get(key)?;
        let value = match values.as_slice() {
            [one] => Value::One(one.clone()),
            many => Value::Many(many.iter().map(|value| (value.clone(), Origin::Flag)).collect()),
        };
        Some(Found { written: flag_of(key), origin: Origin::Flag, value })
    }

    fn in_environment(&self, key: &str) -> Option<Found> {
        let variable = variable_of(key);
        let value = Value::One(self.environment.get(&variable)?.clone());
        Some(Found { written: variable, origin: Origin::Environment, value })
    }

    fn in_file(&self, key: &str) -> Option<Found> {
        let file = self.file.as_ref()?;
        let mut entries = file.entries.as_slice();
        let mut parts = key.split('.').peekable();
        loop {
            let part = parts.next()?;
            let entry = entries.iter().find(|entry| entry.key == part)?;
            if parts.peek().is_none() {
                let origin = Origin::File { name: file.name.clone(), line: entry.position.line };
                return Some(Found {
                    written: key.to_owned(),
                    origin,
                    value: value_of(&entry.value, &file.name),
                });
            }
            entries = entry.value.entries()?;
        }
    }
}

/// `election_timeout_ms` as a flag.
pub(super) fn flag_of(key: &str) -> String {
    format!("--{}", key.replace(['_', '.'], "-"))
}

/// `election_timeout_ms` as a variable.
pub(super) fn variable_of(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace(['.', '-'], "_").to_uppercase())
}

fn value_of(node: &Node, name: &str) -> Value {
    let origin = |line: usize| Origin::File { name: name.to_owned(), line };
    let items: Option<Vec<(String, Origin)>> = match &node.content {
        Content::Null => return Value::Nothing,
        Content::Scalar { text, .. } => return Value::One(text.clone()),
        Content::List(items) => {
            items.iter().map(|item| Some((item.text()?.to_owned(), origin(item.position.line)))).collect()
        }
        Content::Map(entries) => entries
            .iter()
            .map(|entry| {
                Some((format!("{}={}", entry.key, entry.value.text()?), origin(entry.position.line)))
            })
            .collect(),
    };
    items.map_or(Value::Nested(node.kind()), Value::Many)
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes; is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on should panic
    use super::*;

    fn all() -> Sources {
        Sources::new()
            .with_file("c.yaml", "listen: file\nraft:\n  heartbeat_ms: 50\n")
            .with_environment([("PENSTOCK_LISTEN", "environment"), ("PATH", "/bin")])
            .with_flag("listen", Some("flag"))
    }

    #[test]
    fn flags_win_over_the_environment_and_the_environment_over_the_file() {
        let mut sources = all();
        assert_eq!(sources.find("listen").unwrap().written, "--listen");
        sources.flags.clear();
        assert_eq!(sources.find("listen").unwrap().written, "PENSTOCK_LISTEN");
        sources.environment.clear();
        let found = sources.find("listen").unwrap();
        assert_eq!((found.written.as_str(), found.value), ("listen", Value::One("file".into())));
    }

    #[test]
    fn a_dotted_key_is_nested_in_the_file_and_flat_elsewhere() {
        let found = all().find("raft.heartbeat_ms").unwrap();
        assert_eq!(found.origin, Origin::File { name: "c.yaml".into(), line: 3 });
        assert_eq!(variable_of("raft.heartbeat_ms"), "PENSTOCK_RAFT_HEARTBEAT_MS");
        assert_eq!(flag_of("raft.heartbeat_ms"), "--raft-heartbeat-ms");
    }

    #[test]
    fn other_programs_variables_and_empty_ones_are_not_taken() {
        let sources = Sources::new().with_environment([("PATH", "/bin"), ("PENSTOCK_LISTEN", "")]);
        assert!(sources.environment.is_empty());
    }

    #[test]
    fn a_file_that_is_missing_no_mapping_or_two_documents_is_a_complaint() {
        let missing = Sources::new().with_file_at(Path::new("/nowhere/control.yaml"));
        assert!(
            missing.complaints[0]
                .to_string()
                .starts_with("/nowhere/control.yaml: the settings file cannot be read")
        );
        let list = Sources::new().with_file("c.yaml", "- a\n");
        assert!(list.complaints[0].to_string().starts_with("c.yaml:1: the file must be a mapping"));
        let two = Sources::new().with_file("c.yaml", "a: 1\n---\nb: 1\n");
        assert!(two.complaints[0].to_string().starts_with("c.yaml:3: a settings file holds one document"));
    }
}
