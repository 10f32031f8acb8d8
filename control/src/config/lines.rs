//! Lines of YAML for what is rendered. Text is written in JSON's double quotes where YAML could read it as something else,
//! so that no value changes its meaning.

use std::fmt::Write;

use super::check::Kind;

/// Lines of YAML, each at its depth.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
    pub(super) depth: usize,
    /// The next line is the first of a list's item.
    pub(super) item: bool,
}

impl Lines {
    pub(super) fn line(&mut self, line: &str) {
        let indent = "  ".repeat(self.depth);
        if std::mem::take(&mut self.item) {
            let outer = "  ".repeat(self.depth.saturating_sub(1));
            writeln!(self.text, "{outer}- {line}").expect("a string grows as needed");
        } else {
            writeln!(self.text, "{indent}{line}").expect("a string grows as needed");
        }
    }

    pub(super) fn under(&mut self, key: &str, inner: impl FnOnce(&mut Self)) {
        self.line(&format!("{key}:"));
        self.depth += 1;
        inner(self);
        self.depth -= 1;
    }

    pub(super) fn list<T>(&mut self, key: &str, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        if items.is_empty() {
            return;
        }
        self.line(&format!("{key}:"));
        self.depth += 1;
        for item in items {
            self.item = true;
            each(self, item);
        }
        self.depth -= 1;
    }
}

/// `text` so that YAML reads it as this text: bare where nothing else is possible, else in double quotes.
pub(super) fn quoted(text: &str) -> String {
    let bare = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-./".contains(&byte))
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text)
        && text.parse::<f64>().is_err();
    if bare {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            // What YAML does not take as it is, or folds: controls, and Unicode's own line breaks and byte order mark.
            char if char.is_control() || ['\u{2028}', '\u{2029}', '\u{feff}'].contains(&char) => {
                write!(quoted, "\\u{:04x}", u32::from(char)).expect("a string grows as needed");
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

pub(super) fn head(lines: &mut Lines, kind: Kind, name: &str, namespace: &str) {
    lines.line(&format!("apiVersion: {}", kind.api_version()));
    lines.line(&format!("kind: {}", kind.as_str()));
    lines.under("metadata", |lines| {
        lines.line(&format!("name: {}", quoted(name)));
        lines.line(&format!("namespace: {}", quoted(namespace)));
    });
}
