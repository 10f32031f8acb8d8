//! Sessions that stay with one endpoint: what a request says of its session, and what its answer gives. Pure; asked only of rules
//! that have sessions.
//!
//! The token is the endpoint's mark, which says nothing of where it is, and when the session ends if it does. It is not secret: whoever
//! invents one chooses an endpoint, which any caller may.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use mesh::{RouteMatch, Session, SessionToken};

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
    let must_end = matches!(session.token, SessionToken::Cookie(Some(_)));
    let is_over = ends.map_or(must_end, |ends| ends <= now);
    // The parser would take a sign too.
    let is_mark = mark.len() == MARK_DIGITS && mark.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_mark && !is_over).then(|| u64::from_str_radix(mark, 16).ok()).flatten()
}

/// Gives the session of the endpoint with this mark to the caller, whose request was `matched` so.
pub(super) fn give(
    session: &Session,
    matched: Option<&RouteMatch>,
    mark: u64,
    now: u64,
    headers: &mut HeaderMap,
) {
    let name = &session.name;
    let path = || Session::cookie_path(matched);
    let value = match session.token {
        SessionToken::Header => format!("{mark:016x}"),
        SessionToken::Cookie(None) => format!("{name}={mark:016x}; Path={}; HttpOnly", path()),
        SessionToken::Cookie(Some(lives)) => {
            let lives = lives.as_secs().max(1);
            let ends = now.saturating_add(lives);
            format!("{name}={mark:016x}.{ends:x}; Max-Age={lives}; Path={}; HttpOnly", path())
        }
    };
    // Names and paths were checked where they were read.
    let Ok(value) = HeaderValue::from_str(&value) else { return };
    if let SessionToken::Cookie(_) = session.token {
        headers.append(header::SET_COOKIE, value);
    } else if let Ok(name) = HeaderName::try_from(name.as_str()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use mesh::PathMatch;

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
        let mut headers = sent("cart", "of the application");
        give(&of_header, None, mark, 1_000, &mut headers);
        assert_eq!(asked(&of_header, &headers, u64::MAX), Some(mark));

        let lives = Some(Duration::from_secs(60));
        let matched =
            RouteMatch { path: Some(PathMatch::Prefix("/shop".to_owned())), ..RouteMatch::default() };
        for (token, matched, attributes, is_over_in_the_end) in [
            (SessionToken::Cookie(None), None, "Path=/; HttpOnly", false),
            (SessionToken::Cookie(lives), Some(&matched), "Max-Age=60; Path=/shop; HttpOnly", true),
        ] {
            let session = session(token);
            let mut headers = sent("set-cookie", "other=1");
            give(&session, matched, mark, 1_000, &mut headers);
            let value = headers.get_all("set-cookie").iter().next_back().unwrap();
            let (pair, rest) = value.to_str().unwrap().split_once("; ").unwrap();
            assert_eq!(rest, attributes);
            let headers = sent("cookie", &format!("a=b; {pair}"));
            assert_eq!(asked(&session, &headers, 1_059), Some(mark));
            assert_eq!(asked(&session, &headers, 1_060).is_none(), is_over_in_the_end);
        }
    }

    #[test]
    fn a_session_without_an_end_is_none_where_sessions_end() {
        let lives = session(SessionToken::Cookie(Some(Duration::from_secs(60))));
        assert_eq!(asked(&lives, &sent("cookie", "cart=00abcdef01234567"), 0), None);
        assert!(asked(&lives, &sent("cookie", "cart=00abcdef01234567.1"), 0).is_some());
    }

    #[test]
    fn what_is_no_token_is_no_session() {
        let session = session(SessionToken::Cookie(None));
        for text in [
            "cart=",
            "cart=zz",
            "cart=123",
            "cart=+0abcdef01234567",
            "cart=00abcdef012345678",
            "cart=00abcdef01234567.x",
            "c=1",
        ] {
            assert_eq!(asked(&session, &sent("cookie", text), 0), None, "{text}");
        }
        assert_eq!(asked(&session, &sent("cart", "00abcdef01234567"), 0), None, "a header is no cookie");
    }
}
