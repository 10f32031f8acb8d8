//! What stands behind the `?` of a page. Pure.

/// The value of `key` in `a=1&b=2`, as it is written there: no page takes a value that would need escaping.
pub(super) fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_whole_name() {
        assert_eq!(value("service=web&limit=5", "limit"), Some("5"));
        assert_eq!(value("service=web:80", "service"), Some("web:80"));
        assert_eq!(
            (value("limits=5", "limit"), value("limit", "limit"), value("", "limit")),
            (None, None, None)
        );
    }
}
