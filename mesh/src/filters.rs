//! What a rule does to the requests it takes, beside sending them on: Gateway API's filters.

use crate::name::Authority;

/// Everything that the filters of one rule do. Nothing, as a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters {
    /// To the request's headers.
    pub request_headers: HeaderChanges,
    /// To the answer's headers.
    pub response_headers: HeaderChanges,
    /// The request is answered with this, and goes nowhere.
    pub redirect: Option<Redirect>,
    /// The endpoint sees this host instead of the one asked for.
    pub host: Option<String>,
    /// The endpoint sees this path.
    pub path: Option<PathChange>,
    /// Copies go there too; their answers are dropped.
    pub mirrors: Vec<Mirror>,
}

impl Filters {
    /// Whether they do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes of headers, in this order: taken away, set, added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderChanges {
    /// Names, lower case.
    pub remove: Vec<String>,
    /// Names, lower case, and the values that replace whatever is there.
    pub set: Vec<(String, String)>,
    /// Names, lower case, and values beside whatever is there.
    pub add: Vec<(String, String)>,
}

impl HeaderChanges {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// How a path changes; the query stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChange {
    /// The whole path becomes this.
    Full(String),
    /// The prefix that the rule matched becomes this, in whole elements.
    Prefix(String),
}

impl PathChange {
    /// The path that `path` becomes, when the rule matched its prefix `matched`.
    #[must_use]
    pub fn applied(&self, path: &str, matched: &str) -> String {
        match self {
            Self::Full(full) => full.clone(),
            Self::Prefix(prefix) => {
                let rest = path.strip_prefix(matched.trim_end_matches('/')).unwrap_or(path);
                let rest = rest.trim_start_matches('/');
                let prefix = prefix.trim_end_matches('/');
                match (prefix.is_empty(), rest.is_empty()) {
                    (true, true) => "/".to_owned(),
                    (false, true) => prefix.to_owned(),
                    (_, false) => format!("{prefix}/{rest}"),
                }
            }
        }
    }
}

/// An answer that sends the caller elsewhere. What is `None` stays as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host, without port.
    pub host: Option<String>,
    /// The port; with a scheme and without this, the scheme's own.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Redirect {
    /// Status where none is stated (Gateway API).
    pub const DEFAULT_STATUS: u16 = 302;
    /// Statuses that it may have, as Envoy has a word for.
    pub const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
}

/// Where copies of a rule's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The service and port.
    pub authority: Authority,
    /// How many of a million requests are copied.
    pub millionths: u32,
}

impl Mirror {
    /// Every request.
    pub const ALL: u32 = 1_000_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_in_whole_elements_and_a_full_path_whatever_was_there() {
        for (matched, replacement, path, expected) in [
            ("/foo", "/bar", "/foo", "/bar"),
            ("/foo", "/bar", "/foo/", "/bar"),
            ("/foo", "/bar", "/foo/x/y", "/bar/x/y"),
            ("/foo/", "/bar/", "/foo/x", "/bar/x"),
            ("/foo", "/", "/foo/x", "/x"),
            ("/foo", "/", "/foo", "/"),
            ("/", "/bar", "/x", "/bar/x"),
            ("/", "/bar", "/", "/bar"),
        ] {
            let change = PathChange::Prefix(replacement.to_owned());
            assert_eq!(change.applied(path, matched), expected, "{matched} to {replacement}: {path}");
        }
        assert_eq!(PathChange::Full("/z".to_owned()).applied("/a/b", "/a"), "/z");
    }
}
