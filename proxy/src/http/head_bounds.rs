//! How large the head of a message may be, by who sends it. What an application says is held to one bound on either side of the
//! mesh. What a proxy passes on may be larger by what it adds itself: a request that the caller's proxy took is never refused by
//! the callee's for that, and an answer that the callee's proxy took is never refused by the caller's. Pure.

use api::HEADERS_MAX;
use http::request;

/// Lines that a proxy adds of its own: who calls, a host where HTTP/1.0 names none or HTTP/2 names it otherwise, the framing of the
/// body, the trace, and what is left of gRPC's time. To an answer it adds two at most, its framing and what becomes of the connection.
const OWN_LINES: usize = 5;

/// Bytes that all of those may have; a host is at most some hundred, a path that a rule writes a thousand.
const OWN_BYTES: usize = 4 * 1024;

/// Bytes that the same lines may have more where they go on: HTTP/2 counts 32 for each beside its name and value, HTTP/1 four.
/// Filters of a rule have the rest of it.
const GROWN_BYTES: usize = 12 * 1024;

/// Bounds of one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadBounds {
    /// Most lines; over HTTP/2, fields.
    pub lines: usize,
    /// Most bytes; over HTTP/2, of the list as RFC 9113, section 6.5.2 counts them.
    pub bytes: usize,
}

impl HeadBounds {
    /// Of what applications send: of requests to the outbound side, and of answers to the inbound side. As many lines as hyper and Envoy
    /// take. Browsers and gRPC stay far below; larger only feeds memory to a hostile client.
    pub const OF_APPLICATIONS: Self = Self { lines: 100, bytes: 64 * 1024 };

    /// Of what proxies pass on: of requests to the inbound side, and of answers to the outbound side. A rule sets and adds as many
    /// headers as its filters may name.
    pub const OF_PROXIES: Self = Self {
        lines: Self::OF_APPLICATIONS.lines + OWN_LINES + 2 * HEADERS_MAX,
        bytes: Self::OF_APPLICATIONS.bytes + GROWN_BYTES + OWN_BYTES,
    };

    /// The bound on the list of HTTP/2.
    #[must_use]
    pub fn list_bytes(self) -> u32 {
        u32::try_from(self.bytes).expect("some ten thousand bytes fit 32 bits")
    }
}

/// Whether the next proxy will take what the filters of a rule made of a head, which may state far more bytes than it came with.
#[must_use]
pub fn can_go_on(parts: &request::Parts) -> bool {
    /// What HTTP/2 counts for a field beside its name and value.
    const FIELD_BYTES: usize = 32;
    let lines = parts.headers.iter();
    let lines: usize = lines.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum();
    let path = parts.uri.path_and_query().map_or(1, |path| path.as_str().len());
    let host = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    lines + path + host <= HeadBounds::OF_PROXIES.bytes - OWN_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use http::Request;

    use super::*;

    #[test]
    fn the_largest_head_that_is_taken_may_go_on_and_one_that_filters_blew_up_may_not() {
        let HeadBounds { lines, bytes } = HeadBounds::OF_APPLICATIONS;
        let head = |value: usize, path: usize| {
            let mut request = Request::get(format!("/{}", "p".repeat(path)));
            for number in 0..lines {
                request = request.header(format!("x-{number}"), "v".repeat(value));
            }
            request.body(()).unwrap().into_parts().0
        };
        // As HTTP/1 writes it: names of three or four bytes, a colon and the end of the line.
        let value = bytes / lines - 7;
        assert!(can_go_on(&head(value, 0)));
        assert!(can_go_on(&head(0, 60_000)));
        assert!(!can_go_on(&head(value + 150, 0)));
    }

    #[test]
    fn whatever_goes_on_counts_as_the_next_proxy_counts_it_and_leaves_room_for_our_own_lines() {
        let head = |value: usize, path: usize, host: usize| {
            let host = if host == 0 { String::new() } else { format!("http://{}", "h".repeat(host)) };
            let request = Request::get(format!("{host}/{}", "p".repeat(path)));
            request.header("x-0", "v".repeat(value)).body(()).unwrap().into_parts().0
        };
        // Beside the value: the line's name and the 32 bytes that HTTP/2 adds to it, and the path's first byte.
        let most = HeadBounds::OF_PROXIES.bytes - OWN_BYTES - 3 - 32 - 1;
        for (path, host) in [(0, 0), (1000, 0), (0, 253)] {
            assert!(can_go_on(&head(most - path - host, path, host)), "{path} {host}");
            assert!(!can_go_on(&head(most - path - host + 1, path, host)), "{path} {host}");
        }
    }
}
