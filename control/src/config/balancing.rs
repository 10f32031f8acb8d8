//! How a `TrafficPolicy` spreads requests and sets endpoints aside: `balancer`, `slowStart`, `zonePreference`, `ejection`.

use api::{COOKIE_MS, COUNT, EJECTION_MS, SLOW_START_MS, SOME_PERCENT, STDEV_FACTOR, header_name_fault};
use mesh::{Balancer, Ejection, HashKey, SlowStart, SuccessRate, ZonePreference};

use super::complaints::Complaints;
use super::duration;
use super::fields::{Fields, shown};

/// Balancers as documents name them.
pub(super) const BALANCERS: [(&str, Balancer); 4] = [
    ("PeakEwma", Balancer::PeakEwma),
    ("LeastRequest", Balancer::LeastRequest),
    ("RoundRobin", Balancer::RoundRobin),
    ("RingHash", Balancer::RingHash),
];

/// Reads `balancer`: how an endpoint is picked, and by what of the request if by a ring.
pub(super) fn balancer(outer: &mut Fields<'_>, complaints: &mut Complaints) -> (Balancer, Option<HashKey>) {
    let Some(mut fields) = outer.fields("balancer", complaints) else { return Default::default() };
    let kind = fields.text("type", complaints);
    let hash = fields.fields("hashOn", complaints).and_then(|on| hash_key(on, complaints));
    let path = fields.path("type");
    let position = fields.position;
    fields.finish(complaints);
    let known = |(text, position)| {
        let balancer = BALANCERS.iter().find(|(name, _)| *name == text).map(|(_, balancer)| *balancer);
        if balancer.is_none() {
            let names = BALANCERS.map(|(name, _)| name).join(", ");
            complaints.add(position, &path, format!("{} must be one of {names}", shown(text)));
        }
        balancer
    };
    let balancer = kind.and_then(known).unwrap_or_default();
    let had = complaints.count();
    if (balancer == Balancer::RingHash) != hash.is_some() && had == complaints.count() {
        let message = "must be RingHash with `hashOn`, or another balancer without it";
        complaints.add(position, &path, message);
    }
    (balancer, hash)
}

fn hash_key(mut fields: Fields<'_>, complaints: &mut Complaints) -> Option<HashKey> {
    let had = complaints.count();
    let header = fields.text("header", complaints);
    let cookie = fields.fields("cookie", complaints);
    if header.is_some() == cookie.is_some() && complaints.count() == had {
        complaints.add(fields.position, &fields.path("header"), "must be there, or `cookie`, and not both");
    }
    let header_path = fields.path("header");
    fields.finish(complaints);
    if let Some(mut cookie) = cookie {
        let name = cookie.text("name", complaints);
        let ttl = duration::field(&mut cookie, "ttl", &COOKIE_MS, complaints);
        if name.is_none() && complaints.count() == had {
            cookie.missing("name", "the cookie to look at", complaints);
        }
        let path = cookie.path("name");
        cookie.finish(complaints);
        let (name, position) = name?;
        if let Some(fault) = header_name_fault(name) {
            complaints.add(position, &path, format!("{} {fault}", shown(name)));
        }
        return (complaints.count() == had).then(|| HashKey::Cookie { name: name.to_owned(), ttl });
    }
    let (name, position) = header?;
    if let Some(fault) = header_name_fault(name) {
        complaints.add(position, &header_path, format!("{} {fault}", shown(name)));
    }
    (complaints.count() == had).then(|| HashKey::Header(name.to_ascii_lowercase()))
}

/// Reads `slowStart`.
pub(super) fn slow_start(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<SlowStart> {
    let mut fields = outer.fields("slowStart", complaints)?;
    let window = duration::field(&mut fields, "window", &SLOW_START_MS, complaints);
    let min_percent = fields.number("minPercent", SOME_PERCENT, complaints);
    fields.finish(complaints);
    let usual = SlowStart::default();
    Some(SlowStart {
        window: window.unwrap_or(usual.window),
        min_percent: min_percent.unwrap_or(usual.min_percent),
    })
}

/// Reads `zonePreference`.
pub(super) fn zones(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<ZonePreference> {
    let mut fields = outer.fields("zonePreference", complaints)?;
    let min_endpoints = fields.number("minEndpoints", COUNT, complaints);
    fields.finish(complaints);
    Some(min_endpoints.map_or_else(ZonePreference::default, |min_endpoints| ZonePreference { min_endpoints }))
}

/// Reads `ejection`.
pub(super) fn ejection(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<Ejection> {
    let mut fields = outer.fields("ejection", complaints)?;
    let usual = Ejection::default();
    let in_a_row = fields.number("consecutiveFailures", 0..=*COUNT.end(), complaints);
    let success_rate = success_rate(&mut fields, complaints);
    let mut time = |name| duration::field(&mut fields, name, &EJECTION_MS, complaints);
    let (interval, base_time, max_time) = (time("interval"), time("baseTime"), time("maxTime"));
    let max_percent = fields.number("maxPercent", SOME_PERCENT, complaints);
    let min_ready = fields.number("minReady", 0..=*COUNT.end(), complaints);
    let base_time = base_time.unwrap_or(usual.base_time);
    let max_time_stated = max_time.unwrap_or(usual.max_time.max(base_time));
    if max_time_stated < base_time {
        complaints.add(fields.position, &fields.path("maxTime"), "must not be shorter than `baseTime`");
    }
    fields.finish(complaints);
    Some(Ejection {
        consecutive_failures: match in_a_row {
            Some(count) => (count > 0).then_some(count),
            None => usual.consecutive_failures,
        },
        success_rate,
        interval: interval.unwrap_or(usual.interval),
        base_time,
        max_time: max_time_stated.max(base_time),
        max_percent: max_percent.unwrap_or(usual.max_percent),
        min_ready: min_ready.unwrap_or(usual.min_ready),
    })
}

fn success_rate(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<SuccessRate> {
    let mut fields = outer.fields("successRate", complaints)?;
    let usual = SuccessRate::default();
    let min_requests = fields.number("minRequests", COUNT, complaints);
    let min_endpoints = fields.number("minEndpoints", COUNT, complaints);
    let stdev_factor = fields.number("stdevFactor", STDEV_FACTOR, complaints);
    fields.finish(complaints);
    Some(SuccessRate {
        min_requests: min_requests.unwrap_or(usual.min_requests),
        min_endpoints: min_endpoints.unwrap_or(usual.min_endpoints),
        stdev_factor: stdev_factor.unwrap_or(usual.stdev_factor),
    })
}
