//! What the fuzz targets (`fuzz/`) and the seeded mutations hold against any bytes. Each function panics if its property does not
//! hold; nothing else may use them.

use http::{HeaderMap, HeaderValue, header};
use mesh::Authority;

pub use crate::detect::properties::judgements_stand;
pub use crate::discovery::properties::config_is_taken_or_refused;
use crate::http::deadline::{GRPC_TIMEOUT, grpc_timeout, grpc_timeout_value};
pub use crate::http::h1::properties::{
    answers_are_read_alike, answers_go_back_alike, requests_are_read_alike, requests_go_on_alike,
};
use crate::http::hop;

/// Values of headers that are read one by one are read or passed over: a deadline, which never becomes longer by being told on,
/// the options of a connection, of which nothing is left, a trace, cookies, and whom a request asks for.
///
/// # Panics
/// If not.
pub fn headers_are_read(bytes: &[u8]) {
    if let Some(authority) = authority(bytes) {
        assert_eq!(authority.to_string().parse().ok(), Some(authority), "what we write can be read");
    }
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(GRPC_TIMEOUT, value.clone());
    if let Some(told) = grpc_timeout(&headers) {
        headers.insert(GRPC_TIMEOUT, grpc_timeout_value(told));
        let again = grpc_timeout(&headers).expect("what we write can be read");
        assert!(again <= told, "{told:?} became {again:?}");
    }
    for name in [header::CONNECTION, header::UPGRADE, header::TE] {
        headers.insert(name, value.clone());
    }
    let upgrade = hop::strip(&mut headers);
    assert!(upgrade.is_none_or(|upgrade| upgrade == value));
    assert!(!headers.contains_key(header::CONNECTION) && !headers.contains_key(header::UPGRADE));
    assert!(headers.get(header::TE).is_none_or(|te| te == "trailers"));
    crate::records::traces_are_read(&value);
    crate::outbound::cookies_are_read(&value);
}

fn authority(bytes: &[u8]) -> Option<Authority> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::headers_are_read;
    use crate::mutations::{files, mutations};

    #[test]
    fn headers_of_the_corpus_and_mutations_of_them_are_read_or_passed_over() {
        files("headers").iter().for_each(|(_, bytes)| headers_are_read(bytes));
        mutations(&["headers"]).for_each(|bytes| headers_are_read(&bytes));
    }
}
