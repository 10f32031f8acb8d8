//! Proxies that follow services: the real subscriber at the end of an ordered stream that breaks when its node dies or is cut
//! off, and then dials another node.

use std::collections::BTreeMap;
use std::time::Duration;

use api::xds::pb::envoy::config::core::v3::Node;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh::{Authority, Revision, Timestamp};
use proxy::discovery::{Bounds, Kind, Subscriber};

use super::clients::SERVICES;
use super::node::NODES;
use super::traffic::Teller;
use crate::chance::Chance;

/// How long a proxy waits between two dials.
pub(crate) const DIAL_AGAIN: Duration = Duration::from_millis(300);

/// How long a stream over a cut link lives before keep-alive notices.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How often a proxy changes its mind about what it follows.
pub(crate) const WANDER: Duration = Duration::from_secs(3);

/// One proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) id: u64,
    pub(crate) subscriber: Subscriber,
    /// Node and number of the open stream.
    pub(crate) stream: Option<(u64, u64)>,
    /// Counts dials.
    pub(crate) dials: u64,
    /// What it counts and tells.
    pub(crate) teller: Teller,
    /// Counts starts; a restarted proxy holds nothing.
    pub(crate) life: u64,
}

impl Proxy {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            subscriber: subscriber(id),
            stream: None,
            dials: 0,
            teller: Teller::new((id, 1), Duration::ZERO),
            life: 1,
        }
    }

    /// The process dies and starts again, empty.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.subscriber = subscriber(self.id);
        self.stream = None;
        self.life += 1;
        self.teller = Teller::new((self.id, self.life), now);
    }

    /// Opens a stream to some node; the first requests.
    pub(crate) fn dial(&mut self, chance: &mut Chance) -> Vec<DeltaDiscoveryRequest> {
        self.dials += 1;
        self.stream = Some((chance.below(NODES) + 1, self.dials));
        self.subscriber.connected()
    }

    /// The stream with this number ended.
    pub(crate) fn broken(&mut self, number: u64) -> bool {
        let mine = self.stream.is_some_and(|(_, open)| open == number);
        if mine {
            self.stream = None;
            self.subscriber.disconnected();
        }
        mine
    }

    /// An answer arrived on the stream with this number.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        response: DeltaDiscoveryResponse,
        now: Timestamp,
    ) -> Vec<DeltaDiscoveryRequest> {
        match self.stream {
            Some((_, open)) if open == number => self.subscriber.response(response, now).requests,
            _ => Vec::new(),
        }
    }

    /// Wants one more service, or one less.
    pub(crate) fn wander(&mut self, now: Timestamp, chance: &mut Chance) -> Vec<DeltaDiscoveryRequest> {
        let service = chance.below(SERVICES + 1);
        let authority: Authority =
            format!("service-{service}").parse().expect("a label and a number are a label");
        let follows = self.subscriber.wanted().count();
        if follows > 3 || (follows > 0 && chance.happens(300)) {
            self.subscriber.forget(&authority).requests
        } else {
            self.subscriber.want(&authority, now).requests
        }
    }

    /// What it holds, and at which revision.
    pub(crate) fn held(&self) -> BTreeMap<(Kind, Authority), Revision> {
        self.subscriber.held().map(|(kind, name, revision)| ((kind, name.clone()), revision)).collect()
    }
}

fn subscriber(id: u64) -> Subscriber {
    let node = Node { id: format!("proxy-{id}"), user_agent_name: "penstock".to_owned(), ..Node::default() };
    // Unknown services are forgotten soon, so that one that comes into being later is asked for again.
    Subscriber::new(node, Bounds { unknown: Duration::from_secs(2), ..Bounds::default() })
}
