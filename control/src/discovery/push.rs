//! One answer to one client: which resources, which removals, under which nonce. Holds shared resources, no copies;
//! becomes bytes only where the stream takes it.

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryResponse, Resource as Wire,
};
use envoy_types::pb::google::protobuf::Any;
use mesh::Revision;

use super::kind::Kind;

/// One resource as it is on the wire, shared by every session that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// When its bytes last changed.
    pub version: Revision,
    /// Its protobuf message, encoded once.
    pub bytes: Bytes,
}

/// One answer of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// What kind all of it is.
    pub kind: Kind,
    /// What the client answers with; counts up on one stream.
    pub nonce: u64,
    /// Newest version among what the client holds of this kind, this answer included.
    pub version: Revision,
    /// What the node that answers had applied.
    pub applied: Revision,
    /// New or changed.
    pub resources: Vec<Arc<Resource>>,
    /// Gone, or never there. Always empty in the state of the world, where absence says it.
    pub removed: Vec<Arc<str>>,
}

impl Push {
    /// As an incremental answer.
    #[must_use]
    pub fn delta(&self) -> DeltaDiscoveryResponse {
        let type_url = self.kind.type_url();
        let resources = self.resources.iter().map(|resource| Wire {
            name: resource.name.to_string(),
            version: resource.version.to_string(),
            resource: Some(any(&type_url, resource)),
            ..Wire::default()
        });
        DeltaDiscoveryResponse {
            system_version_info: self.applied.to_string(),
            resources: resources.collect(),
            removed_resources: self.removed.iter().map(ToString::to_string).collect(),
            nonce: self.nonce.to_string(),
            type_url,
            ..DeltaDiscoveryResponse::default()
        }
    }

    /// As an answer in the state of the world.
    #[must_use]
    pub fn whole(&self) -> DiscoveryResponse {
        let type_url = self.kind.type_url();
        DiscoveryResponse {
            version_info: self.version.to_string(),
            resources: self.resources.iter().map(|resource| any(&type_url, resource)).collect(),
            nonce: self.nonce.to_string(),
            type_url,
            ..DiscoveryResponse::default()
        }
    }
}

fn any(type_url: &str, resource: &Resource) -> Any {
    Any { type_url: type_url.to_owned(), value: resource.bytes.to_vec() }
}
