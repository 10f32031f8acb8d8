//! Sessions that stay with one endpoint: what a request says of its session, and what its answer gives. Pure; asked only of rules
//! that have sessions.
//!
//! The token is the endpoint's mark, which says nothing of where it is, and when the session ends if it does. It is not secret: whoever
//! invents one chooses an endpoint, which any caller may.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use mesh::{Session, SessionToken};

use super::affinity::cookie;

/// Digits of a mark.
const MARK_DIGITS: usize = 16;

/// The mark of the endpoint that a request's session is with; `now` in seconds since 1970.
pub(super) fn asked(session: &Session, headers: &HeaderMap, now: u64) -> Option<u64> {
    let token = match session.token {
        SessionToken::Cookie(_) => cookie(headers, &session.name)?,
        SessionToken::Header => headers.get(session.name.as_str())?.as_bytes(),
    };
    let token = std::str::from_utf8(token).ok()?;
    let (mark, ends) = match token.split_once('.') {
        Some((mark, ends)) => (mark, Some(u64::from_str_radix(ends, 16).ok()?)),
        None => (token, None),
    };
    let is_over = ends.is_some_and(|ends| ends <= now);
    (mark.len() == MARK_DIGITS && !is_over).then(|| u64::from_str_radix(mark, 16).ok()).flatten()
}

/// The header that an answer gives the session of the endpoint with this mark by.
pub(super) fn given(session: &Session, mark: u64, now: u64) -> Option<(HeaderName, HeaderValue)> {
    let name = &session.name;
    let (header, value) = match session.token {
        SessionToken::Header => (HeaderName::try_from(name.as_str()).ok()?, format!("{mark:016x}")),
        SessionToken::Cookie(None) => (header::SET_COOKIE, format!("{name}={mark:016x}; Path=/; HttpOnly")),
        SessionToken::Cookie(Some(lives)) => {
            let lives = lives.as_secs().max(1);
            let ends = now.saturating_add(lives);
            let given = format!("{name}={mark:016x}.{ends:x}; Max-Age={lives}; Path=/; HttpOnly");
            (header::SET_COOKIE, given)
        }
    };
    Some((header, HeaderValue::from_str(&value).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use super::*;

    fn session(token: SessionToken) -> Session {
        Session { name: "cart".to_owned(), token }
    }

    fn sent(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn what_an_answer_gives_leads_back_until_the_session_ends() {
        let mark = 0x00ab_cdef_0123_4567;
        let of_header = session(SessionToken::Header);
        let (name, value) = given(&of_header, mark, 1_000).unwrap();
        assert_eq!(asked(&of_header, &HeaderMap::from_iter([(name, value)]), u64::MAX), Some(mark));

        let lives = Some(Duration::from_secs(60));
        for (token, attributes, is_over_in_the_end) in [
            (SessionToken::Cookie(None), "Path=/; HttpOnly", false),
            (SessionToken::Cookie(lives), "Max-Age=60; Path=/; HttpOnly", true),
        ] {
            let session = session(token);
            let (name, value) = given(&session, mark, 1_000).unwrap();
            assert_eq!(name, "set-cookie");
            let (pair, rest) = value.to_str().unwrap().split_once("; ").unwrap();
            assert_eq!(rest, attributes);
            let headers = sent("cookie", &format!("a=b; {pair}"));
            assert_eq!(asked(&session, &headers, 1_059), Some(mark));
            assert_eq!(asked(&session, &headers, 1_060).is_none(), is_over_in_the_end);
        }
    }

    #[test]
    fn what_is_no_token_is_no_session() {
        let session = session(SessionToken::Cookie(None));
        for text in
            ["cart=", "cart=zz", "cart=123", "cart=00abcdef012345678", "cart=00abcdef01234567.x", "c=1"]
        {
            assert_eq!(asked(&session, &sent("cookie", text), 0), None, "{text}");
        }
        assert_eq!(asked(&session, &sent("cart", "00abcdef01234567"), 0), None, "a header is no cookie");
    }
}
