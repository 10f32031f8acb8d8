//! What a route may say, after Gateway API v1's HTTPRoute: bounds, paths, headers, methods. Shared by the conversions
//! from the wire and by the check of YAML documents, so that both refuse the same.

/// Most parents of a route (Gateway API `parentRefs`).
pub const PARENTS_MAX: usize = 32;
/// Most rules of a route (Gateway API `rules`).
pub const RULES_MAX: usize = 16;
/// Most matches of a rule (Gateway API `matches`).
pub const MATCHES_MAX: usize = 64;
/// Most matches of a route, all rules together (Gateway API).
pub const ROUTE_MATCHES_MAX: usize = 128;
/// Most headers of a match (Gateway API `headers`).
pub const HEADERS_MAX: usize = 16;
/// Most backends of a rule (Gateway API `backendRefs`).
pub const BACKENDS_MAX: usize = 16;
/// Largest weight of a backend (Gateway API `weight`).
pub const BACKEND_WEIGHT_MAX: u32 = 1_000_000;
/// Longest request timeout, a day: what is longer is a mistake, and no timeout is said by leaving it out.
pub const TIMEOUT_MS_MAX: u64 = 24 * 3600 * 1000;
/// Methods that a match may name (Gateway API `HTTPMethod`).
pub const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Longest path of a match (Gateway API).
const PATH_BYTES_MAX: usize = 1024;
/// Longest header name of a match (Gateway API).
const HEADER_NAME_BYTES_MAX: usize = 256;
/// Longest header value of a match (Gateway API).
const HEADER_VALUE_BYTES_MAX: usize = 4096;

/// What is wrong with the path of a match, if anything. Paths that a proxy would normalise away can never match.
#[must_use]
pub fn path_fault(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("must begin with '/'");
    }
    if path.len() > PATH_BYTES_MAX {
        return Some("must be at most 1024 bytes");
    }
    let lower = path.to_ascii_lowercase();
    if path.contains("//") || lower.contains("%2f") {
        return Some("must not hold '//' or an encoded '/' (%2f)");
    }
    if path.split('/').any(|element| element == "." || element == "..") {
        return Some("must not hold the elements '.' or '..'");
    }
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => (0..2).all(|_| bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !fits {
            return Some(
                "must hold only what a path may: letters, digits, -._~!$&'()*+,;=:@/ and %xx (no query)",
            );
        }
    }
    None
}

/// What is wrong with the name of a header in a match, if anything. A token of RFC 9110, section 5.6.2.
#[must_use]
pub fn header_name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > HEADER_NAME_BYTES_MAX {
        return Some("must be 1 to 256 bytes");
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(token) {
        return Some("must be a header's name: letters, digits and !#$%&'*+-.^_`|~");
    }
    None
}

/// What is wrong with the value of a header in a match, if anything.
#[must_use]
pub fn header_value_fault(value: &str) -> Option<&'static str> {
    if value.is_empty() || value.len() > HEADER_VALUE_BYTES_MAX {
        return Some("must be 1 to 4096 bytes");
    }
    if value.chars().any(|char| char.is_control() && char != '\t') {
        return Some("must not hold control characters");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_a_request_can_have_after_normalisation() {
        for good in ["/", "/a", "/a/b.c/", "/a%20b", "/~u/(x)", "/a.b..c"] {
            assert_eq!(path_fault(good), None, "{good}");
        }
        for bad in ["", "a", "/a//b", "/a/../b", "/.", "/a?b=c", "/a b", "/%2Fb", "/%zz", "/%2", "/ä", "/a#b"]
        {
            assert!(path_fault(bad).is_some(), "{bad}");
        }
        assert!(path_fault(&format!("/{}", "a".repeat(1024))).is_some());
    }

    #[test]
    fn a_header_is_named_by_a_token_and_has_a_printable_value() {
        assert_eq!(header_name_fault("X-Canary_1"), None);
        for bad in ["", "a b", "a:", "ä"] {
            assert!(header_name_fault(bad).is_some(), "{bad}");
        }
        assert_eq!(header_value_fault("a b"), None);
        assert!(header_value_fault("").is_some() && header_value_fault("a\r\nb").is_some());
    }
}
