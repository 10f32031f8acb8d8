//! Records of single requests: the access log and the spans, for whoever asks for them. Off, they cost one branch.
//!
//! ```text
//! a request's Tally -> record.rs -> a bounded queue -> access_log.rs -> stdout or a file
//!                                -> a bounded queue -> spans.rs      -> an OTLP collector
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `record` | what is known of one request when it ends, and the worker's way into the queues |
//! | `trace` | W3C trace context, as a value |
//! | `line`, `calendar` | a record as a line of the log |
//! | `access_log` | the thread that writes lines |
//! | `aside`, `writers` | what the two threads have in common, and who starts and ends them |
//! | `span`, `spans` | a record as an OTLP span, and the thread that exports them |

mod access_log;
mod aside;
mod calendar;
mod line;
mod record;
mod span;
mod spans;
mod trace;
mod writers;

pub use record::{Ending, Record, Recorder, queue};
pub use trace::Sampler;
pub use writers::Writers;

/// For `fuzzing.rs`: any `traceparent` is read or passed over, and what is read is written the same.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn traces_are_read(value: &http::HeaderValue) {
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", value.clone());
    if let Some(context) = trace::TraceContext::read(&headers) {
        headers.insert("traceparent", context.to_string().parse().expect("what we write is a value"));
        assert_eq!(trace::TraceContext::read(&headers), Some(context));
    }
}
