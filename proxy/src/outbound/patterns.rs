//! The regular expressions of a target's rules, compiled once when the target is made, and asked in the order of the rules. Each
//! worker has its own: a shared one would be waited for.

use api::Pattern;
use mesh::{MatchKind, PathMatch, RouteMatch, RouteRule};

/// Of all rules of a target; no memory where none has any.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<Vec<OfMatch>>);

/// Of one match: in the place of each path, header and parameter, where that is matched by one.
#[derive(Debug, Default)]
pub(super) struct OfMatch {
    pub(super) path: Option<Pattern>,
    pub(super) headers: Vec<Option<Pattern>>,
    pub(super) query: Vec<Option<Pattern>>,
}

impl Patterns {
    /// Compiles those of `rules`. One that cannot be was refused where the rules were read, and matches nothing here.
    pub(super) fn of(rules: &[RouteRule]) -> Self {
        if rules.iter().flat_map(|rule| &rule.matches).all(|one| one.expressions() == 0) {
            return Self::default();
        }
        Self(rules.iter().map(|rule| rule.matches.iter().map(OfMatch::of).collect()).collect())
    }

    /// Those of one match of one rule.
    pub(super) fn of_match(&self, rule: usize, at: usize) -> Option<&OfMatch> {
        self.0.get(rule)?.get(at)
    }
}

impl OfMatch {
    fn of(one: &RouteMatch) -> Self {
        let value =
            |kind, text: &str| (kind == MatchKind::Pattern).then(|| Pattern::new(text).ok()).flatten();
        Self {
            path: match &one.path {
                Some(PathMatch::Pattern(pattern)) => Pattern::new(pattern).ok(),
                _ => None,
            },
            headers: one.headers.iter().map(|header| value(header.kind, &header.value)).collect(),
            query: one.query.iter().map(|query| value(query.kind, &query.value)).collect(),
        }
    }
}
