//! Carries the streams between proxies and nodes: ordered and reliable until they break, and then broken on both ends.

use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use control::discovery::Push;
use mesh::Timestamp;

use super::event::Event;
use super::proxies::{DIAL_AGAIN, KEEP_ALIVE, WANDER};
use super::run::World;
use crate::invariants::{Violation, held};
use crate::marks::Mark;
use crate::network::Host;
use crate::sabotage::Sabotage;

/// How soon both ends see a connection that was reset end.
const RESET: Duration = Duration::from_millis(1);

impl World {
    fn proxy_time(&self) -> Timestamp {
        Timestamp::default().plus(self.heap.now())
    }

    pub(super) fn stream_event(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::ProxyWake { proxy, life } => self.proxy_wakes(proxy, life),
            Event::ProxyWanders(id) => {
                if self.heap.now() < self.writes_end {
                    self.wander(id);
                    let pause = self.chance.latency(WANDER);
                    self.heap.put_in(pause, Event::ProxyWanders(id));
                }
            }
            Event::StreamRequest { proxy, node, stream, request } => {
                return self.stream_request(proxy, node, stream, request);
            }
            Event::StreamResponse { proxy, stream, response } => {
                return self.stream_response(proxy, stream, *response);
            }
            Event::StreamBroken { proxy, stream } => {
                self.proxies.get_mut(&proxy).expect("every proxy exists").broken(stream);
            }
            Event::SessionBroken { node, proxy, stream } => {
                self.closed.insert((proxy, stream));
                self.slow.ended((proxy, stream));
                if let Some(running) = &mut self.nodes.get_mut(&node).expect("every node exists").running {
                    running.stream_broken((proxy, stream));
                }
            }
            Event::ProxyDies { proxy, times } => self.proxy_dies(proxy, times),
            Event::Storm { times } => self.storm(times),
            Event::AllDial => self.all_dial(),
            _ => unreachable!("only events of streams come here"),
        }
        Ok(())
    }

    /// A proxy wants one more service, or one less.
    pub(super) fn wander(&mut self, id: u64) {
        let now = self.proxy_time();
        let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
        let requests = proxy.wander(now, &self.scenario.shape, &mut self.chance);
        self.measures.holds(id, &proxy.subscriber);
        self.send_requests(id, requests);
    }

    fn stream_request(
        &mut self,
        proxy: u64,
        node: u64,
        stream: u64,
        mut request: Box<DeltaDiscoveryRequest>,
    ) -> Result<(), Violation> {
        if self.closed.contains(&(proxy, stream)) {
            return Ok(());
        }
        if self.nodes[&node].running.is_none() {
            self.heap.put_in(Duration::from_millis(1), Event::StreamBroken { proxy, stream });
            return Ok(());
        }
        let (refused, nonce) = (request.error_detail.is_some(), request.response_nonce.clone());
        if self.scenario.sabotage == Some(Sabotage::RefusalForgotten) {
            request.error_detail = None;
        }
        let mut known = None;
        self.with(node, None, |running, _, _, effects| {
            running.stream_request((proxy, stream), request, effects);
            known = running.refusals((proxy, stream));
        })?;
        if refused {
            self.reached.insert(Mark::Refused);
            return self.refusals.arrived(proxy, nonce, known);
        }
        Ok(())
    }

    fn stream_response(
        &mut self,
        id: u64,
        stream: u64,
        response: DeltaDiscoveryResponse,
    ) -> Result<(), Violation> {
        let now = self.heap.now();
        self.slow.delivered((id, stream));
        let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
        if self.scenario.sabotage == Some(Sabotage::BreakBeforeMake) {
            for view in super::proxies::hasty_views(&proxy.subscriber, &response) {
                self.making.told(id, &view)?;
            }
        }
        if !response.removed_resources.is_empty() {
            self.reached.insert(Mark::Removed);
        }
        self.measures.told(now, id, &response);
        let before = proxy.refuses().then(|| (versions(&response), held(&proxy.subscriber)));
        let Some(outputs) = proxy.answered(stream, response, now) else { return Ok(()) };
        self.revisions.answered(id, &proxy.subscriber)?;
        if let (Some((told, before)), Some(request)) = (before, outputs.requests.first()) {
            let after = held(&proxy.subscriber);
            self.refusals.answered(id, &told, request, &before, &after)?;
        }
        for resolution in outputs.resolutions.values() {
            self.making.resolved(id, resolution)?;
        }
        self.trace.tell_number(proxy.subscriber.tally().accepted ^ id);
        self.send_requests(id, outputs.requests);
        Ok(())
    }

    fn proxy_wakes(&mut self, id: u64, life: u64) {
        let now = self.proxy_time();
        let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
        if proxy.life != life {
            return;
        }
        // What workers call they ask for again when it was dropped, for instance because it did not exist.
        let mut requests = proxy.subscriber.evict(now).requests;
        self.measures.holds(id, &proxy.subscriber);
        if proxy.stream.is_none() {
            requests = proxy.dial(&self.scenario.shape, &mut self.chance);
        }
        self.send_requests(id, requests);
        let pause = self.chance.between(DIAL_AGAIN / 2, DIAL_AGAIN * 3 / 2);
        self.heap.put_in(pause, Event::ProxyWake { proxy: id, life });
    }

    pub(super) fn send_requests(&mut self, id: u64, requests: Vec<DeltaDiscoveryRequest>) {
        let Some((node, stream)) = self.proxies[&id].stream else { return };
        if self.doomed.contains(&(id, stream)) {
            return;
        }
        for request in requests {
            let (from, to, now) = (Host::Proxy(id), Host::Node(node), self.heap.now());
            let Some(at) = self.network.stream(from, to, now, &mut self.chance) else {
                return self.break_stream(id, node, stream, KEEP_ALIVE);
            };
            let request = Box::new(request);
            self.heap.put(at, Event::StreamRequest { proxy: id, node, stream, request });
        }
    }

    /// A session's answer goes out, or finds its link cut.
    pub(super) fn send_answer(&mut self, node: u64, proxy: u64, stream: u64, mut push: Push) {
        if self.doomed.contains(&(proxy, stream)) {
            return;
        }
        match self.scenario.sabotage {
            Some(Sabotage::LostRemoval) if stream > 1 => push.removed.clear(),
            Some(Sabotage::OldVersion) => self.age(&mut push),
            Some(Sabotage::Hoarding) => self.confirm_for(proxy, node, stream, &push),
            _ => {}
        }
        let (from, to, now) = (Host::Node(node), Host::Proxy(proxy), self.heap.now());
        let Some(at) = self.network.stream(from, to, now, &mut self.chance) else {
            return self.break_stream(proxy, node, stream, KEEP_ALIVE);
        };
        self.slow.sent((proxy, stream));
        let response = Box::new(push.delta());
        self.heap.put(at, Event::StreamResponse { proxy, stream, response });
    }

    /// Sabotage: one resource in some is sent as it was when it was sent first.
    fn age(&mut self, push: &mut Push) {
        for resource in &mut push.resources {
            let first =
                self.first_sent.entry((push.kind, resource.name.clone())).or_insert_with(|| resource.clone());
            if self.chance.happens(100) {
                resource.clone_from(first);
            }
        }
    }

    /// Sabotage: an answer is confirmed to the session as soon as it is sent.
    fn confirm_for(&mut self, proxy: u64, node: u64, stream: u64, push: &Push) {
        let request = DeltaDiscoveryRequest {
            type_url: push.kind.type_url(),
            response_nonce: push.nonce.to_string(),
            ..DeltaDiscoveryRequest::default()
        };
        let event = Event::StreamRequest { proxy, node, stream, request: Box::new(request) };
        self.heap.put_in(Duration::from_millis(1), event);
    }

    /// Both ends see the stream end, `after` from now; nothing passes in between, for what was lost is missing.
    pub(super) fn break_stream(&mut self, proxy: u64, node: u64, stream: u64, after: Duration) {
        if self.doomed.insert((proxy, stream)) {
            self.heap.put_in(after, Event::StreamBroken { proxy, stream });
            self.heap.put_in(after, Event::SessionBroken { node, proxy, stream });
        }
    }

    /// Every stream to this node ends: its process died.
    pub(super) fn break_streams_of(&mut self, node: u64, after: Duration) {
        for proxy in self.proxies.values() {
            if let Some((_, stream)) = proxy.stream.filter(|(to, _)| *to == node) {
                self.closed.insert((proxy.id, stream));
                self.slow.ended((proxy.id, stream));
                self.heap.put_in(after, Event::StreamBroken { proxy: proxy.id, stream });
            }
        }
    }

    /// A proxy's stream, if it has one, is dead without a word; keep-alives notice.
    pub(super) fn silence_stream(&mut self, proxy: u64) {
        if let Some((node, stream)) = self.proxies[&proxy].stream {
            self.break_stream(proxy, node, stream, KEEP_ALIVE);
        }
    }

    /// The connections of all proxies are reset at once, and all dial at once, before any pause of their own.
    pub(super) fn storm(&mut self, times: u64) {
        if self.healed {
            return;
        }
        let open = self
            .proxies
            .values()
            .filter_map(|proxy| proxy.stream.map(|(node, stream)| (proxy.id, node, stream)));
        for (proxy, node, stream) in open.collect::<Vec<_>>() {
            self.break_stream(proxy, node, stream, RESET);
        }
        self.heap.put_in(RESET, Event::AllDial);
        if times > 1 {
            let soon = self.chance.between(RESET, DIAL_AGAIN * 2);
            self.heap.put_in(soon, Event::Storm { times: times - 1 });
        }
    }

    /// Every proxy that has no connection dials.
    pub(super) fn all_dial(&mut self) {
        let alone: Vec<u64> =
            self.proxies.values().filter(|proxy| proxy.stream.is_none()).map(|proxy| proxy.id).collect();
        for id in alone {
            let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
            let requests = proxy.dial(&self.scenario.shape, &mut self.chance);
            self.send_requests(id, requests);
        }
    }

    /// A proxy dies and starts again.
    pub(super) fn restart_proxy(&mut self, id: u64) {
        let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
        let open = proxy.stream;
        proxy.restart(self.heap.now());
        let life = proxy.life;
        self.revisions.restarted(id);
        self.measures.restarted(id);
        if let Some((node, stream)) = open {
            self.heap.put_in(Duration::from_millis(2), Event::SessionBroken { node, proxy: id, stream });
        }
        self.heap.put_in(DIAL_AGAIN, Event::ProxyWake { proxy: id, life });
        self.heap.put_in(DIAL_AGAIN, Event::Traffic { proxy: id, life });
    }

    /// A proxy in a crash loop dies, and will again.
    pub(super) fn proxy_dies(&mut self, id: u64, times: u64) {
        if self.healed {
            return;
        }
        self.restart_proxy(id);
        if times > 1 {
            let soon = self.chance.between(DIAL_AGAIN, DIAL_AGAIN * 3);
            self.heap.put_in(soon, Event::ProxyDies { proxy: id, times: times - 1 });
        }
    }
}

/// Name and version of each resource in an answer.
fn versions(response: &DeltaDiscoveryResponse) -> Vec<(String, String)> {
    let resources = response.resources.iter();
    resources.map(|resource| (resource.name.clone(), resource.version.clone())).collect()
}
