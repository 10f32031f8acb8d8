//! W3C trace context (<https://www.w3.org/TR/trace-context/>): read from `traceparent`, written with a span of our own.
//! Pure: chance is handed in. While no spans are exported the headers are only read; they pass as they came.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::balance::Chance;

/// Names a request's trace, its parent span, and whether it is sampled.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to it.
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a version 00 `traceparent`, and of the part of later versions that can be read.
const TRACEPARENT_BYTES: usize = 55;
/// The flag bits that are passed on: sampled, and that the trace id is random (level 2). Others must be zero.
const FLAGS_KNOWN: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// Where a request stands in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceContext {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    flags: u8,
}

/// The span that this proxy adds to a request's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnSpan {
    pub(super) context: TraceContext,
    /// The span that it hangs below; `None` for the first of a trace.
    pub(super) parent: Option<[u8; 8]>,
}

/// Which traces that begin here are sampled. One that began before keeps what was decided there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// A new trace is sampled if a random 32-bit number is below this.
    below: u64,
}

impl Sampler {
    /// Samples this share of new traces, from 0 to 1.
    #[must_use]
    pub fn ratio(ratio: f64) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 2^32
        let below = (ratio.clamp(0.0, 1.0) * (1_u64 << 32) as f64) as u64;
        Self { below }
    }

    /// Puts a span of our own into the request's trace, which begins here if there is none (or none that can be read).
    /// `None` when the trace is not sampled; it is then passed on as it came.
    pub(super) fn enter(&self, headers: &mut HeaderMap, chance: &mut Chance) -> Option<OwnSpan> {
        let above = TraceContext::read(headers);
        let context = match above {
            Some(above) if !above.is_sampled() => return None,
            Some(above) => TraceContext { span: span_id(chance), ..above },
            None => {
                // What was there belongs to a trace that cannot be read (section 4.3 of the recommendation).
                headers.remove(TRACESTATE);
                let flags = u8::from(chance.number() >> 32 < self.below) * SAMPLED;
                TraceContext { trace: trace_id(chance), span: span_id(chance), flags }
            }
        };
        let value = HeaderValue::from_str(&context.to_string()).expect("hexadecimal digits and dashes");
        headers.insert(TRACEPARENT, value);
        context.is_sampled().then_some(OwnSpan { context, parent: above.map(|above| above.span) })
    }
}

impl TraceContext {
    /// What `traceparent` says, if it can be read.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, none) = (values.next()?, values.next());
        if none.is_some() {
            return None;
        }
        Self::parsed(value.as_bytes())
    }

    fn parsed(text: &[u8]) -> Option<Self> {
        let (version, rest) = (hex::<1>(text.get(..2)?)?[0], text.get(2..TRACEPARENT_BYTES)?);
        let fits = match version {
            0 => text.len() == TRACEPARENT_BYTES,
            0xff => false,
            // Later versions may add fields after another dash.
            _ => text.get(TRACEPARENT_BYTES).is_none_or(|byte| *byte == b'-'),
        };
        if !fits || [rest[0], rest[33], rest[50]] != [b'-'; 3] {
            return None;
        }
        let (trace, span) = (hex::<16>(&rest[1..33])?, hex::<8>(&rest[34..50])?);
        let flags = hex::<1>(&rest[51..53])?[0] & FLAGS_KNOWN;
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags })
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id as people search for it.
    pub(super) fn trace_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace))
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

/// Exactly `N` bytes in lower-case hexadecimal digits, as the recommendation insists.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (text.len() == N * 2).then_some(bytes)
}

/// All zeros is no id.
fn span_id(chance: &mut Chance) -> [u8; 8] {
    chance.number().max(1).to_be_bytes()
}

fn trace_id(chance: &mut Chance) -> [u8; 16] {
    let number = u128::from(chance.number()) << 64 | u128::from(chance.number());
    number.max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    const SAMPLED_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNSAMPLED_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn carrying(traceparent: &str) -> HeaderMap {
        [(TRACEPARENT, traceparent.parse().unwrap()), (TRACESTATE, "a=1".parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn what_the_recommendation_allows_is_read_and_nothing_else() {
        for (text, is_valid) in [
            (SAMPLED_PARENT, true),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", true),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", false),
            ("00", false),
            ("", false),
        ] {
            assert_eq!(TraceContext::parsed(text.as_bytes()).is_some(), is_valid, "{text}");
        }
        let mut twice = carrying(SAMPLED_PARENT);
        twice.append(TRACEPARENT, SAMPLED_PARENT.parse().unwrap());
        assert_eq!(TraceContext::read(&twice), None);
    }

    #[test]
    fn a_sampled_parent_gets_a_child_and_keeps_its_state() {
        let (mut headers, mut chance) = (carrying(SAMPLED_PARENT), Chance::seeded(7));
        let span = Sampler::ratio(0.0).enter(&mut headers, &mut chance).unwrap();
        assert_eq!(span.parent, Some(0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()));
        assert_eq!(span.context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(Some(span.context.span), span.parent);
        assert_eq!(headers[TRACEPARENT], span.context.to_string());
        assert_eq!(headers[TRACESTATE], "a=1");
    }

    #[test]
    fn a_parent_that_is_not_sampled_passes_as_it_came() {
        let (mut headers, mut chance) = (carrying(UNSAMPLED_PARENT), Chance::seeded(7));
        assert_eq!(Sampler::ratio(1.0).enter(&mut headers, &mut chance), None);
        assert_eq!(headers, carrying(UNSAMPLED_PARENT));
    }

    #[test]
    fn without_a_readable_parent_a_trace_begins_and_the_ratio_decides() {
        let mut chance = Chance::seeded(7);
        for (ratio, fewest, most) in [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)] {
            let mut sampled = 0;
            for _ in 0..1000 {
                let mut headers = carrying("nonsense");
                let span = Sampler::ratio(ratio).enter(&mut headers, &mut chance);
                sampled += u32::from(span.is_some());
                assert!(!headers.contains_key(TRACESTATE));
                let told = TraceContext::read(&headers).unwrap();
                assert_eq!(told.is_sampled(), span.is_some(), "who comes after follows the decision");
            }
            assert!((fewest..=most).contains(&sampled), "{sampled} of 1000 at {ratio}");
        }
    }
}
