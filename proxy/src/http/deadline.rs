//! gRPC's deadline as it travels: `grpc-timeout` is read, and written anew with what is left of it. Pure.
//! Format: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, `Timeout`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Says how long the caller waits.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Most digits of a timeout.
const DIGITS_MAX: usize = 8;

/// Units, the smallest first: letter and nanoseconds.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// How long the caller of these headers waits; `None` when it does not say, or not in a way that can be read.
#[must_use]
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    Some(Duration::from_nanos(number.saturating_mul(*nanos)))
}

/// `left` as a header's value, rounded down to what eight digits can say: the callee must not wait longer than the caller.
#[must_use]
pub fn grpc_timeout_value(left: Duration) -> HeaderValue {
    const LARGEST: u64 = 99_999_999;
    let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
    let (letter, unit) =
        UNITS.into_iter().find(|(_, unit)| nanos / unit <= LARGEST).unwrap_or((b'H', UNITS[5].1));
    let text = format!("{}{}", nanos / unit, char::from(letter));
    HeaderValue::from_str(&text).expect("digits and a letter are visible ASCII")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn read(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(text).unwrap());
        grpc_timeout(&headers)
    }

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        for (text, millis) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("250m", 250), ("5000u", 5)]
        {
            assert_eq!(read(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        assert_eq!(read("99999999H").map(|long| long.as_secs() > 9_999_999_999), Some(true));
        for text in ["", "S", "1", "1s", "1.5S", "-1S", "123456789S", "1 S"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_written_is_never_longer_than_what_is_left() {
        for (left, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(250), "250000u"),
            (Duration::from_millis(123_456), "123456m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::from_secs(u64::MAX), "5124095H"),
        ] {
            let value = grpc_timeout_value(left);
            assert_eq!(value, text);
            assert!(read(text).unwrap() <= left);
        }
    }
}
