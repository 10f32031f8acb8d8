//! Sessions that stay with one endpoint: Gateway API's `SessionPersistence`
//! (GEP-1619, <https://gateway-api.sigs.k8s.io/geps/gep-1619/>).

use std::time::Duration;

use crate::route::{GrpcMatch, RouteMatch};

/// Requests of one session go to the endpoint that its first one was answered by, as long as that may be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The cookie's name, or the header's in lower case.
    pub name: String,
    /// How a session is told from others.
    pub token: SessionToken,
}

/// What says that a request is of a session. The answer gives it, and again where another endpoint answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionToken {
    /// A cookie that the caller forgets when it ends, or after this time.
    Cookie(Option<Duration>),
    /// A header, which the caller repeats.
    Header,
}

impl Session {
    /// What a cookie is bound to where `matched` took the request: rules of other paths have cookies of their own, though they share a name.
    #[must_use]
    pub fn cookie_path(matched: Option<&RouteMatch>) -> String {
        let called = matched.and_then(|matched| matched.grpc.as_ref()).and_then(GrpcMatch::path);
        let path = matched.and_then(|matched| matched.path.as_ref()).or(called.as_ref());
        path.map_or("/", |path| path.stem()).to_owned()
    }
}
