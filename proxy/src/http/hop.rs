//! Takes away what belongs to one connection and not to the message (RFC 9110, section 7.6.1). Pure.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes the hop-by-hop headers. `te: trailers` stays, because gRPC insists on it and it says nothing else.
/// Returns the protocol of a wanted upgrade, which the caller must put back if it carries that out.
pub fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
            .collect();
        for name in named {
            match name {
                header::UPGRADE => upgrade = headers.get(header::UPGRADE).cloned(),
                // Framing and routing are ours to decide, whatever the message says about them.
                header::CONNECTION | header::TE | header::HOST | header::CONTENT_LENGTH => {}
                name => while headers.remove(&name).is_some() {},
            }
        }
        headers.remove(header::CONNECTION);
    }
    headers.remove(header::UPGRADE);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    if let Some(te) = headers.get(header::TE)
        && te != "trailers"
    {
        headers.remove(header::TE);
    }
    upgrade
}

/// Puts a cookie together again that HTTP/2 brings in pieces, which no other context knows (RFC 9113, section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for piece in std::iter::once(second).chain(pieces) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(piece.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn what_is_for_this_connection_goes_and_the_rest_stays() {
        let mut headers: HeaderMap = [
            ("connection", "close, X-Mine, upgrade"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("x-yours", "2"),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
        assert_eq!(strip(&mut headers).unwrap(), "websocket");
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "x-yours"]);
        headers.insert("te", "gzip".parse().unwrap());
        assert_eq!(strip(&mut headers), None);
        assert!(!headers.contains_key("te"));
    }

    #[test]
    fn the_pieces_of_a_cookie_are_put_together_in_their_order() {
        let mut headers = HeaderMap::new();
        for (pieces, joined) in [(&["a=1"][..], "a=1"), (&["a=1", "b=2; c=3", "d"], "a=1; b=2; c=3; d")] {
            headers.remove("cookie");
            for piece in pieces {
                headers.append("cookie", piece.parse().unwrap());
            }
            join_cookies(&mut headers);
            assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), [joined]);
        }
    }
}
