//! YAML as a small tree in which every key and value knows its line and column.
//!
//! Stands before the settings reader and before `control`'s reading of `Service` and `HTTPRoute` documents, so that both
//! can name the place of each fault. Reads parser events in a loop and bounds depth and size itself: a tree built by
//! recursion overflows the stack on a file of 100,000 dashes. Must never guess a type: scalars stay the text that was
//! written (`1.10` stays `1.10`), and the reader of a field decides what it is.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Deepest nesting taken. Kubernetes documents reach about 15; more only costs stack when a tree is dropped or compared.
const DEPTH_MAX: usize = 64;
/// Most nodes taken from one text, aliases expanded. Fewer refuses real bundles of manifests; more lets a file of a few
/// kilobytes with nested aliases ("billion laughs") fill the memory.
const NODES_MAX: usize = 500_000;
/// Bytes of text that weigh as much as one more node when an anchor or an alias copies it.
const TEXT_BYTES_PER_NODE: usize = 64;

/// Where something stands in the text, both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character within the line.
    pub column: usize,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where the value starts.
    pub position: Position,
    /// What it is.
    pub content: Content,
}

/// What a value is, before anyone decided on its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// Text as written, with quotes and escapes resolved.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was quoted or a block, and so is text whatever it looks like.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the text. A key stands in it once.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key starts.
    pub position: Position,
    /// Its value.
    pub value: Node,
}

/// Something in the text that is no YAML, or YAML that is not taken here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {what}", position.line, position.column)]
pub struct Fault {
    /// Where.
    pub position: Position,
    /// What stands there and what to do.
    pub what: String,
}

/// What could be read, and every fault met on the way.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The documents, split at `---`. An empty document is a [`Content::Null`]. Where there is a fault, the document it
    /// is in is missing or lacks the faulty part.
    pub documents: Vec<Node>,
    /// The faults in the order of the text. Reading stops at the first that leaves the structure unknown.
    pub faults: Vec<Fault>,
}

impl Node {
    /// What the value is, in words for a message: "a mapping", "a list", "text", "nothing".
    pub fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Scalar { .. } => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    /// The text of a scalar, quoted or not.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value of an unquoted `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.plain()? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }

    /// The value of an unquoted decimal integer.
    pub fn integer(&self) -> Option<i64> {
        self.plain()?.parse().ok()
    }

    /// The elements of a list.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entry under `key`, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    fn plain(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, quoted: false } => Some(text),
            _ => None,
        }
    }

    /// How many collections stand inside of each other here.
    fn depth(&self) -> usize {
        match &self.content {
            Content::Null | Content::Scalar { .. } => 0,
            Content::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or_default(),
            Content::Map(entries) => {
                1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or_default()
            }
        }
    }

    /// Number of nodes in this tree, counted no further than just past `limit`. Long text counts as several, or aliases
    /// of one long text would fill the memory.
    fn size_up_to(&self, limit: usize) -> usize {
        let mut size = 1 + self.text().map_or(0, |text| text.len() / TEXT_BYTES_PER_NODE);
        let mut add = |child: &Node| {
            if size <= limit {
                size += child.size_up_to(limit - size.min(limit));
            }
        };
        match &self.content {
            Content::Null | Content::Scalar { .. } => {}
            Content::List(items) => items.iter().for_each(&mut add),
            Content::Map(entries) => entries.iter().for_each(|entry| add(&entry.value)),
        }
        size
    }
}

/// Reads every document of `text`. Never fails as a whole: what is wrong comes back in [`Parsed::faults`].
pub fn parse(text: &str) -> Parsed {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let taken = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let at = error.marker();
                let position = Position { line: at.line().max(1), column: at.col() + 1 };
                Err(Fault { position, what: format!("not valid YAML: {}", error.info()) })
            }
        };
        if let Err(fault) = taken {
            builder.parsed.faults.push(fault);
            break;
        }
    }
    builder.parsed
}

/// A collection that is still open.
enum Open {
    List { position: Position, anchor: usize, items: Vec<Node> },
    Map(MapSoFar),
}

struct MapSoFar {
    position: Position,
    anchor: usize,
    entries: Vec<Entry>,
    /// The key that waits for its value.
    key: Option<(String, Position)>,
    /// The line of each key so far. Looking through `entries` instead takes minutes for a file of 200,000 keys.
    lines: BTreeMap<String, usize>,
}

impl MapSoFar {
    /// Takes the waiting key's value, or the fault of a key that was there before.
    fn put(&mut self, (key, position): (String, Position), value: Node) -> Result<(), Fault> {
        if let Some(line) = self.lines.get(&key) {
            return Err(fault(
                position,
                format!("`{key}` stands twice in one mapping, first on line {line}: keep one"),
            ));
        }
        self.lines.insert(key.clone(), position.line);
        self.entries.push(Entry { key, position, value });
        Ok(())
    }
}

#[derive(Default)]
struct Builder {
    parsed: Parsed,
    open: Vec<Open>,
    /// The finished root of the current document.
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let position = Position { line: span.start.line().max(1), column: span.start.col() + 1 };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
            Event::DocumentEnd => {
                let root = self.root.take().unwrap_or(Node { position, content: Content::Null });
                self.parsed.documents.push(root);
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_own_tag(position, tag.as_deref());
                let forced = tag.is_some_and(|tag| tag.suffix == "str");
                let content = scalar(&text, forced || style != ScalarStyle::Plain);
                self.place(Node { position, content }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_own_tag(position, tag.as_deref());
                self.open(position, Open::List { position, anchor, items: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_own_tag(position, tag.as_deref());
                let map =
                    MapSoFar { position, anchor, entries: Vec::new(), key: None, lines: BTreeMap::new() };
                self.open(position, Open::Map(map))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { position, anchor, items }) => {
                    self.place(Node { position, content: Content::List(items) }, anchor)
                }
                Some(Open::Map(map)) => {
                    let node = Node { position: map.position, content: Content::Map(map.entries) };
                    self.place(node, map.anchor)
                }
                None => Err(fault(position, "not valid YAML: a collection ends that never began")),
            },
            Event::Alias(anchor) => self.expand(position, anchor),
        }
    }

    fn open(&mut self, position: Position, collection: Open) -> Result<(), Fault> {
        if self.open.len() == DEPTH_MAX {
            return Err(too_deep(position));
        }
        self.open.push(collection);
        Ok(())
    }

    fn expand(&mut self, position: Position, anchor: usize) -> Result<(), Fault> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(fault(
                position,
                "an alias to an anchor that is not complete yet: write the value out",
            ));
        };
        let budget = NODES_MAX.saturating_sub(self.nodes);
        let size = target.size_up_to(budget);
        if size > budget {
            return Err(too_large(position));
        }
        if self.open.len() + target.depth() > DEPTH_MAX {
            return Err(too_deep(position));
        }
        self.nodes += size;
        let node = Node { position, content: target.content.clone() };
        self.place(node, 0)
    }

    /// Puts a finished value where it belongs: as a key, under the waiting key, into the list, or as the root.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(too_large(node.position));
        }
        if anchor > 0 {
            self.nodes += node.size_up_to(NODES_MAX);
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map(map)) => match map.key.take() {
                None => map.key = Some((key_text(&node)?, node.position)),
                // The structure is still known: reading goes on after a key that stands twice.
                Some(key) => self.parsed.faults.extend(map.put(key, node).err()),
            },
        }
        Ok(())
    }

    fn refuse_own_tag(&mut self, position: Position, tag: Option<&Tag>) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            let what = format!("the tag `{}{}` means nothing here: take it out", tag.handle, tag.suffix);
            self.parsed.faults.push(Fault { position, what });
        }
    }
}

fn scalar(text: &str, quoted: bool) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" if !quoted => Content::Null,
        _ => Content::Scalar { text: text.to_owned(), quoted },
    }
}

fn key_text(node: &Node) -> Result<String, Fault> {
    node.text()
        .map(str::to_owned)
        .ok_or_else(|| fault(node.position, format!("a key must be text, and this is {}", node.kind())))
}

fn fault(position: Position, what: impl Into<String>) -> Fault {
    Fault { position, what: what.into() }
}

fn too_deep(position: Position) -> Fault {
    fault(
        position,
        format!("nested deeper than {DEPTH_MAX} levels, aliases expanded: no document here needs that"),
    )
}

fn too_large(position: Position) -> Fault {
    fault(position, format!("more than {NODES_MAX} values in one text, aliases expanded: split it"))
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
