//! What a policy may say: bounds, each with its reason. Shared by the conversions from the wire and by the check of YAML
//! documents, so that both refuse the same.

use std::ops::RangeInclusive;

use crate::route_rules::{changed_header_fault, header_name_fault};

/// Most targets of a policy, as Gateway API has it.
pub const POLICY_TARGETS_MAX: usize = 16;
/// HTTP statuses that a retry may name: errors. Anything else is an answer (GEP-1731).
pub const RETRY_CODES: RangeInclusive<u32> = 400..=599;
/// Most HTTP statuses of a retry: each answer is compared with all of them.
pub const RETRY_CODES_MAX: usize = 16;
/// Wait between tries, in milliseconds: none at all would hammer, a minute is longer than any caller waits.
pub const BACKOFF_MS: RangeInclusive<u64> = 1..=60_000;
/// Windows of a retry budget, in milliseconds: counted in tenths, shorter ones are noise (GEP-3388 has 1 s to 1 h).
pub const BUDGET_WINDOW_MS: RangeInclusive<u64> = 1_000..=3_600_000;
/// Retries that are always allowed in their window (GEP-3388: 1 to 1,000,000, and 0 for none).
pub const MIN_RETRIES_MAX: u32 = 1_000_000;
/// Wait for a connection, in milliseconds: shorter than a round trip of SYNs never connects, longer than a minute no
/// caller waits.
pub const CONNECT_MS: RangeInclusive<u64> = 1..=60_000;
/// Slow start, in milliseconds: at most an hour, after which an endpoint is no longer new.
pub const SLOW_START_MS: RangeInclusive<u64> = 1..=3_600_000;
/// Intervals and times of ejection, in milliseconds: shorter than a tenth of a second is noise, longer than a day is a
/// removal.
pub const EJECTION_MS: RangeInclusive<u64> = 100..=86_400_000;
/// Counts in a policy: failures in a row, requests, endpoints.
pub const COUNT: RangeInclusive<u32> = 1..=1_000_000;
/// Deviations from the mean, in thousandths.
pub const STDEV_FACTOR: RangeInclusive<u32> = 1..=100_000;
/// How long a cookie lives, in milliseconds: at most a year.
pub const COOKIE_MS: RangeInclusive<u64> = 1_000..=31_536_000_000;
/// Percentages of which none would make no sense.
pub const SOME_PERCENT: RangeInclusive<u32> = 1..=100;
/// Time of a rate limit, in milliseconds: shorter ones let all through or nothing, longer ones are quotas.
pub const RATE_MS: RangeInclusive<u64> = 100..=3_600_000;
/// Longest name of a session's cookie or header (Gateway API `sessionName`).
const SESSION_NAME_BYTES_MAX: usize = 128;

/// What is wrong with the name of a session's cookie or header, if anything.
#[must_use]
pub fn session_name_fault(name: &str, is_header: bool) -> Option<&'static str> {
    if name.len() > SESSION_NAME_BYTES_MAX {
        return Some("must be at most 128 bytes");
    }
    if is_header { changed_header_fault(name) } else { header_name_fault(name) }
}
