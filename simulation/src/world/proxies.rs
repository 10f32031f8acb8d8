//! Proxies that follow services: the real subscriber at the end of an ordered stream that breaks when its node dies or is cut
//! off, and then dials another node.

use std::time::Duration;

use api::xds::pb::envoy::config::core::v3::Node;
use api::xds::pb::envoy::config::route::v3::{RouteConfiguration, route, route_action};
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh::{Authority, Backend, RouteRule, Timestamp};
use prost::Message as _;
use proxy::discovery::{Bounds, Kind, Outputs, Resolution, Subscriber};
use proxy::snapshot::{Known, ServiceView};

use super::traffic::Teller;
use super::writes::{any_service, service_name};
use crate::chance::Chance;
use crate::shape::Shape;

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
    /// What it is told of this service it cannot read, until then.
    refuses: Option<(String, Duration)>,
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
            refuses: None,
        }
    }

    /// Whatever it is told of a service before `until` it cannot read.
    pub(super) fn refuse(&mut self, service: u64, until: Duration) {
        self.refuses = Some((service_name(service), until));
    }

    /// Whether there is something that it cannot read.
    pub(super) fn refuses(&self) -> bool {
        self.refuses.is_some()
    }

    /// Reads everything again.
    pub(super) fn relent(&mut self) -> bool {
        self.refuses.take().is_some()
    }

    /// Spoils the resources in an answer that it cannot read.
    fn spoil(&self, response: &mut DeltaDiscoveryResponse, now: Duration) {
        let Some((service, until)) = &self.refuses else { return };
        let named = response.resources.iter_mut().filter(|resource| resource.name.starts_with(&**service));
        for body in named.filter(|_| now < *until).filter_map(|resource| resource.resource.as_mut()) {
            // A field of type 7, which no message has.
            body.value = vec![0xff];
        }
    }

    /// The process dies and starts again, empty.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.subscriber = subscriber(self.id);
        self.stream = None;
        self.refuses = None;
        self.life += 1;
        self.teller = Teller::new((self.id, self.life), now);
    }

    /// Opens a stream to some node; the first requests.
    pub(crate) fn dial(&mut self, shape: &Shape, chance: &mut Chance) -> Vec<DeltaDiscoveryRequest> {
        self.dials += 1;
        self.stream = Some((chance.below(shape.nodes) + 1, self.dials));
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

    /// An answer arrived on the stream with this number; nothing if that is not its stream any more.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        mut response: DeltaDiscoveryResponse,
        now: Duration,
    ) -> Option<Outputs> {
        self.stream.filter(|(_, open)| *open == number)?;
        self.spoil(&mut response, now);
        Some(self.subscriber.response(response, Timestamp::default().plus(now)))
    }

    /// Wants one more service, or one less.
    pub(crate) fn wander(
        &mut self,
        now: Timestamp,
        shape: &Shape,
        chance: &mut Chance,
    ) -> Vec<DeltaDiscoveryRequest> {
        let authority: Authority =
            any_service(shape, chance).parse().expect("a label and a number are a label");
        let follows = self.subscriber.wanted().count();
        if follows > 3 || (follows > 0 && chance.happens(300)) {
            self.subscriber.forget(&authority).requests
        } else {
            self.subscriber.want(&authority, now).requests
        }
    }
}

fn subscriber(id: u64) -> Subscriber {
    let node = Node { id: format!("proxy-{id}"), user_agent_name: "penstock".to_owned(), ..Node::default() };
    // Unknown services are forgotten soon, so that one that comes into being later is asked for again.
    // Digests often, so that a false alarm, which ends a stream and with it the run, would be seen.
    let (unknown, digest) = (Duration::from_secs(2), Duration::from_secs(1));
    Subscriber::new(node, Bounds { unknown, digest, ..Bounds::default() })
}

/// Sabotage: the views that a proxy would have if the rules of an answer came into force before their clusters are known.
pub(super) fn hasty_views(subscriber: &Subscriber, response: &DeltaDiscoveryResponse) -> Vec<ServiceView> {
    let routes = response.resources.iter().filter_map(|resource| {
        let body =
            resource.resource.as_ref().filter(|_| Kind::of(&response.type_url) == Some(Kind::Routes))?;
        let configuration = RouteConfiguration::decode(body.value.as_slice()).ok()?;
        Some((resource.name.parse::<Authority>().ok()?, configuration))
    });
    let view = |(authority, configuration): (Authority, RouteConfiguration)| {
        let Some(Resolution::Known(Known::Service(old))) = subscriber.resolution(&authority) else {
            return None;
        };
        let rules = vec![RouteRule { backends: backends(&configuration), ..RouteRule::default() }];
        Some(ServiceView { authority, rules, clusters: old.clusters.clone() })
    };
    routes.filter_map(view).collect()
}

fn backends(configuration: &RouteConfiguration) -> Vec<Backend> {
    let routes = configuration.virtual_hosts.iter().flat_map(|host| &host.routes);
    let actions = routes.filter_map(|route| match &route.action {
        Some(route::Action::Route(action)) => action.cluster_specifier.as_ref(),
        _ => None,
    });
    let names = actions.flat_map(|specifier| match specifier {
        route_action::ClusterSpecifier::Cluster(name) => vec![name.clone()],
        route_action::ClusterSpecifier::WeightedClusters(weighted) => {
            weighted.clusters.iter().map(|cluster| cluster.name.clone()).collect()
        }
        _ => Vec::new(),
    });
    names.filter_map(|name| Some(Backend { authority: name.parse().ok()?, weight: 1 })).collect()
}
