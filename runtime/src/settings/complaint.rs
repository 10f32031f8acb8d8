//! What is wrong with one setting, and all of them together, in the words that the operator sees.
//!
//! Made by the reader of settings (also by `control/src/config` for documents, which have a file and a line too), printed
//! by `main`. Must name the key as the user wrote it, its value, the rule, and the reason.

use std::fmt;

/// Where a raw value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A line of the settings file.
    File { name: String, line: usize },
    /// A variable of the environment.
    Environment,
    /// A flag of the command line.
    Flag,
    /// Nowhere: the key is missing, or stands at its default.
    Nowhere,
}

/// One bad setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub(super) origin: Origin,
    /// The key as written, and `=value` if there is one.
    pub(super) subject: String,
    pub(super) rule: String,
}

impl Complaint {
    /// A complaint about the line of a file.
    pub(super) fn in_file(name: &str, line: usize, subject: &str, rule: impl Into<String>) -> Self {
        Self {
            origin: Origin::File { name: name.to_owned(), line },
            subject: subject.to_owned(),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Origin::File { name, line } = &self.origin {
            match line {
                0 => write!(f, "{name}: ")?,
                line => write!(f, "{name}:{line}: ")?,
            }
        }
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        f.write_str(&self.rule)
    }
}

/// Every bad setting of one start: file first, by line, then the environment, flags, and what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaints(pub(super) Vec<Complaint>);

impl Complaints {
    /// Each complaint, in the order in which they are shown. Never empty.
    pub fn iter(&self) -> impl Iterator<Item = &Complaint> {
        self.0.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "one setting cannot be used:")?,
            count => write!(f, "{count} settings cannot be used:")?,
        }
        self.0.iter().try_for_each(|complaint| write!(f, "\n  {complaint}"))
    }
}

impl std::error::Error for Complaints {}

/// The known word nearest to `word`, if it is near enough to be what was meant (about one slip in four letters).
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (word.chars().count() / 4).clamp(1, 4);
    known
        .map(|known| (slips(word, known), known))
        .filter(|(slips, _)| *slips <= limit)
        .min()
        .map(|(_, known)| known)
}

/// Letters to add, drop, change or swap with a neighbour to turn `a` into `b` (optimal string alignment distance).
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_count_added_dropped_changed_and_swapped_letters() {
        for (a, b, expected) in
            [("listen", "listen", 0), ("lisen", "listen", 1), ("lsiten", "listen", 1), ("", "ab", 2)]
        {
            assert_eq!(slips(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let known = ["listen", "peers", "data_directory"];
        assert_eq!(nearest("data_dirctory", known.into_iter()), Some("data_directory"));
        assert_eq!(nearest("peer", known.into_iter()), Some("peers"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }

    #[test]
    fn complaints_are_counted_and_listed_one_a_line() {
        let first = Complaint::in_file("a.yaml", 3, "port=0", "must be from 1 to 65535");
        let second =
            Complaint { origin: Origin::Nowhere, subject: "listen".into(), rule: "is missing".into() };
        let shown = Complaints(vec![first, second]).to_string();
        assert_eq!(
            shown,
            "2 settings cannot be used:\n  a.yaml:3: port=0: must be from 1 to 65535\n  listen: is missing"
        );
    }
}
