//! Judges the first bytes of a connection. The same bytes get the same judgement in however many pieces they come, and
//! more bytes never change one that was given.

use super::hello::{Hello, server_name};

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most bytes that are looked at: a request line or a TLS hello that is longer is not waited for. Smaller than 4 KiB: a
/// hello with post-quantum key shares is cut off. Larger: a client that sends nonsense holds more memory.
pub const SIGHT_BYTES_MAX: usize = 8 * 1024;

/// How a version begins that may be served as HTTP/1.
const VERSION: &[u8] = b"HTTP/1.";

/// Longest method: the longest registered one (UPDATEREDIRECTREF) has 17 letters. A longer word is no method, so that text
/// protocols with long first words are told at once.
const METHOD_BYTES_MAX: usize = 24;

/// What a caller speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS, and the server that it asks for, in lower case.
    Tls(Option<String>),
    /// None of these.
    Other,
}

/// What can be said of the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// More bytes may make it any of several.
    Unclear,
    /// It is this.
    Clear(Spoken),
}

/// Judges `bytes`, the beginning of what a caller sent.
#[must_use]
pub fn sight(bytes: &[u8]) -> Sight {
    let unclear_or =
        |spoken| if bytes.len() < SIGHT_BYTES_MAX { Sight::Unclear } else { Sight::Clear(spoken) };
    let Some(first) = bytes.first() else { return Sight::Unclear };
    if *first == 0x16 {
        return match server_name(bytes) {
            Hello::Whole(name) => Sight::Clear(Spoken::Tls(name)),
            Hello::Cut => unclear_or(Spoken::Tls(None)),
            Hello::Not => Sight::Clear(Spoken::Other),
        };
    }
    let compared = bytes.len().min(PREFACE.len());
    if bytes[..compared] == PREFACE[..compared] {
        return if compared == PREFACE.len() { Sight::Clear(Spoken::Http2) } else { Sight::Unclear };
    }
    match request_line(bytes) {
        Line::Whole => Sight::Clear(Spoken::Http1),
        Line::Cut => unclear_or(Spoken::Http1),
        Line::Not => Sight::Clear(Spoken::Other),
    }
}

enum Line {
    Whole,
    Cut,
    Not,
}

/// Whether `bytes` begin with `method SP target SP HTTP/1.x` (RFC 9112, section 3). Any method counts, also one that nobody
/// has heard of or in lower case: whether to serve it is the server's affair.
fn request_line(bytes: &[u8]) -> Line {
    // RFC 9112, section 2.2: an empty line before a request is to be ignored.
    let bytes = match bytes {
        [b'\r'] => return Line::Cut,
        [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
        _ => bytes,
    };
    let Some(method) = bytes.iter().position(|byte| !is_token(*byte)) else {
        return if bytes.len() <= METHOD_BYTES_MAX { Line::Cut } else { Line::Not };
    };
    if method == 0 || method > METHOD_BYTES_MAX || bytes[method] != b' ' {
        return Line::Not;
    }
    let rest = &bytes[method + 1..];
    let Some(target) = rest.iter().position(|byte| *byte <= b' ' || *byte == 0x7f) else { return Line::Cut };
    if target == 0 || rest[target] != b' ' {
        return Line::Not;
    }
    let version = &rest[target + 1..];
    let compared = version.len().min(VERSION.len());
    if version[..compared] != VERSION[..compared] {
        return Line::Not;
    }
    match version.get(VERSION.len()) {
        None => Line::Cut,
        Some(minor) if minor.is_ascii_digit() => Line::Whole,
        Some(_) => Line::Not,
    }
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::hello::tests::hello;
    use super::*;

    /// The judgement of `bytes`, which must be the same when they come one by one, and once given must stay.
    fn judged(bytes: &[u8]) -> Sight {
        let mut given = Sight::Unclear;
        for length in 0..=bytes.len() {
            let now = sight(&bytes[..length]);
            assert!(given == Sight::Unclear || given == now, "{given:?} became {now:?} after {length} bytes");
            given = now;
        }
        given
    }

    #[test]
    fn requests_of_every_kind_are_http_1() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "get /lower HTTP/1.0\r\n",
            "BREW /pot HTTP/1.1\r\n",
            "M-SEARCH * HTTP/1.1\r\n",
            "CONNECT db:5432 HTTP/1.1\r\n",
            "OPTIONS * HTTP/1.1",
            "\r\nGET http://web/ HTTP/1.1\r\n",
            "PRI * HTTP/1.1\r\n",
        ] {
            assert_eq!(judged(text.as_bytes()), Sight::Clear(Spoken::Http1), "{text:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(7000));
        assert_eq!(sight(long.as_bytes()), Sight::Clear(Spoken::Http1));
    }

    #[test]
    fn text_that_is_no_request_is_told_at_its_first_line() {
        for text in [
            "PING\r\n",                        // Redis, inline
            "*1\r\n$4\r\nPING\r\n",            // Redis
            "GET color\r\n",                   // Redis, inline: no version
            "get key\r\n",                     // memcached
            "EHLO mail.example\r\n",           // SMTP
            "CONNECT {\"verbose\":false}\r\n", // NATS
            "SSH-2.0-OpenSSH_9.2\r\n",
            "GET / HTTP/2.0\r\n",
            "GET /\r\n", // HTTP/0.9
            " GET / HTTP/1.1\r\n",
            "a-word-that-is-longer-than-any-method-that-there-is",
        ] {
            assert_eq!(judged(text.as_bytes()), Sight::Clear(Spoken::Other), "{text:?}");
        }
        // PostgreSQL's request for TLS, MongoDB, a record of TLS that holds no hello.
        for bytes in [&[0, 0, 0, 8, 4, 210, 22, 47][..], &[0x3a, 0, 0, 0], &[0x16, 3, 1, 0, 4, 2, 0, 0, 0]] {
            assert_eq!(judged(bytes), Sight::Clear(Spoken::Other), "{bytes:?}");
        }
    }

    #[test]
    fn the_preface_is_http_2_only_when_it_is_whole() {
        assert_eq!(judged(PREFACE), Sight::Clear(Spoken::Http2));
        assert_eq!(sight(&PREFACE[..20]), Sight::Unclear);
    }

    #[test]
    fn tls_is_told_with_the_server_that_it_asks_for() {
        let named = hello(Some("Web.default.svc.cluster.local"));
        let name = "web.default.svc.cluster.local".to_owned();
        assert_eq!(judged(&named), Sight::Clear(Spoken::Tls(Some(name))));
        assert_eq!(judged(&hello(None)), Sight::Clear(Spoken::Tls(None)));
    }

    #[test]
    fn what_stays_unclear_is_not_waited_for_without_end() {
        let mut hello = hello(None);
        hello.truncate(30);
        hello[3..5].copy_from_slice(&16_000_u16.to_be_bytes());
        hello[6..9].copy_from_slice(&[0, 0x3e, 0]);
        assert_eq!(sight(&hello), Sight::Unclear);
        hello.resize(SIGHT_BYTES_MAX, 0);
        assert!(matches!(sight(&hello), Sight::Clear(_)));
        let endless = [b"GET /".as_slice(), &vec![b'x'; SIGHT_BYTES_MAX]].concat();
        assert_eq!(sight(&endless), Sight::Clear(Spoken::Http1));
    }
}
