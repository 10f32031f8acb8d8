//! What leads a request to the same endpoint again: the key of a header or a cookie, and the cookie that a first answer gives.
//! Pure; asked only where a policy has a hash key.

use http::{HeaderMap, HeaderValue, header};
use mesh::HashKey;

use crate::balance::{Chance, place};

/// Where on a ring a request belongs, and the cookie that its answer sets so that the next one comes there too.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Affinity {
    pub(super) key: Option<u64>,
    pub(super) cookie: Option<HeaderValue>,
}

impl Affinity {
    /// Of a request with these headers. Without the header or cookie, any endpoint may take it.
    pub(super) fn of(hash: &HashKey, headers: &HeaderMap, chance: &mut Chance) -> Self {
        match hash {
            HashKey::Header(name) => {
                let value = headers.get(name.as_str());
                Self { key: value.map(|value| place(value.as_bytes())), cookie: None }
            }
            HashKey::Cookie { name, ttl } => {
                if let Some(value) = cookie(headers, name) {
                    return Self { key: Some(place(value)), cookie: None };
                }
                let Some(ttl) = ttl else { return Self::default() };
                let value = format!("{:016x}", chance.number());
                let given = format!("{name}={value}; Max-Age={}; Path=/; HttpOnly", ttl.as_secs().max(1));
                // A name that is a token makes a value that is visible ASCII.
                Self { key: Some(place(value.as_bytes())), cookie: HeaderValue::from_str(&given).ok() }
            }
        }
    }
}

/// The value of a cookie (RFC 6265, section 5.4).
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get_all(header::COOKIE).iter();
    let mut pairs = pairs.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// For `fuzzing.rs`: any cookies lead somewhere, or nowhere and then to where the cookie that is given leads back.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn cookies_are_read(value: &HeaderValue) {
    let key = HashKey::Cookie { name: "u".to_owned(), ttl: Some(std::time::Duration::from_secs(60)) };
    let (mut headers, mut chance) = (HeaderMap::new(), Chance::seeded(1));
    headers.insert(header::COOKIE, value.clone());
    let first = Affinity::of(&key, &headers, &mut chance);
    let Some(given) = first.cookie else { return };
    let pair = given.as_bytes().split(|byte| *byte == b';').next().expect("a split has a first part");
    headers.append(header::COOKIE, HeaderValue::from_bytes(pair).expect("a part of a value is one"));
    assert_eq!(Affinity::of(&key, &headers, &mut chance), Affinity { key: first.key, cookie: None });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_header_or_a_cookie_leads_to_the_same_place_each_time() {
        let mut chance = Chance::seeded(1);
        let user = HashKey::Header("x-user".to_owned());
        let mut of = |key: &HashKey, headers: &HeaderMap| Affinity::of(key, headers, &mut chance);
        assert_eq!(of(&user, &headers("x-user", "ann")), of(&user, &headers("x-user", "ann")));
        assert_ne!(of(&user, &headers("x-user", "ann")), of(&user, &headers("x-user", "bob")));
        assert_eq!(of(&user, &HeaderMap::new()), Affinity::default());
        let cookie = HashKey::Cookie { name: "u".to_owned(), ttl: None };
        let same = of(&cookie, &headers("cookie", "u=ann"));
        assert!(same.key.is_some());
        for text in ["a=b; u=ann", "xu=bob;u=ann ; z=1"] {
            assert_eq!(of(&cookie, &headers("cookie", text)), same, "{text}");
        }
        assert_eq!(of(&cookie, &headers("cookie", "xu=ann; v=u")), Affinity::default());
    }

    #[test]
    fn an_answer_gives_the_cookie_that_leads_back() {
        let key = HashKey::Cookie { name: "u".to_owned(), ttl: Some(Duration::from_secs(60)) };
        let mut chance = Chance::seeded(1);
        let first = Affinity::of(&key, &HeaderMap::new(), &mut chance);
        let given = first.cookie.unwrap();
        let text = given.to_str().unwrap();
        let (pair, rest) = text.split_once("; ").unwrap();
        assert_eq!(rest, "Max-Age=60; Path=/; HttpOnly");
        let mut sent = HeaderMap::new();
        sent.insert(header::COOKIE, pair.parse().unwrap());
        assert_eq!(Affinity::of(&key, &sent, &mut chance), Affinity { key: first.key, cookie: None });
    }
}
