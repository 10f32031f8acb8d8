//! The fields of one mapping of a document. Readers ask for the fields they know; what nobody asked for is a complaint,
//! with the nearest field that was meant. Every reader goes on after a complaint, so that all are told at once.

use std::ops::RangeInclusive;

use runtime::settings::nearest;
use runtime::yaml::{Content, Entry, Node, Position};

use super::complaints::Complaints;

/// Longest field name for which a near one is looked for: looking takes time and memory by its length.
const NEAR_BYTES_MAX: usize = 64;
/// By which YAML 1.1 copies the fields of another mapping; Kubernetes' tools take it.
const MERGE_KEY: &str = "<<";
/// Longest part of a value that a complaint repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// A mapping, the path to it, and the fields that were asked for.
pub(super) struct Fields<'a> {
    entries: &'a [Entry],
    pub(super) position: Position,
    path: String,
    known: Vec<&'static str>,
}

/// `value` for a complaint: in quotes and not too long.
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// The text that must stand at `path`. Numbers and truth values must be quoted, or Kubernetes would refuse them too.
pub(super) fn text_of<'a>(node: &'a Node, path: &str, complaints: &mut Complaints) -> Option<&'a str> {
    let Some(text) = node.text() else {
        complaints.add(node.position, path, format!("must be text, is {}", node.kind()));
        return None;
    };
    let plain = matches!(node.content, Content::Scalar { quoted: false, .. });
    if plain && (node.boolean().is_some() || text.parse::<f64>().is_ok_and(f64::is_finite)) {
        let begin: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        complaints.add(node.position, path, format!("must be text: put {begin} in quotes"));
        return None;
    }
    Some(text)
}

impl<'a> Fields<'a> {
    /// The mapping at `path`; a complaint and `None` if it is none.
    pub(super) fn of(node: &'a Node, path: &str, complaints: &mut Complaints) -> Option<Self> {
        let Some(entries) = node.entries() else {
            complaints.add(node.position, path, format!("must be a mapping, is {}", node.kind()));
            return None;
        };
        Some(Self { entries, position: node.position, path: path.to_owned(), known: Vec::new() })
    }

    /// The path of a field of this mapping.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field, unless it is left out or null.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        (entry.value.content != Content::Null).then_some(&entry.value)
    }

    /// Says that a field must be there.
    pub(super) fn missing(&self, name: &str, expected: &str, complaints: &mut Complaints) {
        complaints.add(self.position, &self.path(name), format!("is missing: {expected}"));
    }

    /// A field that is a mapping.
    pub(super) fn fields(&mut self, name: &'static str, complaints: &mut Complaints) -> Option<Fields<'a>> {
        let node = self.take(name)?;
        Fields::of(node, &self.path(name), complaints)
    }

    /// A field that is text, see [`text_of`].
    pub(super) fn text(
        &mut self,
        name: &'static str,
        complaints: &mut Complaints,
    ) -> Option<(&'a str, Position)> {
        let node = self.take(name)?;
        let text = text_of(node, &self.path(name), complaints)?;
        Some((text, node.position))
    }

    /// A field that is one of some words, each with what it means; `unstated` where it is left out, and none after a complaint.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        name: &'static str,
        unstated: T,
        words: &[(&str, T)],
        complaints: &mut Complaints,
    ) -> Option<T> {
        let Some(node) = self.take(name) else { return Some(unstated) };
        let text = text_of(node, &self.path(name), complaints)?;
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meant);
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let (last, others) = words.split_last()?;
        let message = format!("{} must be {} or {last}", shown(text), others.join(", "));
        complaints.add(node.position, &self.path(name), message);
        None
    }

    /// A field that is a whole number within a range.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
        complaints: &mut Complaints,
    ) -> Option<u32> {
        let node = self.take(name)?;
        let number = node.integer().and_then(|number| u32::try_from(number).ok());
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let rule = format!("must be a whole number from {} to {}", range.start(), range.end());
        let message = match &node.content {
            Content::Scalar { text, quoted: true } => format!("{} {rule}, without quotes", shown(text)),
            Content::Scalar { text, .. } => format!("{} {rule}", shown(text)),
            _ => format!("{rule}, is {}", node.kind()),
        };
        complaints.add(node.position, &self.path(name), message);
        None
    }

    /// A field that is a port.
    pub(super) fn port(&mut self, name: &'static str, complaints: &mut Complaints) -> Option<u16> {
        self.number(name, 1..=65_535, complaints).and_then(|port| u16::try_from(port).ok())
    }

    /// The items of a list, each with its path; none if it is left out. More than `max` are a complaint.
    pub(super) fn list(
        &mut self,
        name: &'static str,
        max: usize,
        complaints: &mut Complaints,
    ) -> Vec<(String, &'a Node)> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let path = self.path(name);
        let Some(items) = node.items() else {
            complaints.add(node.position, &path, format!("must be a list, is {}", node.kind()));
            return Vec::new();
        };
        if items.len() > max {
            complaints.add(
                node.position,
                &path,
                format!("must hold at most {max} items, holds {}", items.len()),
            );
            return Vec::new();
        }
        items.iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)).collect()
    }

    /// A field that may only say one thing, for instance `protocol: TCP`.
    pub(super) fn only(
        &mut self,
        name: &'static str,
        allowed: &[&str],
        why: &str,
        complaints: &mut Complaints,
    ) {
        if let Some((text, position)) = self.text(name, complaints)
            && !allowed.contains(&text)
        {
            let message = format!("{} is not supported: {why}", shown(text));
            complaints.add(position, &self.path(name), message);
        }
    }

    /// Fields that Kubernetes knows and that have no effect here.
    pub(super) fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend_from_slice(names);
    }

    /// Fields that Kubernetes knows and that are not supported: refused in words, not ignored.
    pub(super) fn refuse(&mut self, names: &[&'static str], why: &str, complaints: &mut Complaints) {
        for name in names {
            if let Some(entry) = self.entries.iter().find(|entry| entry.key == *name) {
                complaints.add(entry.position, &self.path(name), format!("is not supported yet: {why}"));
            }
        }
        self.known.extend_from_slice(names);
    }

    /// Complains of the fields that nobody asked for.
    pub(super) fn finish(self, complaints: &mut Complaints) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            if complaints.is_full() {
                complaints.add(entry.position, "", "");
                continue;
            }
            let near = (entry.key.len() <= NEAR_BYTES_MAX)
                .then(|| nearest(&entry.key, self.known.iter().copied()))
                .flatten();
            let message = match near {
                _ if entry.key == MERGE_KEY => {
                    "YAML's merge key is not taken: write the fields out".to_owned()
                }
                Some(near) => format!("is not a field here: did you mean `{near}`?"),
                None => "is not a field here".to_owned(),
            };
            let key: String = entry.key.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
            complaints.add(entry.position, &self.path(&key), message);
        }
    }
}
