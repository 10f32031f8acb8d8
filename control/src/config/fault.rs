//! The `fault` of a `TrafficPolicy`: what happens to a share of the requests, to see what becomes of their callers.

use std::time::Duration;

use api::{FAULT_DELAY_MS, SOME_PERCENT};
use mesh::{Abort, Fault};

use super::complaints::Complaints;
use super::duration;
use super::fields::Fields;

/// Reads `fault`.
pub(super) fn read(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<Fault> {
    let mut fields = outer.fields("fault", complaints)?;
    let had = complaints.count();
    let delay = fields.fields("delay", complaints).and_then(|inner| delay(inner, complaints));
    let abort = fields.fields("abort", complaints).and_then(|inner| abort(inner, complaints));
    if delay.is_none() && abort.is_none() && complaints.count() == had {
        fields.missing("delay", "a fault has a `delay`, an `abort` or both", complaints);
    }
    fields.finish(complaints);
    (complaints.count() == had).then_some(Fault { delay, abort })
}

fn percent(fields: &mut Fields<'_>, complaints: &mut Complaints) -> Option<u32> {
    let had = complaints.count();
    let percent = fields.number("percent", SOME_PERCENT, complaints);
    if percent.is_none() && complaints.count() == had {
        fields.missing("percent", "how many of 100 requests, 1 to 100", complaints);
    }
    percent
}

fn delay(mut fields: Fields<'_>, complaints: &mut Complaints) -> Option<(u32, Duration)> {
    let percent = percent(&mut fields, complaints);
    let had = complaints.count();
    let delay = duration::field(&mut fields, "duration", &FAULT_DELAY_MS, complaints);
    if delay.is_none() && complaints.count() == had {
        fields.missing("duration", "how long they wait, for instance 200ms", complaints);
    }
    fields.finish(complaints);
    Some((percent?, delay?))
}

fn abort(mut fields: Fields<'_>, complaints: &mut Complaints) -> Option<(u32, Abort)> {
    let percent = percent(&mut fields, complaints);
    let had = complaints.count();
    let http = fields.number("httpStatus", 200..=599, complaints);
    let grpc = fields.number("grpcStatus", 0..=16, complaints);
    if http.is_some() == grpc.is_some() && complaints.count() == had {
        fields.missing(
            "httpStatus",
            "how they are answered: `httpStatus` or `grpcStatus`, one of them",
            complaints,
        );
    }
    fields.finish(complaints);
    let http = http.and_then(|status| u16::try_from(status).ok()).map(Abort::Http);
    let grpc = grpc.and_then(|status| u8::try_from(status).ok()).map(Abort::Grpc);
    Some((percent?, http.or(grpc)?))
}
