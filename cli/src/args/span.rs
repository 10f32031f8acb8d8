//! Lengths of time as people type them: `500ms`, `20s`, `1m`, `6h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mesh::WINDOW_SECONDS;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| format!("{text:?} is not a length of time: write 500ms, 20s, 1m or 6h"))?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => return Err(format!("{text:?} has no unit that is known: write 500ms, 20s, 1m or 6h")),
        };
        millis
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| format!("{text:?} is too long"))
    }
}

impl fmt::Display for Span {
    /// In the largest unit that divides it: `1m`, `90s`, `1500ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
        match units.iter().find(|(length, _)| millis >= *length && millis.is_multiple_of(*length)) {
            Some((length, unit)) => write!(f, "{}{unit}", millis / length),
            None => write!(f, "{millis}ms"),
        }
    }
}

/// How much of the past `stat` sums: whole windows of ten seconds, as long as history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatWindow {
    /// Its length.
    pub seconds: u32,
}

impl StatWindow {
    /// History is kept for six hours (design: rollups); a longer window would show less than it says.
    const SECONDS_MAX: u64 = 6 * 3600;
}

impl FromStr for StatWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse()?;
        let seconds = span.0.as_secs();
        let whole = span.0.subsec_nanos() == 0 && seconds.is_multiple_of(WINDOW_SECONDS);
        if !whole || !(WINDOW_SECONDS..=Self::SECONDS_MAX).contains(&seconds) {
            return Err(format!(
                "{text:?} must be a multiple of {WINDOW_SECONDS}s, from {WINDOW_SECONDS}s to 6h"
            ));
        }
        let seconds = u32::try_from(seconds).expect("six hours fit 32 bits");
        Ok(Self { seconds })
    }
}

impl fmt::Display for StatWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(Duration::from_secs(u64::from(self.seconds))).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_span_is_shown_as_it_was_typed() {
        for text in ["500ms", "20s", "90s", "1m", "6h", "1500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Span>().unwrap().to_string(), "1m");
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "1", "s", "-1s", "1d", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_stat_window_is_made_of_whole_windows() {
        assert_eq!("1m".parse::<StatWindow>().unwrap().seconds, 60);
        for text in ["0s", "5s", "15s", "10500ms", "7h"] {
            assert!(text.parse::<StatWindow>().is_err(), "{text:?}");
        }
    }
}
