//! From text to a value that cannot be wrong: one small function per kind of setting.
//!
//! Given to [`Reader`](super::Reader) with a key. Each answers the value, or the rule that the text breaks, worded to
//! follow the key and value: `must be ...`. None knows a key.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// What a parser answers: the value, or the rule that was broken.
pub type Parsed<T> = Result<T, String>;

/// Any text that is not blank.
pub fn text(raw: &str) -> Parsed<String> {
    match raw.trim() {
        "" => Err("must not be blank".to_owned()),
        trimmed => Ok(trimmed.to_owned()),
    }
}

/// `true` or `false`.
pub fn boolean(raw: &str) -> Parsed<bool> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A port that can be dialled: 1 to 65535.
pub fn port(raw: &str) -> Parsed<NonZeroU16> {
    raw.parse().map_err(|_| "must be a port from 1 to 65535".to_owned())
}

/// A numeric address with a port, 0 for one that the system picks: `127.0.0.1:4100`, `[::1]:0`.
pub fn socket_address(raw: &str) -> Parsed<SocketAddr> {
    raw.parse().map_err(|_| {
        "must be a numeric address and a port, such as 127.0.0.1:4100 or [::1]:4100; names are not resolved here"
            .to_owned()
    })
}

/// A host name or address with a port that can be dialled: `control-0.penstock:4101`.
pub fn host_and_port(raw: &str) -> Parsed<(String, u16)> {
    let rule = || "must be a host and a port, such as control-0.penstock:4101".to_owned();
    let (host, port_text) = raw.rsplit_once(':').ok_or_else(rule)?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let bracketed = bare.len() != host.len();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || (bracketed && c == ':');
    if bare.is_empty() || !bare.chars().all(fits) {
        return Err(rule());
    }
    Ok((bare.to_owned(), port(port_text)?.get()))
}

/// A path of the file system. Whether something is there is for its user to find out.
pub fn path(raw: &str) -> Parsed<PathBuf> {
    if raw.trim().is_empty() || raw.contains('\0') {
        return Err("must be a path".to_owned());
    }
    Ok(PathBuf::from(raw))
}

/// A whole number within `range`.
pub fn whole(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<u64> {
    move |raw| {
        let rule = || format!("must be a whole number from {} to {}", range.start(), range.end());
        raw.parse().ok().filter(|number| range.contains(number)).ok_or_else(rule)
    }
}

/// One of `words`, each with its value.
pub fn one_of<T: Clone>(words: &[(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |raw| {
        let names = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let chosen = words.iter().find(|(word, _)| *word == raw);
        chosen.map(|(_, value)| value.clone()).ok_or_else(|| format!("must be one of {}", names()))
    }
}

/// A duration with its unit: `250ms`, `10s`, `5m`, `1h`, within `range`.
pub fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    move |raw| {
        let (number, unit) = split_unit(raw);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err("must be a whole number and a unit (ms, s, m, h), such as 250ms".to_owned()),
        };
        within(number, milliseconds, &range)
    }
}

/// A bare whole number of milliseconds, for keys that end in `_ms`, within `range`.
pub fn milliseconds(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    move |raw| within(raw, 1, &range)
}

/// A bare whole number of seconds, for keys that end in `_seconds`, within `range`.
pub fn seconds(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    move |raw| within(raw, 1_000, &range)
}

/// A number of bytes: `65536`, `64KiB`, `512MiB`, `1GiB`, within `range`.
pub fn bytes(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<u64> {
    move |raw| {
        let (number, unit) = split_unit(raw);
        let scale: u64 = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err("must be a whole number of bytes, KiB, MiB or GiB, such as 64MiB".to_owned()),
        };
        let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        let rule = || format!("must be from {} to {} bytes", range.start(), range.end());
        size.filter(|size| range.contains(size)).ok_or_else(rule)
    }
}

fn split_unit(raw: &str) -> (&str, &str) {
    let end = raw.find(|c: char| !c.is_ascii_digit()).unwrap_or(raw.len());
    (&raw[..end], raw[end..].trim())
}

fn within(number: &str, milliseconds: u64, range: &RangeInclusive<Duration>) -> Parsed<Duration> {
    let scaled = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    let rule = || format!("must be a whole number from {} to {}", shown(*range.start()), shown(*range.end()));
    scaled.map(Duration::from_millis).filter(|duration| range.contains(duration)).ok_or_else(rule)
}

/// A duration in the unit in which an operator would write it.
fn shown(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0 ms".to_owned(),
        _ if milliseconds.is_multiple_of(3_600_000) => format!("{} h", milliseconds / 3_600_000),
        _ if milliseconds.is_multiple_of(1_000) => format!("{} s", milliseconds / 1_000),
        _ => format!("{milliseconds} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn assert_rule<T: std::fmt::Debug>(parsed: &Parsed<T>, rule: &str) {
        match parsed {
            Err(said) => assert!(said.contains(rule), "{said}"),
            Ok(value) => panic!("{value:?} was taken"),
        }
    }

    #[test]
    fn ports_are_from_1_to_65535() {
        assert_eq!(port("65535").map(NonZeroU16::get), Ok(65535));
        for raw in ["0", "65536", "-1", "", "http", "80 "] {
            assert_rule(&port(raw), "from 1 to 65535");
        }
    }

    #[test]
    fn addresses_are_numeric_and_have_a_port() {
        assert!(socket_address("[::1]:0").is_ok());
        for raw in ["10.0.0.1", "localhost:80", "10.0.0.1:65536", ":80"] {
            assert_rule(&socket_address(raw), "numeric address and a port");
        }
    }

    #[test]
    fn hosts_may_be_names_or_addresses() {
        assert_eq!(host_and_port("control-0.penstock:4101"), Ok(("control-0.penstock".into(), 4101)));
        assert_eq!(host_and_port("[2001:db8::1]:4101"), Ok(("2001:db8::1".into(), 4101)));
        assert_rule(&host_and_port("http://x:80"), "such as control-0.penstock:4101");
        assert_rule(&host_and_port("::1:80"), "such as control-0.penstock:4101");
        assert_rule(&host_and_port("x:0"), "a port from 1 to 65535");
    }

    #[test]
    fn durations_carry_a_unit_and_stay_within_their_range() {
        let parse = duration(Duration::from_millis(10)..=HOUR);
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1h"), Ok(HOUR));
        assert_rule(&parse("250"), "a unit (ms, s, m, h)");
        assert_rule(&parse("2h"), "from 10 ms to 1 h");
        assert_rule(&parse("18446744073709551615h"), "from 10 ms to 1 h");
        assert_rule(&parse("1.5s"), "a unit");
    }

    #[test]
    fn bare_numbers_take_the_unit_of_their_key() {
        assert_eq!(milliseconds(Duration::ZERO..=HOUR)("150"), Ok(Duration::from_millis(150)));
        assert_eq!(seconds(Duration::ZERO..=HOUR)("15"), Ok(Duration::from_secs(15)));
        assert_rule(&seconds(Duration::from_secs(1)..=HOUR)("0"), "from 1 s to 1 h");
    }

    #[test]
    fn sizes_overflow_into_a_complaint_and_not_into_a_small_number() {
        let parse = bytes(1024..=1 << 40);
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_rule(&parse("17179869185GiB"), "from 1024 to");
        assert_rule(&parse("64MB"), "KiB, MiB or GiB");
    }

    #[test]
    fn words_paths_switches_and_text_name_their_rule() {
        let parse = one_of(&[("plain", 1), ("json", 2)]);
        assert_eq!(parse("json"), Ok(2));
        assert_rule(&parse("xml"), "must be one of plain, json");
        assert_rule(&path("a\0b"), "must be a path");
        assert_rule(&boolean("yes"), "true or false");
        assert_rule(&text("  "), "must not be blank");
        assert_rule(&whole(3..=7)("8"), "from 3 to 7");
    }
}
