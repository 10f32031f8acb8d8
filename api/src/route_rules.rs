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

/// Most mirrors of a rule: each copies every request of its share.
pub const MIRRORS_MAX: usize = 4;
/// Delays that a fault may inject, in milliseconds: at most ten minutes, beyond which no caller waits.
pub const FAULT_DELAY_MS: std::ops::RangeInclusive<u64> = 1..=600_000;
/// Headers that are the proxy's own to set: they frame the message, name whom it is for or where it comes from, or belong to
/// one connection. A host is changed by a rewrite.
const OWN_HEADERS: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "grpc-timeout",
];

/// Longest path of a match (Gateway API).
const PATH_BYTES_MAX: usize = 1024;
/// Longest name of a gRPC service or method in a match (Gateway API).
const GRPC_NAME_BYTES_MAX: usize = 1024;
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

/// What is wrong with the name of a gRPC service in a match, if anything (Gateway API `GRPCMethodMatch`): Protobuf's
/// identifiers with dots between them.
#[must_use]
pub fn grpc_service_fault(name: &str) -> Option<&'static str> {
    let fits = name.len() <= GRPC_NAME_BYTES_MAX && name.split('.').all(is_identifier);
    (!fits)
        .then_some("must be a service of gRPC: letters, digits and '_' with dots between them, at most 1024")
}

/// What is wrong with the name of a gRPC method in a match, if anything: an identifier of Protobuf.
#[must_use]
pub fn grpc_method_fault(name: &str) -> Option<&'static str> {
    let fits = name.len() <= GRPC_NAME_BYTES_MAX && is_identifier(name);
    (!fits).then_some("must be a method of gRPC: letters, digits and '_', at most 1024, no digit first")
}

fn is_identifier(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What is wrong with the name of a header that a filter changes, if anything.
#[must_use]
pub fn changed_header_fault(name: &str) -> Option<&'static str> {
    if let Some(fault) = header_name_fault(name) {
        return Some(fault);
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("must be lower case");
    }
    if OWN_HEADERS.contains(&name) || name.starts_with("penstock-") {
        return Some("is the proxy's own, which no filter changes");
    }
    None
}

/// What is wrong with a host, without a port, if anything (RFC 1123, section 2.1).
#[must_use]
pub fn host_fault(host: &str) -> Option<&'static str> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let fits = host.len() <= 253 && host.split('.').all(label);
    (!fits).then_some("must be a host: labels of a-z, 0-9 and '-' with dots between them, and no port")
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
    fn no_filter_changes_a_header_that_is_the_proxys_own() {
        assert_eq!(changed_header_fault("x-mine"), None);
        for own in ["host", "content-length", "te", "penstock-caller", "X-Mine", ""] {
            assert!(changed_header_fault(own).is_some(), "{own}");
        }
        assert_eq!(host_fault("a.b-c.example"), None);
        for bad in ["", "a..b", "-a", "A", "a:80", "a b", "ä"] {
            assert!(host_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_call_is_named_by_identifiers_of_protobuf() {
        for good in ["Carts", "shop.v1.Carts", "_a.B_2"] {
            assert_eq!(grpc_service_fault(good), None, "{good}");
        }
        for bad in ["", ".", "a..b", "a/b", "1a", "a b", "ä", "shop.v1."] {
            assert!(grpc_service_fault(bad).is_some(), "{bad}");
            assert!(grpc_method_fault(bad).is_some(), "{bad}");
        }
        assert_eq!(grpc_method_fault("Add_2"), None);
        assert!(grpc_method_fault("a.b").is_some() && grpc_method_fault(&"a".repeat(1025)).is_some());
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
