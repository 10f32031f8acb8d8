//! Gateway API's durations (GEP-2257): one to four of a number of at most five digits and a unit, for instance `1m30s`.

use std::ops::RangeInclusive;
use std::time::Duration;

use api::TIMEOUT_MS_MAX;

use super::complaints::Complaints;
use super::fields::{Fields, shown};

/// Most parts of a duration.
const PARTS_MAX: usize = 4;
/// Most digits of a part.
const DIGITS_MAX: usize = 5;
/// Units, the largest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What a text that is none is told.
const RULE: &str =
    "must be a duration: numbers of at most 5 digits with h, m, s or ms, for instance 1m30s or 500ms";

/// The duration that `text` says, in milliseconds; `None` if it is none.
pub(super) fn parsed(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    for _ in 0..PARTS_MAX {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > DIGITS_MAX {
            return None;
        }
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum += number.parse::<u64>().ok()? * millis;
        rest = after;
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

/// A duration as text that [`parsed`] reads back. At most 99,999 hours, whole milliseconds.
pub(super) fn rendered(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(99_999 * UNITS[0].1);
    let mut text = String::new();
    for (unit, length) in UNITS {
        let count = millis / length;
        millis %= length;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A field that is a duration within a range of milliseconds.
pub(super) fn field(
    fields: &mut Fields<'_>,
    name: &'static str,
    range: &RangeInclusive<u64>,
    complaints: &mut Complaints,
) -> Option<Duration> {
    let (text, position) = fields.text(name, complaints)?;
    let message = match parsed(text) {
        Some(millis) if range.contains(&millis) => return Some(Duration::from_millis(millis)),
        Some(_) => {
            let [least, most] = [range.start(), range.end()].map(|end| rendered(Duration::from_millis(*end)));
            format!("{} must be {least} to {most}", shown(text))
        }
        None => format!("{} {RULE}", shown(text)),
    };
    complaints.add(position, &fields.path(name), message);
    None
}

/// A field that is a timeout: at most a day, and zero means that there is none (Gateway API).
pub(super) fn timeout(
    fields: &mut Fields<'_>,
    name: &'static str,
    complaints: &mut Complaints,
) -> Option<Duration> {
    let (text, position) = fields.text(name, complaints)?;
    let message = match parsed(text) {
        Some(0) => return None,
        Some(millis) if millis <= TIMEOUT_MS_MAX => return Some(Duration::from_millis(millis)),
        Some(_) => format!("{} must be at most a day (24h)", shown(text)),
        None => format!("{} {RULE}", shown(text)),
    };
    complaints.add(position, &fields.path(name), message);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_one_to_four_numbers_with_units() {
        for (text, millis) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1h1m1s1ms", 3_661_001),
            ("0s", 0),
            ("1s1s", 2_000),
        ] {
            assert_eq!(parsed(text), Some(millis), "{text}");
        }
        for text in ["", "10", "s", "1.5s", "-1s", "1d", "123456s", "1s1s1s1s1s", "1 s", "1S", "1sm"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_rendered_is_read_back() {
        for millis in [0, 1, 999, 1_000, 90_000, 3_661_001, TIMEOUT_MS_MAX] {
            assert_eq!(parsed(&rendered(Duration::from_millis(millis))), Some(millis), "{millis}");
        }
    }
}
