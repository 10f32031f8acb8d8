//! When a request is tried again. The shape is Gateway API's `HTTPRouteRetry`
//! (GEP-1731, <https://gateway-api.sigs.k8s.io/geps/gep-1731/>) with gRPC's codes beside it, and the budget is that of its
//! `BackendTrafficPolicy` (GEP-3388).

use std::time::Duration;

/// A gRPC status that may be tried again: the five that xDS has a word for (`retry_on` of Envoy and of gRFC A44).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrpcCode {
    /// CANCELLED (1).
    Cancelled,
    /// DEADLINE_EXCEEDED (4).
    DeadlineExceeded,
    /// RESOURCE_EXHAUSTED (8).
    ResourceExhausted,
    /// INTERNAL (13).
    Internal,
    /// UNAVAILABLE (14).
    Unavailable,
}

impl GrpcCode {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::Cancelled, Self::DeadlineExceeded, Self::ResourceExhausted, Self::Internal, Self::Unavailable];

    /// As `retry_on` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The code that `text` names.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// The number of `grpc-status`.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Cancelled => 1,
            Self::DeadlineExceeded => 4,
            Self::ResourceExhausted => 8,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }

    /// The code of this number.
    #[must_use]
    pub fn numbered(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

/// Leave to try a request again after it was sent. What was provably not sent is tried elsewhere without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// HTTP statuses (400 to 599) after which it is tried again, whatever its method. Ordered, each once.
    pub codes: Vec<u16>,
    /// gRPC statuses of an answer without a message after which it is tried again. Ordered, each once.
    pub grpc_codes: Vec<GrpcCode>,
    /// Most tries beyond the first, 1 to 10.
    pub attempts: u32,
    /// Shortest wait before the first of them; each further one waits up to twice as long, at most ten times this.
    pub backoff: Duration,
}

impl Retry {
    /// Tries beyond the first where none are stated.
    pub const DEFAULT_ATTEMPTS: u32 = 2;
    /// Most tries beyond the first: more would multiply a failing service's load.
    pub const MAX_ATTEMPTS: u32 = 10;
    /// Wait where none is stated, as Envoy's.
    pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);
    /// Longest wait, in multiples of `backoff`.
    pub const MAX_BACKOFF_FACTOR: u32 = 10;
}

/// How many retries all requests to a service may cause together, so that they cannot finish a service that is failing.
///
/// Within `window`, retries may be `percent` of the requests, and `min_retries` in each `min_window` beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Retries for 100 requests, 0 to 100.
    pub percent: u32,
    /// How long a request counts, 1 s to 1 h.
    pub window: Duration,
    /// Retries that are always allowed, so that a service of few requests has any.
    pub min_retries: u32,
    /// In which time, 1 s to 1 h.
    pub min_window: Duration,
}

impl Default for RetryBudget {
    /// Gateway API's defaults, which are Finagle's and Linkerd's too.
    fn default() -> Self {
        Self {
            percent: 20,
            window: Duration::from_secs(10),
            min_retries: 10,
            min_window: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_code_is_found_by_its_name_and_its_number_and_no_other_is() {
        for code in GrpcCode::ALL {
            assert_eq!(GrpcCode::named(code.as_str()), Some(code));
            assert_eq!(GrpcCode::numbered(code.number()), Some(code));
        }
        assert_eq!((GrpcCode::named("ok"), GrpcCode::numbered(0)), (None, None));
    }
}
