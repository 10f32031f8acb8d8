//! What proxies count, and how it is told: the real report ring on one side, the real partials on the other, and every
//! way in between in which an answer can be lost.

use std::collections::BTreeMap;
use std::time::Duration;

use control::catalog::{Catalog, HistoryEdge, Span};
use mesh::{Direction, Edge, EdgeTraffic, ProxyId, Timestamp, Window};
use proxy::report::ring::Ring;

use super::clock::WALL_START_MS;
use super::event::{Event, Reply, Request};
use super::run::World;
use crate::chance::Chance;
use crate::invariants::{ProxyLife, Violation};
use crate::network::Host;

/// How often a node looks whether traffic is due to be proposed.
pub(crate) const POLL_PARTIALS: Duration = Duration::from_millis(250);

/// How often a proxy counts, and looks whether something is to be told.
pub(crate) const LOOK: Duration = Duration::from_millis(400);

/// How long a proxy waits for the answer to a report before it sends it again.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// The counting and telling side of one proxy.
#[derive(Debug)]
pub(crate) struct Teller {
    life: ProxyLife,
    ring: Ring,
    counted: u64,
    window: Window,
    /// Names the last report; answers to earlier ones count all the same.
    pub(crate) call: u64,
    told_at: Option<Duration>,
}

/// The wall clock of a proxy.
fn wall(now: Duration) -> Timestamp {
    Timestamp(WALL_START_MS).plus(now)
}

impl Teller {
    pub(crate) fn new(life: ProxyLife, now: Duration) -> Self {
        let proxy = ProxyId { name: format!("proxy-{}", life.0), incarnation: life.1 };
        let window = Window::at(wall(now));
        Self { life, ring: Ring::new(proxy), counted: 0, window, call: 0, told_at: None }
    }

    /// Counts some requests; a window that has ended is closed. Says which, and how many requests are in it.
    fn count(&mut self, now: Duration, last: bool, chance: &mut Chance) -> Option<(Window, u64)> {
        if !last {
            self.counted += chance.below(20);
        }
        let current = Window::at(wall(now));
        if (current == self.window && !last) || self.counted == 0 {
            return None;
        }
        let requests = std::mem::take(&mut self.counted);
        let edge = Edge {
            direction: Direction::Outbound,
            caller: format!("caller-{}-{}", self.life.0, self.life.1).parse().ok(),
            authority: format!("service-{}", self.life.0 % 4).parse().expect("a well-formed name"),
            callee: None,
        };
        let traffic = EdgeTraffic { successes: requests, ..EdgeTraffic::default() };
        self.ring.close(self.window, vec![(edge, traffic)]);
        self.window = current;
        let newest = self.ring.report().and_then(|report| report.windows.last().map(|window| window.window));
        newest.map(|window| (window, requests))
    }
}

/// Requests that the catalog has counted, per life of a proxy.
pub(crate) fn counted(catalog: &Catalog) -> BTreeMap<ProxyLife, u64> {
    let ever = Span { from: Timestamp(0), to: Timestamp(u64::MAX) };
    let life = |edge: &HistoryEdge| {
        let caller = edge.known()?.caller.as_ref()?.name().strip_prefix("caller-")?.to_owned();
        let (proxy, life) = caller.split_once('-')?;
        Some((proxy.parse().ok()?, life.parse().ok()?))
    };
    catalog.rollups().sums(ever, life).into_iter().map(|(life, sum)| (life, sum.requests())).collect()
}

impl World {
    pub(super) fn traffic_event(&mut self, event: &Event) -> Result<(), Violation> {
        match *event {
            Event::Traffic { proxy, life } => {
                self.traffic(proxy, life);
                Ok(())
            }
            Event::PollPartials { node, life } => {
                if self.nodes[&node].life == life {
                    self.heap.put_in(POLL_PARTIALS, Event::PollPartials { node, life });
                }
                self.with(node, Some(life), |running, at, _, effects| running.poll_partials(at, effects))
            }
            Event::PartialTimeout { node, life, batch } => {
                self.with(node, Some(life), |running, at, _, effects| {
                    running.partial_failed(batch, at, effects);
                })
            }
            _ => unreachable!("only events of traffic come here"),
        }
    }

    /// A proxy counts, and tells what was not acknowledged.
    fn traffic(&mut self, id: u64, life: u64) {
        let now = self.heap.now();
        // Told to the node that it follows, or to any when it follows none.
        let open = self.proxies[&id].stream.map(|(node, _)| node);
        let teller = &mut self.proxies.get_mut(&id).expect("every proxy exists").teller;
        if teller.life.1 != life {
            return;
        }
        if let Some((window, requests)) = teller.count(now, now >= self.writes_end, &mut self.chance) {
            self.rollups.closed(teller.life, window, requests);
        }
        let due = teller.told_at.is_none_or(|at| now >= at + TELL_AGAIN);
        if let Some(report) = teller.ring.report().filter(|_| due) {
            teller.call += 1;
            teller.told_at = Some(now);
            let any = self.chance.below(self.scenario.shape.nodes) + 1;
            let (from, node) = (Host::Proxy(id), open.unwrap_or(any));
            let body = Request::Report(Box::new(report));
            let call = teller.call;
            if let Some(at) = self.network.stream(from, Host::Node(node), now, &mut self.chance) {
                self.heap.put(at, Event::Request { from, signed: None, to: node, call, body });
            }
        }
        let pause = self.chance.between(LOOK / 2, LOOK * 3 / 2);
        self.heap.put_in(pause, Event::Traffic { proxy: id, life });
    }

    /// The answer to a report arrived at its proxy.
    pub(super) fn told(&mut self, id: u64, reply: &Reply) {
        let Reply::Counted { life, acknowledged, too_old } = reply else { return };
        let teller = &mut self.proxies.get_mut(&id).expect("every proxy exists").teller;
        if teller.life.1 != *life {
            return;
        }
        for window in acknowledged.iter().filter(|window| !too_old.contains(window)) {
            self.rollups.acknowledged(teller.life, *window);
        }
        let numbers = |windows: &[Window]| windows.iter().map(|window| window.0).collect::<Vec<_>>();
        teller.ring.acknowledged(&numbers(acknowledged), &numbers(too_old));
        teller.told_at = None;
    }

    /// In the end the catalog has counted what it should.
    pub(super) fn check_rollups(&self, catalog: &Catalog) -> Result<(), Violation> {
        self.rollups.check(&counted(catalog))?;
        match self.proxies.values().find(|proxy| proxy.teller.ring.waiting() > 0) {
            Some(proxy) => Err(Violation::new(
                "the healed group goes on",
                format!("proxy {} has windows that were not acknowledged: {:?}", proxy.id, proxy.teller),
            )),
            None => Ok(()),
        }
    }
}
