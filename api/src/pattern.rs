//! Regular expressions of routes: the words of RE2 that Penstock's proxy, Envoy and gRPC all understand and mean the same by.
//!
//! Config compiles one to refuse it with its place, the proxy to match by it; both by this file, so that what is applied is what is
//! carried out. `\d`, `\s`, `\w` and `\b` are ASCII's, as in RE2. Matching never goes back in the text. What comes by the log is not
//! compiled: whether it can be must not depend on a node's program.

use regex_lite::{Regex, RegexBuilder};

/// Longest expression: as long as a path or a value may be for Gateway API.
const TEXT_BYTES_MAX: usize = 1024;

/// Most bytes of a compiled expression. More: what is made of such as `(.*a){200}` takes a worker tenths of a second for one long text. Less: a
/// list of some dozen names would not fit.
const COMPILED_BYTES_MAX: usize = 32 << 10;

/// Longest text that one is asked of; a longer one matches none. Longer: the worst expression that may be written (`(.*a){170}`) takes longer than some
/// 65 ms for it, and a usual one than some microseconds. Shorter: paths and cookies that servers take would not be found.
const MATCHED_BYTES_MAX: usize = 4 << 10;

/// Most times that RE2 repeats anything, repetitions of repetitions multiplied.
const REPEATS_MAX: u32 = 1_000;

/// A regular expression that matches a text as a whole.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence that goes on after it.
    pub fn new(text: &str) -> Result<Self, String> {
        if let Some(fault) = pattern_text_fault(text) {
            return Err(fault.to_owned());
        }
        let built = |text: &str| {
            let built = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
            built.map_err(|error| format!("is no regular expression of RE2: {error}"))
        };
        // By itself first: `a)(b` would be one in the brackets.
        built(text)?;
        if let Some(fault) = foreign(text) {
            return Err(fault.to_owned());
        }
        built(&format!("^(?:{})$", with_spaces_of_re2(text))).map(Self)
    }

    /// Whether all of `text` matches. What is not UTF-8 or longer than 4 KiB never does.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        text.len() <= MATCHED_BYTES_MAX && std::str::from_utf8(text).is_ok_and(|text| self.0.is_match(text))
    }
}

/// What is wrong with the text of an expression before anybody reads it as one.
#[must_use]
pub(crate) fn pattern_text_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Some("must be 1 to 1024 bytes");
    }
    text.chars().any(char::is_control).then_some("must not hold control characters")
}

/// What is wrong in an expression that our engine takes and RE2 would refuse or read otherwise: an Envoy that is told one such route
/// refuses all of them.
fn foreign(text: &str) -> Option<&'static str> {
    let mut reading = Reading { rest: text, ..Reading::default() };
    while let Some(letter) = reading.letter() {
        if let Err(fault) = reading.after(letter) {
            return Some(fault);
        }
    }
    let folds = reading.folds && (!text.is_ascii() || text.contains("\\x"));
    folds.then_some("must hold no letters but ASCII's beside the flag i")
}

/// How far an expression is read that is known to be one, and how often what was read is repeated.
#[derive(Debug, Default)]
struct Reading<'t> {
    rest: &'t str,
    /// Per open group, what `most` was around it.
    outer: Vec<u32>,
    /// Most repetitions within the group that is read.
    most: u32,
    /// Of what a repetition would follow.
    last: u32,
    /// Whether that is a repetition itself.
    is_repeated: bool,
    /// Whether the flag `i` is anywhere.
    folds: bool,
}

impl Reading<'_> {
    fn letter(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    /// Goes on past what stands before `end`, and past that.
    fn past(&mut self, end: &str) -> &str {
        let (passed, rest) = self.rest.split_once(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        passed
    }

    /// Reads what `letter` begins.
    fn after(&mut self, letter: char) -> Result<(), &'static str> {
        match letter {
            '(' => return self.group(),
            '*' | '+' | '?' => return self.repetition(1),
            '{' => {
                let counted = self.past("}").split(',').filter(|count| !count.is_empty()).map(str::parse);
                let most =
                    counted.collect::<Result<Vec<u32>, _>>().ok().and_then(|counts| counts.into_iter().max());
                return self.repetition(most.ok_or("must count repetitions by plain digits")?);
            }
            '\\' => self.escape()?,
            '[' => self.class()?,
            _ => {}
        }
        // A closed group is repeated as a whole.
        self.last = if letter == ')' { self.most.max(1) } else { 1 };
        if letter == ')' {
            self.most = self.last.max(self.outer.pop().unwrap_or_default());
        }
        self.is_repeated = false;
        Ok(())
    }

    fn repetition(&mut self, times: u32) -> Result<(), &'static str> {
        if self.is_repeated {
            return Err("must not repeat what is repeated already: put it in brackets");
        }
        self.last = self.last.saturating_mul(times.max(1));
        self.most = self.most.max(self.last);
        if self.last > REPEATS_MAX {
            return Err("must not repeat anything more than 1000 times");
        }
        // Which takes as little as it can.
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        self.is_repeated = true;
        Ok(())
    }

    fn group(&mut self) -> Result<(), &'static str> {
        if let Some(rest) = self.rest.strip_prefix("?P<") {
            self.rest = rest;
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            if !self.past(">").chars().all(is_plain) {
                return Err("must name groups by letters of ASCII, digits and '_'");
            }
        } else if let Some(rest) = self.rest.strip_prefix('?') {
            let flags = &rest[..rest.find([':', ')', '<']).unwrap_or(rest.len())];
            if rest.starts_with('<') {
                return Err("must name groups by (?P<name>...)");
            }
            if flags.contains(|flag| !"imsU-".contains(flag)) {
                return Err("must use no flags but RE2's: i, m, s, U");
            }
            self.folds |= flags.contains('i');
            self.rest = &rest[flags.len()..];
            if self.letter() == Some(')') {
                // Flags alone open no group.
                return Ok(());
            }
        }
        self.outer.push(std::mem::take(&mut self.most));
        Ok(())
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        match self.letter() {
            Some('u' | 'U' | '<' | '>' | '_') => Err("must not hold an escape that RE2 does not know"),
            Some('b') if self.rest.starts_with('{') => Err("must not hold an escape that RE2 does not know"),
            _ => Ok(()),
        }
    }

    /// To the end of a class of letters.
    fn class(&mut self) -> Result<(), &'static str> {
        self.rest = self.rest.strip_prefix('^').unwrap_or(self.rest);
        // A bracket that comes first closes nothing.
        if let Some(rest) = self.rest.strip_prefix(']') {
            self.rest = rest;
            if rest.starts_with('-') && !rest.starts_with("-]") {
                return Err("must write \\] for a bracket that a range begins with");
            }
        }
        while let Some(letter) = self.letter().filter(|letter| *letter != ']') {
            match letter {
                '\\' => self.escape()?,
                '[' => {
                    self.past(":]");
                }
                '-' if self.rest.starts_with('-') => {
                    return Err("must not hold -- within a class: write \\-");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `text`, in which `\s` and `\S` mean what they do in RE2, to which a vertical tab is no space. Within a class they are put so that
/// what follows begins no range with their last letter.
fn with_spaces_of_re2(text: &str) -> String {
    let (mut written, mut letters, mut is_class) = (String::with_capacity(text.len()), text.chars(), false);
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match (letters.next(), is_class) {
                (Some('s'), false) => written.push_str("[ \\t\\n\\f\\r]"),
                (Some('S'), false) => written.push_str("[^ \\t\\n\\f\\r]"),
                (Some('s'), true) => written.push_str("\\n\\f\\r[:blank:]"),
                (Some('S'), true) => {
                    written.push_str("\\x00-\\x08\\x0B\\x0E-\\x1F!-\\x{10FFFF}[:alpha:]");
                }
                (escaped, _) => written.extend(std::iter::once(letter).chain(escaped)),
            },
            '[' if is_class => {
                // The name of a class within it.
                let (name, rest) = letters.as_str().split_once(":]").unwrap_or((letters.as_str(), ""));
                written.extend(["[", name, ":]"]);
                letters = rest.chars();
            }
            '[' => {
                is_class = true;
                let rest = letters.as_str();
                let begun = rest.strip_prefix('^').unwrap_or(rest);
                // A bracket that comes first closes nothing.
                let begun = begun.strip_prefix(']').unwrap_or(begun);
                written.extend(["[", &rest[..rest.len() - begun.len()]]);
                letters = begun.chars();
            }
            _ => {
                is_class &= letter != ']';
                written.push(letter);
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_text_matches_as_a_whole_and_classes_are_ascii() {
        for (pattern, text, expected) in [
            ("/api/v[0-9]+/.*", "/api/v12/x", true),
            ("/api/v[0-9]+/.*", "/api/v/x", false),
            ("a|bc", "bc", true),
            ("a|bc", "abc", false),
            ("b", "abc", false),
            ("^b$", "b", true),
            (r"\d+", "17", true),
            (r"\d", "\u{0663}", false),
            ("(?i)canary", "CANARY", true),
            ("[[:alpha:]]+", "abc", true),
            (r"[]a]\.", "].", true),
            (".*", "", true),
            ("(a{10}){50}", "a", false),
            ("((?i)a*?|b+)*", "aABb", true),
            ("(?P<n_1>a)(?-i:b){2,}", "abb", true),
            (r"[^]a\]-]+[[:digit:]-]", "xyz-", true),
            (r"\s+", "\t\n\u{c}\r ", true),
            (r"\s", "\u{b}", false),
            (r"\S", "\u{b}", true),
            (r"[^]\s]", "\u{b}", true),
            (r"[\s-]+", "-\t ", true),
            (r"[\s-]", "^", false),
            (r"[[:digit:]\S]+", "\u{b}\u{e9}1a-", true),
            (r"[\S-]", " ", false),
            (r"[^\S]\\s", r" \s", true),
            ("[[:space:]]", "\u{b}", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text.as_bytes()), expected, "{pattern} {text}");
        }
        let any = Pattern::new(".*").unwrap();
        assert!(!any.matches(b"\xff"));
        assert!(any.matches(&[b'a'; 4 << 10]) && !any.matches(&[b'a'; (4 << 10) + 1]));
    }

    /// Four thousand letters: an engine that goes back would not be done in this world.
    #[test]
    fn no_expression_takes_more_time_than_the_text_is_long() {
        let text = "a".repeat(4_000);
        for pattern in ["(a*)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)b", "a?a?a?a?a?a?a?a?a?a?a?a?a{12}b"] {
            assert!(!Pattern::new(pattern).unwrap().matches(text.as_bytes()), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_expression_of_re2_or_too_large_is_refused_in_words() {
        for (pattern, told) in [
            ("", "must be 1 to 1024 bytes"),
            ("a\nb", "must not hold control characters"),
            ("(a", "is no regular expression of RE2: "),
            ("a)(b", "is no regular expression of RE2: "),
            ("*", "is no regular expression of RE2: "),
            ("(?=a)", "is no regular expression of RE2: "),
            (r"(a)\1", "is no regular expression of RE2: "),
            ("((a{100}){100}){100}", "is no regular expression of RE2: "),
            ("(?x)a b", "must use no flags but RE2's: i, m, s, U"),
            ("[a-z&&[^b]]", "is no regular expression of RE2: "),
            ("[a[b]]", "is no regular expression of RE2: "),
            ("[]-a]", r"must write \] for a bracket that a range begins with"),
            ("[--a]", r"must not hold -- within a class: write \-"),
            (r"\u{61}", "must not hold an escape that RE2 does not know"),
            (r"[\_]", "must not hold an escape that RE2 does not know"),
            (r"\b{start}a", "must not hold an escape that RE2 does not know"),
            ("(?<n>a)", "must name groups by (?P<name>...)"),
            ("(?P<a.b>a)", "must name groups by letters of ASCII, digits and '_'"),
            ("a**", "must not repeat what is repeated already: put it in brackets"),
            ("(?:a{0}){1001}", "must not repeat anything more than 1000 times"),
            ("(?:(?:b{0}){2}){501}", "must not repeat anything more than 1000 times"),
            ("a{1, 2}", "must count repetitions by plain digits"),
            ("(?i)\u{e9}", "must hold no letters but ASCII's beside the flag i"),
        ] {
            let refused = Pattern::new(pattern).unwrap_err();
            assert!(refused.starts_with(told), "{pattern}: {refused}");
        }
    }
}
