//! RDS to sessions: Envoy's stateful sessions as the control plane says them, of the weighted clusters of a route.

use api::session_name_fault;
use api::xds::pb::envoy::config::route::v3::RouteAction;
use api::xds::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use api::xds::pb::envoy::extensions::filters::http::stateful_session::v3::StatefulSessionPerRoute;
use api::xds::pb::envoy::extensions::filters::http::stateful_session::v3::stateful_session_per_route::Override;
use api::xds::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use api::xds::pb::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use api::xds::pb::google::protobuf::Any;
use mesh::{Session, SessionToken};
use prost::{Message, Name};

use super::decode_retries::bound;

/// Where the sessions of a cluster stand.
const SESSION_FILTER: &str = "envoy.filters.http.stateful_session";

/// How the requests of a route stay with their endpoints, the same for each of its clusters.
pub(super) fn session(action: &RouteAction) -> Result<Option<Session>, String> {
    let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
        return Ok(None);
    };
    let mut said =
        weighted.clusters.iter().map(|cluster| cluster.typed_per_filter_config.get(SESSION_FILTER));
    let Some(first) = said.next() else { return Ok(None) };
    if said.any(|other| other != first) {
        return Err("its clusters have sessions of different kinds".to_owned());
    }
    first.map(read).transpose()
}

fn read(said: &Any) -> Result<Session, String> {
    let of_route: StatefulSessionPerRoute = message(said)?;
    let Some(Override::StatefulSession(session)) = of_route.r#override else {
        return Err("its sessions are switched off".to_owned());
    };
    let state =
        session.session_state.and_then(|state| state.typed_config).ok_or("its sessions have no state")?;
    let (name, token) = if state.type_url == HeaderBasedSessionState::type_url() {
        (message::<HeaderBasedSessionState>(&state)?.name, SessionToken::Header)
    } else {
        let cookie =
            message::<CookieBasedSessionState>(&state)?.cookie.ok_or("its sessions name no cookie")?;
        (cookie.name, SessionToken::Cookie(bound("ttl", cookie.ttl)?))
    };
    match session_name_fault(&name, token == SessionToken::Header) {
        Some(fault) => Err(format!("the session's name {name:?} {fault}")),
        None => Ok(Session { name, token }),
    }
}

fn message<M: Message + Name + Default>(said: &Any) -> Result<M, String> {
    if said.type_url != M::type_url() {
        return Err(format!("its session is a {:?}", said.type_url));
    }
    M::decode(said.value.as_slice()).map_err(|error| error.to_string())
}
