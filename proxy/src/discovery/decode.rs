//! From a resource on the wire to a noun of the mesh, checked once: behind this the types cannot be wrong.
//!
//! Called by the subscriber for each resource of a response; the reason of an error is what the NACK says. It must
//! never panic on any bytes, and never let a resource through under another name than the one it was sent under.

use std::sync::Arc;

use api::xds::pb::envoy::config::cluster::v3::Cluster;
use api::xds::pb::envoy::config::core::v3::Metadata;
use api::xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use api::xds::pb::envoy::config::route::v3::RouteConfiguration;
use api::xds::pb::envoy::service::discovery::v3::Resource;
use api::xds::pb::google::protobuf::value;
use api::{POLICY_TYPE_URL, v1};
use mesh::{Authority, Endpoint, Protocol, RouteRule, ServicePolicy};
use prost::{Message, Name};

use super::decode_endpoints::endpoints;
use super::decode_routes::rules;

/// The kinds of resource that the proxy subscribes to, in the order in which they are asked for (make before break).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CDS: what an authority speaks.
    Clusters,
    /// EDS: which addresses serve it.
    Endpoints,
    /// RDS: where its requests go.
    Routes,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Clusters, Self::Endpoints, Self::Routes];

    /// Its xDS type URL.
    #[must_use]
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Clusters => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The kind of this type URL, if it is one of ours.
    #[must_use]
    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }
}

/// A resource that was checked.
#[derive(Debug)]
pub(super) enum Decoded {
    Routes(Vec<RouteRule>),
    Cluster(Protocol, Arc<ServicePolicy>),
    Endpoints(Vec<Endpoint>),
}

/// Reads and checks one resource, with the authority that it is about.
pub(super) fn decoded(kind: Kind, resource: Resource) -> Result<(Authority, Decoded), String> {
    let name: Authority = resource.name.parse().map_err(|error: mesh::NameError| error.to_string())?;
    let body = resource.resource.ok_or("it has no body")?;
    if body.type_url != kind.type_url() {
        return Err(format!("its body is a {:?} in a response of {:?}", body.type_url, kind.type_url()));
    }
    let (inner, decoded) = match kind {
        Kind::Clusters => {
            let cluster: Cluster = message(&body.value)?;
            let protocol = protocol(cluster.metadata.as_ref())?;
            let policy = policy(cluster.metadata.as_ref())?;
            (cluster.name, Decoded::Cluster(protocol, Arc::new(policy)))
        }
        Kind::Endpoints => {
            let assignment: ClusterLoadAssignment = message(&body.value)?;
            (assignment.cluster_name.clone(), Decoded::Endpoints(endpoints(assignment)?))
        }
        Kind::Routes => {
            let configuration: RouteConfiguration = message(&body.value)?;
            (configuration.name.clone(), Decoded::Routes(rules(configuration)?))
        }
    };
    if inner != resource.name {
        return Err(format!("its body is named {inner:?}"));
    }
    Ok((name, decoded))
}

/// The text that Penstock's metadata holds under `key`.
pub(super) fn penstock_text<'m>(metadata: Option<&'m Metadata>, key: &str) -> Option<&'m str> {
    match &metadata?.filter_metadata.get("penstock")?.fields.get(key)?.kind {
        Some(value::Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn protocol(metadata: Option<&Metadata>) -> Result<Protocol, String> {
    let text = penstock_text(metadata, "protocol").ok_or("its metadata names no protocol")?;
    Protocol::named(text)
        .ok_or_else(|| format!("protocol {text:?} is not known; http, http2, grpc and tcp are"))
}

/// The policy on the service, which Penstock's control plane sends whole beside xDS's own words.
fn policy(metadata: Option<&Metadata>) -> Result<ServicePolicy, String> {
    let Some(sent) = metadata.and_then(|metadata| metadata.typed_filter_metadata.get("penstock")) else {
        return Ok(ServicePolicy::default());
    };
    if sent.type_url != POLICY_TYPE_URL {
        return Err(format!("its typed metadata is a {:?}, which is not known", sent.type_url));
    }
    let sent = v1::ServicePolicy::decode(sent.value.as_slice()).map_err(|error| error.to_string())?;
    ServicePolicy::try_from(&sent).map_err(|error| format!("its policy: {error}"))
}

fn message<M: Message + Name + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| format!("it is no {}: {error}", M::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_urls_are_those_of_the_messages() {
        assert_eq!(Kind::Clusters.type_url(), Cluster::type_url());
        assert_eq!(Kind::Endpoints.type_url(), ClusterLoadAssignment::type_url());
        assert_eq!(Kind::Routes.type_url(), RouteConfiguration::type_url());
        assert_eq!(Kind::of("type.googleapis.com/envoy.config.listener.v3.Listener"), None);
    }
}
