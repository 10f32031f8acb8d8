//! Whether a request may be tried again after what a try came to: pure, and asked only where a route has a `retry`.

use mesh::Retry;

use crate::http::classify::grpc_number;
use crate::http::refusal::Refusal;
use crate::http::send::{Answer, Unsent};

/// What is known of the request when it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Doing it twice is doing it once (RFC 9110, section 9.2.2).
    pub(super) is_idempotent: bool,
    /// It speaks gRPC.
    pub(super) is_grpc: bool,
}

/// Whether `retry` allows another try.
///
/// What the route names by its status is tried again whatever the method: that is the operator's word. What was not begun
/// on always is, and what broke off or took too long only where doing it twice does no harm, or where the route names the
/// status that the caller would be told.
pub(super) fn allows(retry: &Retry, asked: Asked, sent: &Result<Answer, Unsent>) -> bool {
    match sent {
        Ok(answer) => names(retry, answer.status.as_u16(), grpc_number(&answer.headers)),
        Err(Unsent::NotConnected | Unsent::Unbegun | Unsent::Refused) => true,
        Err(Unsent::Lost(refusal @ (Refusal::BrokenOff | Refusal::TimedOut))) => {
            let number = asked.is_grpc.then(|| u32::from(refusal.grpc_status()));
            asked.is_idempotent || names(retry, refusal.status().as_u16(), number)
        }
        Err(Unsent::Lost(_) | Unsent::CallerGone) => false,
    }
}

fn names(retry: &Retry, status: u16, grpc_status: Option<u32>) -> bool {
    retry.codes.contains(&status)
        || grpc_status.is_some_and(|number| retry.grpc_codes.iter().any(|code| code.number() == number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use http::{HeaderMap, StatusCode};
    use mesh::GrpcCode;

    use super::*;
    use crate::http::body::Source;

    fn answer(status: u16, grpc_status: Option<&str>) -> Result<Answer, Unsent> {
        let mut headers = HeaderMap::new();
        if let Some(grpc_status) = grpc_status {
            headers.insert("grpc-status", grpc_status.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Answer { status, headers, source: Source::Empty, watch: None })
    }

    #[test]
    fn only_what_is_safe_or_named_by_the_route_is_tried_again() {
        let retry = Retry {
            codes: vec![503],
            grpc_codes: vec![GrpcCode::Unavailable],
            attempts: 1,
            backoff: Retry::DEFAULT_BACKOFF,
        };
        let named = Retry { codes: vec![502, 504], ..retry.clone() };
        let get = Asked { is_idempotent: true, is_grpc: false };
        let post = Asked { is_idempotent: false, is_grpc: false };
        let grpc = Asked { is_idempotent: false, is_grpc: true };
        for (retry, asked, sent, expected) in [
            (&retry, get, answer(503, None), true),
            (&retry, post, answer(503, None), true),
            (&retry, get, answer(500, None), false),
            (&retry, get, answer(200, None), false),
            (&retry, grpc, answer(200, Some("14")), true),
            (&retry, grpc, answer(200, Some("13")), false),
            (&retry, grpc, answer(200, Some("x")), false),
            (&retry, post, Err(Unsent::NotConnected), true),
            (&retry, post, Err(Unsent::Refused), true),
            (&retry, post, Err(Unsent::Unbegun), true),
            (&retry, get, Err(Unsent::Lost(Refusal::BrokenOff)), true),
            (&retry, post, Err(Unsent::Lost(Refusal::BrokenOff)), false),
            (&named, post, Err(Unsent::Lost(Refusal::BrokenOff)), true),
            (&retry, grpc, Err(Unsent::Lost(Refusal::BrokenOff)), true),
            (&retry, get, Err(Unsent::Lost(Refusal::TimedOut)), true),
            (&retry, post, Err(Unsent::Lost(Refusal::TimedOut)), false),
            (&named, post, Err(Unsent::Lost(Refusal::TimedOut)), true),
            (&retry, grpc, Err(Unsent::Lost(Refusal::TimedOut)), false),
            (&retry, get, Err(Unsent::Lost(Refusal::BadAnswer)), false),
            (&retry, get, Err(Unsent::Lost(Refusal::NoEndpoint)), false),
            (&retry, get, Err(Unsent::CallerGone), false),
        ] {
            assert_eq!(allows(retry, asked, &sent), expected, "{asked:?} {sent:?}");
        }
    }
}
