//! RDS to retries, bounds of time and the hash key: the words that the control plane uses of Envoy's `RetryPolicy`.

use std::time::Duration;

use api::xds::pb::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use api::xds::pb::envoy::config::route::v3::{RetryPolicy, RouteAction};
use api::xds::pb::google::protobuf;
use mesh::{GrpcCode, HashKey, Retry};

/// A bound of time. Zero, and none at all, mean that there is none.
pub(super) fn bound(field: &str, sent: Option<protobuf::Duration>) -> Result<Option<Duration>, String> {
    let Some(sent) = sent else { return Ok(None) };
    let read = || Some(Duration::new(u64::try_from(sent.seconds).ok()?, u32::try_from(sent.nanos).ok()?));
    let span = read().ok_or_else(|| format!("{field} {sent:?} is negative"))?;
    Ok((!span.is_zero()).then_some(span))
}

/// When to try again. A policy that says nothing of when only bounds the time of a try.
pub(super) fn retry(policy: &RetryPolicy) -> Result<Option<Retry>, String> {
    if policy.retry_on.is_empty() {
        return Ok(None);
    }
    let mut grpc_codes = Vec::new();
    for word in policy.retry_on.split(',').map(str::trim) {
        match word {
            // What was not sent is tried elsewhere in any case; codes stand in a list of their own.
            "connect-failure" | "refused-stream" | "retriable-status-codes" => {}
            word => grpc_codes.push(
                GrpcCode::named(word)
                    .ok_or_else(|| format!("retry_on {word:?} is not known to this proxy"))?,
            ),
        }
    }
    grpc_codes.sort_unstable();
    grpc_codes.dedup();
    let code = |code: &u32| {
        let known = u16::try_from(*code).ok().filter(|code| (100..600).contains(code));
        known.ok_or_else(|| format!("retriable status {code} is none of HTTP"))
    };
    let mut codes = policy.retriable_status_codes.iter().map(code).collect::<Result<Vec<_>, _>>()?;
    codes.sort_unstable();
    codes.dedup();
    let attempts = policy.num_retries.map_or(1, |number| number.value);
    if !(1..=Retry::MAX_ATTEMPTS).contains(&attempts) {
        return Err(format!("num_retries {attempts} is not from 1 to {}", Retry::MAX_ATTEMPTS));
    }
    let base = policy.retry_back_off.as_ref().and_then(|back_off| back_off.base_interval);
    let backoff = bound("base_interval", base)?.unwrap_or(Retry::DEFAULT_BACKOFF);
    Ok(Some(Retry { codes, grpc_codes, attempts, backoff }))
}

/// What leads a request to the same endpoint again: one key at most.
pub(super) fn hash_key(action: &RouteAction) -> Result<Option<HashKey>, String> {
    let specifier = match action.hash_policy.as_slice() {
        [] => return Ok(None),
        [policy] => policy.policy_specifier.as_ref(),
        several => return Err(format!("{} hash policies, of which this proxy takes one", several.len())),
    };
    match specifier {
        Some(PolicySpecifier::Header(header)) if header.regex_rewrite.is_none() => {
            Ok(Some(HashKey::Header(header.header_name.to_ascii_lowercase())))
        }
        Some(PolicySpecifier::Cookie(cookie)) => {
            Ok(Some(HashKey::Cookie { name: cookie.name.clone(), ttl: bound("ttl", cookie.ttl)? }))
        }
        _ => Err("its hash policy is neither a header nor a cookie".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn the_words_of_retry_on_are_taken_or_refused_by_name() {
        let policy = |on: &str, codes: &[u32]| RetryPolicy {
            retry_on: on.to_owned(),
            retriable_status_codes: codes.to_vec(),
            ..RetryPolicy::default()
        };
        assert_eq!(retry(&policy("", &[])).unwrap(), None);
        let read = retry(&policy("connect-failure, unavailable,cancelled", &[503, 500])).unwrap().unwrap();
        assert_eq!(read.codes, [500, 503]);
        assert_eq!(read.grpc_codes, [GrpcCode::Cancelled, GrpcCode::Unavailable]);
        assert_eq!((read.attempts, read.backoff), (1, Retry::DEFAULT_BACKOFF));
        for (on, codes, told) in
            [("5xx", &[][..], "\"5xx\" is not known"), ("", &[][..], ""), ("cancelled", &[999], "999")]
        {
            let read = retry(&policy(on, codes));
            assert!(read.as_ref().is_err_and(|reason| reason.contains(told)) || on.is_empty(), "{read:?}");
        }
    }
}
