//! Figures with their units in the cell, as Linkerd's users know them: `100.00%`, `2.0rps`, `12ms`.

use api::v1;
use mesh::Revision;

/// What stands where there is no figure.
const NONE: &str = "-";

/// A share of `whole` in percent, rounded down, so that one failure in a million is not `100.00%`.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NONE.to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// Requests per second.
#[must_use]
pub fn rate(per_second: f64) -> String {
    format!("{per_second:.1}rps")
}

/// A latency that was measured in microseconds; zero means that nothing was.
#[must_use]
pub fn latency(micros: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // a latency below 2^52 us
    let value = micros as f64;
    match micros {
        0 => NONE.to_owned(),
        1..1000 => format!("{micros}µs"),
        1000..10_000 => format!("{:.1}ms", value / 1e3),
        10_000..9_999_500 => format!("{:.0}ms", value / 1e3),
        _ => format!("{:.1}s", value / 1e6),
    }
}

/// Bytes, with a binary unit.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    #[allow(clippy::cast_precision_loss)] // shown with one decimal
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

/// A number of things: `1 service`, `2 services`.
#[must_use]
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// `epoch.index`; a dash for none, and for epoch 0, which is before all life: nothing is held, or nothing is followed.
pub(super) fn revision(revision: Option<&v1::Revision>) -> String {
    let told = revision.filter(|revision| revision.epoch > 0);
    told.map_or_else(|| NONE.to_owned(), |r| Revision::new(r.epoch, r.index).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_never_rounded_up_to_all() {
        assert_eq!(share(999_999, 1_000_000), "99.99%");
        assert_eq!(share(1, 1), "100.00%");
        assert_eq!(share(u64::MAX, u64::MAX), "100.00%");
        assert_eq!(share(3, 4), "75.00%");
        assert_eq!(share(0, 0), "-");
    }

    #[test]
    fn latencies_keep_two_digits_and_change_unit() {
        let told: Vec<String> =
            [0, 430, 1000, 1234, 12_345, 999_999, 9_999_499, 12_300_000].map(latency).into();
        assert_eq!(told, ["-", "430µs", "1.0ms", "1.2ms", "12ms", "1000ms", "9999ms", "12.3s"]);
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        assert_eq!([0, 1023, 1024, 5 << 20].map(bytes), ["0B", "1023B", "1.0KiB", "5.0MiB"]);
    }
}
