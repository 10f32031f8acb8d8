//! Sessions of a route, in xDS's words: Envoy's filter for stateful sessions, which our own proxy reads too. gRPC is not told of them.
//!
//! They are said of the weighted clusters that a route leads to, and faults of the route itself: a map of two keys would not be the same
//! bytes on every node.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3::stateful_session_per_route::Override;
use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute,
};
use envoy_types::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use envoy_types::pb::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use envoy_types::pb::envoy::r#type::http::v3::Cookie;
use envoy_types::pb::google::protobuf::Any;
use mesh::{RouteMatch, Session, SessionToken};

use super::parts;

/// Under which Envoy looks for the sessions of a route.
pub(super) const SESSION_FILTER: &str = "envoy.filters.http.stateful_session";

/// What a weighted cluster says of the sessions of the requests that were `matched` so.
pub(super) fn sessions(session: &Session, matched: &RouteMatch) -> HashMap<String, Any> {
    let name = session.name.clone();
    let (kind, state) = match session.token {
        SessionToken::Cookie(lives) => {
            let (ttl, path) = (lives.map(parts::duration), Session::cookie_path(Some(matched)));
            let cookie = Some(Cookie { name, ttl, path, ..Cookie::default() });
            ("cookie", parts::any(&CookieBasedSessionState { cookie }))
        }
        SessionToken::Header => ("header", parts::any(&HeaderBasedSessionState { name })),
    };
    let session_state = Some(TypedExtensionConfig {
        name: format!("envoy.http.stateful_session.{kind}"),
        typed_config: Some(state),
    });
    let session = StatefulSession { session_state, ..StatefulSession::default() };
    let of_route = StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) };
    [(SESSION_FILTER.to_owned(), parts::any(&of_route))].into()
}
