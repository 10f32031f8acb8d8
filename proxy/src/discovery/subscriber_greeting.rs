//! What a subscriber says first on a new stream: who it is and everything that it holds, so that any node resumes where
//! another left off. The rest of the subscriber is in `subscriber.rs`.

use std::collections::BTreeMap;

use api::xds::pb::envoy::config::core::v3::Node;
use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use api::xds::pb::google::protobuf::{Value, value::Kind as ValueKind};

use super::decode::Kind;
use super::subscriber::Subscriber;

impl Subscriber {
    /// A stream to some node is open: the first requests, with everything that is held.
    ///
    /// The first one carries the node. Routes are asked for even when nothing is wanted yet, so that the control plane
    /// learns who is there; clusters never without a name, which would mean all of them.
    pub fn connected(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.connected = true;
        self.digest_due = None;
        self.pending = Default::default();
        let mut requests = Vec::with_capacity(Kind::ALL.len());
        for kind in Kind::ALL {
            let (names, versions) = self.subscription(kind);
            if names.is_empty() && kind != Kind::Routes {
                continue;
            }
            requests.push(DeltaDiscoveryRequest {
                node: requests.is_empty().then(|| self.introduction()),
                type_url: kind.type_url().to_owned(),
                resource_names_subscribe: names,
                initial_resource_versions: versions.into_iter().collect(),
                ..DeltaDiscoveryRequest::default()
            });
        }
        requests.extend(self.owners.connected());
        requests
    }

    /// The node, with the newest revision seen as Penstock's control nodes read it.
    fn introduction(&self) -> Node {
        let mut node = self.node.clone();
        if let Some(seen) = self.seen {
            let text = Value { kind: Some(ValueKind::StringValue(seen.to_string())) };
            node.metadata.get_or_insert_default().fields.insert("penstock.revision".to_owned(), text);
        }
        node
    }

    /// Every subscribed name of a kind, and the revisions held of them.
    fn subscription(&self, kind: Kind) -> (Vec<String>, BTreeMap<String, String>) {
        let names = match kind {
            Kind::Routes => self.roots.keys().map(ToString::to_string).collect(),
            Kind::Clusters | Kind::Endpoints => self.clusters.keys().map(ToString::to_string).collect(),
        };
        let held = self.held().filter(|(of, ..)| *of == kind);
        (names, held.map(|(_, name, revision)| (name.to_string(), revision.to_string())).collect())
    }
}
