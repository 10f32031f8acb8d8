//! Carries the streams between proxies and nodes: ordered and reliable until they break, and then broken on both ends.

use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh::Timestamp;

use super::event::Event;
use super::proxies::{DIAL_AGAIN, KEEP_ALIVE, WANDER};
use super::run::World;
use crate::invariants::Violation;
use crate::network::Host;

impl World {
    fn proxy_time(&self) -> Timestamp {
        Timestamp::default().plus(self.heap.now())
    }

    pub(super) fn stream_event(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.proxy_time();
        match event {
            Event::ProxyWake { proxy, life } => self.proxy_wakes(proxy, life, now),
            Event::ProxyWanders(id) => {
                if self.heap.now() < self.writes_end {
                    let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
                    let requests = proxy.wander(now, &mut self.chance);
                    self.send_requests(id, requests);
                    let pause = self.chance.latency(WANDER);
                    self.heap.put_in(pause, Event::ProxyWanders(id));
                }
            }
            Event::StreamRequest { proxy, node, stream, request } => {
                if self.nodes[&node].running.is_none() {
                    let refused = Event::StreamBroken { proxy, stream };
                    self.heap.put_in(Duration::from_millis(1), refused);
                    return Ok(());
                }
                return self.with(node, None, |running, at, _, effects| {
                    running.stream_request((proxy, stream), &request, effects);
                    running.settle(at, effects);
                });
            }
            Event::StreamResponse { proxy: id, stream, response } => {
                let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
                let requests = proxy.answered(stream, *response, now);
                let held = proxy.held();
                self.trace.tell_number(held.values().map(|revision| revision.index).sum());
                self.revisions.holds(id, held)?;
                self.send_requests(id, requests);
            }
            Event::StreamBroken { proxy, stream } => {
                self.proxies.get_mut(&proxy).expect("every proxy exists").broken(stream);
            }
            Event::SessionBroken { node, proxy, stream } => {
                if let Some(running) = &mut self.nodes.get_mut(&node).expect("every node exists").running {
                    running.stream_broken((proxy, stream));
                }
            }
            _ => unreachable!("only events of streams come here"),
        }
        Ok(())
    }

    fn proxy_wakes(&mut self, id: u64, life: u64, now: Timestamp) {
        let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
        if proxy.life != life {
            return;
        }
        let mut requests = proxy.subscriber.evict(now).requests;
        // What workers call they ask for again when it was dropped, for instance because it did not exist.
        if proxy.stream.is_none() {
            requests = proxy.dial(&mut self.chance);
        }
        self.send_requests(id, requests);
        let pause = self.chance.between(DIAL_AGAIN / 2, DIAL_AGAIN * 3 / 2);
        self.heap.put_in(pause, Event::ProxyWake { proxy: id, life });
    }

    fn send_requests(&mut self, id: u64, requests: Vec<DeltaDiscoveryRequest>) {
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
    pub(super) fn send_answer(
        &mut self,
        node: u64,
        proxy: u64,
        stream: u64,
        response: DeltaDiscoveryResponse,
    ) {
        if self.doomed.contains(&(proxy, stream)) {
            return;
        }
        let (from, to, now) = (Host::Node(node), Host::Proxy(proxy), self.heap.now());
        let Some(at) = self.network.stream(from, to, now, &mut self.chance) else {
            return self.break_stream(proxy, node, stream, KEEP_ALIVE);
        };
        self.heap.put(at, Event::StreamResponse { proxy, stream, response: Box::new(response) });
    }

    /// Both ends see the stream end, `after` from now; nothing passes in between, for what was lost is missing.
    fn break_stream(&mut self, proxy: u64, node: u64, stream: u64, after: Duration) {
        if self.doomed.insert((proxy, stream)) {
            self.heap.put_in(after, Event::StreamBroken { proxy, stream });
            self.heap.put_in(after, Event::SessionBroken { node, proxy, stream });
        }
    }

    /// Every stream to this node ends: its process died.
    pub(super) fn break_streams_of(&mut self, node: u64, after: Duration) {
        for proxy in self.proxies.values() {
            if let Some((_, stream)) = proxy.stream.filter(|(to, _)| *to == node) {
                self.heap.put_in(after, Event::StreamBroken { proxy: proxy.id, stream });
            }
        }
    }

    /// No proxy reaches this node any more; their keep-alives notice.
    pub(super) fn cut_off_proxies(&mut self, node: u64) {
        let ids: Vec<u64> = self.proxies.keys().copied().collect();
        for id in ids {
            self.network.cut(Host::Proxy(id), Host::Node(node));
            self.network.cut(Host::Node(node), Host::Proxy(id));
            if let Some((_, stream)) = self.proxies[&id].stream.filter(|(to, _)| *to == node) {
                self.break_stream(id, node, stream, KEEP_ALIVE);
            }
        }
    }

    /// A proxy dies and starts again.
    pub(super) fn restart_proxy(&mut self) {
        let id = self.chance.below(self.proxies.len() as u64);
        let proxy = self.proxies.get_mut(&id).expect("every proxy exists");
        let open = proxy.stream;
        proxy.restart(self.heap.now());
        let life = proxy.life;
        self.revisions.restarted(id);
        if let Some((node, stream)) = open {
            self.heap.put_in(Duration::from_millis(2), Event::SessionBroken { node, proxy: id, stream });
        }
        self.heap.put_in(DIAL_AGAIN, Event::ProxyWake { proxy: id, life });
        self.heap.put_in(DIAL_AGAIN, Event::Traffic { proxy: id, life });
    }
}
