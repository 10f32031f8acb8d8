//! Numbers, times and flags as a line of a scenario holds them. Writing and reading are each other's inverse.

use std::time::Duration;

/// What is wrong with a scenario, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

/// Something that a line may hold behind `name=`.
pub trait Value: Sized {
    /// As it stands in a line.
    fn written(&self) -> String;

    /// From a line; `name` only for the complaint.
    ///
    /// # Errors
    /// What is expected.
    fn read(name: &str, text: &str) -> Result<Self, PlanError>;
}

fn wrong(name: &str, text: &str, expected: &str) -> PlanError {
    PlanError(format!("{name}={text}: expected {expected}"))
}

impl Value for u64 {
    fn written(&self) -> String {
        self.to_string()
    }

    fn read(name: &str, text: &str) -> Result<Self, PlanError> {
        text.parse().map_err(|_| wrong(name, text, "a whole number"))
    }
}

impl Value for i64 {
    fn written(&self) -> String {
        self.to_string()
    }

    fn read(name: &str, text: &str) -> Result<Self, PlanError> {
        text.parse().map_err(|_| wrong(name, text, "a whole number, perhaps negative"))
    }
}

impl Value for bool {
    fn written(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }

    fn read(name: &str, text: &str) -> Result<Self, PlanError> {
        match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(wrong(name, text, "yes or no")),
        }
    }
}

impl Value for Duration {
    /// In the largest unit that holds it exactly; never finer than a microsecond, which is as fine as plans are.
    fn written(&self) -> String {
        let micros = self.as_micros();
        if micros.is_multiple_of(1_000_000) {
            format!("{}s", micros / 1_000_000)
        } else if micros.is_multiple_of(1000) {
            format!("{}ms", micros / 1000)
        } else {
            format!("{micros}us")
        }
    }

    fn read(name: &str, text: &str) -> Result<Self, PlanError> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let scale = match &text[digits.len()..] {
            "us" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            _ => return Err(wrong(name, text, "a number with us, ms, s or m")),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| wrong(name, text, "a number with us, ms, s or m"));
        let mut micros = number(whole)?.checked_mul(scale);
        if !part.is_empty() {
            let places = u32::try_from(part.len()).ok().and_then(|length| 10_u64.checked_pow(length));
            let fraction =
                number(part)?.checked_mul(scale).zip(places).map(|(scaled, places)| scaled / places);
            micros = micros.zip(fraction).map(|(whole, fraction)| whole + fraction);
        }
        micros.map(Duration::from_micros).ok_or_else(|| wrong(name, text, "a time of less than centuries"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_time_comes_back_from_its_text() {
        for micros in [0, 1, 999, 1000, 1500, 250_000, 1_000_000, 1_500_000, 60_000_001] {
            let time = Duration::from_micros(micros);
            assert_eq!(Duration::read("at", &time.written()), Ok(time));
        }
        assert_eq!(Duration::read("at", "1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(Duration::read("at", "2m"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_is_expected() {
        assert!(Duration::read("at", "soon").unwrap_err().0.contains("at=soon: expected a number"));
        for text in ["", "5", "s", "-1s", "1.s.2s", "99999999999999999999s"] {
            assert!(Duration::read("at", text).is_err(), "{text:?}");
        }
        assert!(u64::read("node", "-1").is_err() && bool::read("all", "maybe").is_err());
    }
}
