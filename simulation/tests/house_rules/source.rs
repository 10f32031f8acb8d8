//! A Rust file as the house rules see it: code without comments and texts, and where its tests begin.
//!
//! Read by every rule. A scanner of characters, not a parser: it knows comments, texts, raw texts, characters and
//! lifetimes, which is enough to count braces and to tell an identifier from prose.

use std::path::Path;

/// One file, cut into lines.
pub(crate) struct Source {
    /// The path from the workspace's root, with `/`.
    pub(crate) path: String,
    /// The lines as written.
    pub(crate) lines: Vec<String>,
    /// The lines with comments and the inside of texts blanked out.
    pub(crate) code: Vec<String>,
    /// The lines with only comments blanked out.
    pub(crate) spoken: Vec<String>,
    /// Index of the first line of test code; the number of lines if there is none.
    pub(crate) tests_from: usize,
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) rule: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let code = blanked(text, true);
        let spoken = blanked(text, false);
        let tests_from = if is_test_file(path) { 0 } else { first_test_line(&code) };
        Self { path: path.to_owned(), lines, code, spoken, tests_from }
    }

    /// The violation of a rule at a line index of this file.
    pub(crate) fn violation(&self, index: usize, rule: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line: index + 1, rule: rule.into() }
    }

    /// Index and code of each line that is no test.
    pub(crate) fn own_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().take(self.tests_from).map(|(index, line)| (index, line.as_str()))
    }

    /// Index and spoken text of each line of test code.
    pub(crate) fn tested_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.spoken.iter().enumerate().skip(self.tests_from).map(|(index, line)| (index, line.as_str()))
    }
}

/// Every file below `root` that `wanted` names, by path from the root; build output and hidden folders are left out.
pub(crate) fn files_below(root: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') || name == ".ci" {
                    folders.push(path);
                }
            } else if wanted(&name) {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                let from_root = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.push((from_root, text));
            }
        }
    }
    found.sort();
    found
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("_tests.rs") || path.ends_with("/tests.rs")
}

fn first_test_line(code: &[String]) -> usize {
    let marked = code.iter().position(|line| line.trim_start().starts_with("#[cfg(test)]"));
    let is_module = |from: usize| code[from..].iter().take(4).any(|line| line.contains("mod "));
    marked.filter(|from| is_module(*from)).unwrap_or(code.len())
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Code,
    LineComment,
    BlockComment(usize),
    /// A text that ends at a quote with this many hashes; `None` is one with escapes.
    Text(Option<usize>),
}

/// The lines of `text` with comments blanked out, and the inside of texts too if `texts` says so.
fn blanked(text: &str, texts: bool) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut within = Within::Code;
    let mut at = 0;
    while at < chars.len() {
        let (next, length) = step(&chars, at, within);
        for (offset, char) in chars[at..at + length].iter().enumerate() {
            let hidden = match (within, next) {
                (Within::LineComment | Within::BlockComment(_), _)
                | (_, Within::LineComment | Within::BlockComment(_)) => true,
                (Within::Text(_), Within::Text(_)) => texts,
                _ => offset > 0 && length > 1 && chars[at] == '\'' && texts,
            };
            out.push(if hidden && *char != '\n' { ' ' } else { *char });
        }
        at += length;
        within = next;
    }
    out.lines().map(str::to_owned).collect()
}

/// Where the scanner is after the characters at `at`, and how many they are.
fn step(chars: &[char], at: usize, within: Within) -> (Within, usize) {
    let here =
        |text: &str| chars[at..].iter().zip(text.chars()).filter(|(a, b)| **a == *b).count() == text.len();
    match within {
        Within::LineComment if chars[at] == '\n' => (Within::Code, 1),
        Within::BlockComment(1) if here("*/") => (Within::Code, 2),
        Within::BlockComment(depth) if here("*/") => (Within::BlockComment(depth - 1), 2),
        Within::BlockComment(depth) if here("/*") => (Within::BlockComment(depth + 1), 2),
        Within::Text(None) if chars[at] == '\\' => (within, 2.min(chars.len() - at)),
        Within::Text(None) if chars[at] == '"' => (Within::Code, 1),
        Within::Text(Some(hashes)) if chars[at] == '"' && here(&format!("\"{}", "#".repeat(hashes))) => {
            (Within::Code, 1 + hashes)
        }
        Within::Code if here("//") => (Within::LineComment, 2),
        Within::Code if here("/*") => (Within::BlockComment(1), 2),
        Within::Code if chars[at] == '"' => (Within::Text(None), 1),
        Within::Code if chars[at] == 'r' && !follows_word(chars, at) => raw_text(chars, at),
        Within::Code if chars[at] == '\'' => (Within::Code, char_literal(chars, at)),
        _ => (within, 1),
    }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| chars[before]);
    before.is_some_and(|char| (char.is_alphanumeric() || char == '_') && char != 'b')
}

fn raw_text(chars: &[char], at: usize) -> (Within, usize) {
    let hashes = chars[at + 1..].iter().take_while(|char| **char == '#').count();
    match chars.get(at + 1 + hashes) {
        Some('"') => (Within::Text(Some(hashes)), 2 + hashes),
        _ => (Within::Code, 1),
    }
}

/// Length of the character literal at `at`; 1 for a lifetime.
fn char_literal(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            chars[at + 2..].iter().skip(1).position(|char| *char == '\'').map_or(1, |end| end + 4)
        }
        (Some(_), Some('\'')) => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_the_inside_of_texts_are_no_code() {
        let source = Source::new(
            "a/src/b.rs",
            "let a = \"{ fn\"; // }\n/* { /* { */ */ let b = r#\"\"{\"#;\nlet c = '{'; fn f<'a>() {}\nlet d = '\\'';{",
        );
        let braces: Vec<usize> = source.code.iter().map(|line| line.matches('{').count()).collect();
        assert_eq!(braces, [0, 0, 1, 1], "{:?}", source.code);
        assert!(source.spoken[0].contains("{ fn") && !source.spoken[0].contains("// }"));
    }

    #[test]
    fn code_of_tests_begins_at_the_test_module_or_is_the_whole_file() {
        assert_eq!(Source::new("a/src/b.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n").tests_from, 1);
        assert_eq!(
            Source::new("a/src/b.rs", "#[cfg(test)]\nfn only_in_tests() {}\nfn a() {}\n\n\n").tests_from,
            5
        );
        assert_eq!(Source::new("a/tests/b.rs", "fn a() {}\n").tests_from, 0);
    }
}
