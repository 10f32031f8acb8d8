//! Load reports of Envoy and proxyless gRPC (LRS) to the mesh's own traffic reports, so that their calls show in
//! `penstock stat` like any other's. Pure: one tally per stream, reports and `now` in, closed windows out.
//!
//! Such a client counts per cluster and locality: there is no callee workload and no latency, and nothing is sent again.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterStats;
use mesh::{
    Authority, Direction, Edge, EdgeTraffic, Failure, ProxyId, Timestamp, TrafficReport, Window,
    WindowTraffic, WorkloadName,
};

/// Most clusters of one stream that are counted: a client that makes names up must not cost memory.
const EDGES_MAX: usize = 4096;

/// Longest name of a reporting client that is kept.
const NAME_CHARS_MAX: usize = 200;

/// What one load reporting stream has counted in the window that is open.
#[derive(Debug)]
pub struct LoadTally {
    proxy: ProxyId,
    caller: Option<WorkloadName>,
    window: Window,
    edges: BTreeMap<Authority, EdgeTraffic>,
}

impl LoadTally {
    /// A tally for the node of the first request. Each stream counts as a life of its own of a proxy of its own,
    /// `incarnation` must differ from those of all earlier streams: what two streams report in one window adds up.
    #[must_use]
    pub fn new(node: &Node, incarnation: u64, now: Timestamp) -> Self {
        let id: String = node.id.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
        Self {
            proxy: ProxyId { name: format!("{id}/load"), incarnation },
            caller: node.cluster.parse().or_else(|_| node.id.parse()).ok(),
            window: Window::at(now),
            edges: BTreeMap::new(),
        }
    }

    /// Adds a report; gives the window before, if that ended meanwhile.
    pub fn reported(&mut self, clusters: &[ClusterStats], now: Timestamp) -> Option<TrafficReport> {
        // What is reported now happened since the last report, most of it in the window that was open then.
        for stats in clusters {
            let Ok(authority) = stats.cluster_name.parse::<Authority>() else { continue };
            if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&authority) {
                continue;
            }
            let traffic = traffic(stats);
            if traffic.requests() > 0 || traffic.connections > 0 {
                self.edges.entry(authority).or_default().merge(&traffic);
            }
        }
        let ended = Window::at(now) > self.window;
        let report = ended.then(|| self.close()).flatten();
        self.window = self.window.max(Window::at(now));
        report
    }

    /// Gives what was counted and not given yet; for the end of the stream, too.
    pub fn close(&mut self) -> Option<TrafficReport> {
        let edges: Vec<_> = std::mem::take(&mut self.edges)
            .into_iter()
            .map(|(authority, traffic)| {
                let caller = self.caller.clone();
                (Edge { direction: Direction::Outbound, caller, authority, callee: None }, traffic)
            })
            .collect();
        let windows = vec![WindowTraffic { window: self.window, edges }];
        (!windows[0].edges.is_empty()).then(|| TrafficReport { proxy: self.proxy.clone(), windows })
    }
}

/// Errors are told without their kind: they count as the callee's. What was dropped reached nobody.
fn traffic(stats: &ClusterStats) -> EdgeTraffic {
    let mut sum = EdgeTraffic::default();
    let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
    for locality in &stats.upstream_locality_stats {
        add(&mut sum.successes, locality.total_successful_requests);
        add(&mut sum.failures[Failure::Server as usize], locality.total_error_requests);
        add(&mut sum.connections, locality.total_new_connections);
    }
    add(&mut sum.failures[Failure::Unavailable as usize], stats.total_dropped_requests);
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use envoy_types::pb::envoy::config::endpoint::v3::UpstreamLocalityStats;

    use super::*;

    fn stats(cluster: &str, successes: u64, errors: u64) -> ClusterStats {
        let locality = UpstreamLocalityStats {
            total_successful_requests: successes,
            total_error_requests: errors,
            ..UpstreamLocalityStats::default()
        };
        ClusterStats {
            cluster_name: cluster.to_owned(),
            upstream_locality_stats: vec![locality],
            total_dropped_requests: 1,
            ..ClusterStats::default()
        }
    }

    fn tally() -> LoadTally {
        let node = Node { id: "p1".to_owned(), cluster: "cart.shop".to_owned(), ..Node::default() };
        LoadTally::new(&node, 7, Timestamp(1_000_000))
    }

    #[test]
    fn reports_of_one_window_become_one_report_when_the_next_begins() {
        let mut tally = tally();
        let web = "web.default.svc.cluster.local:80";
        assert_eq!(tally.reported(&[stats(web, 3, 1)], Timestamp(1_001_000)), None);
        assert_eq!(tally.reported(&[stats(web, 2, 0)], Timestamp(1_009_999)), None);
        let report = tally.reported(&[stats(web, 1, 0)], Timestamp(1_010_000)).unwrap();
        assert_eq!(report.proxy, ProxyId { name: "p1/load".to_owned(), incarnation: 7 });
        let [window] = &report.windows[..] else { panic!("{report:?}") };
        assert_eq!(window.window, Window(100));
        let (edge, traffic) = &window.edges[0];
        assert_eq!(edge.caller, Some("cart.shop".parse().unwrap()));
        assert_eq!(edge.authority.to_string(), web);
        assert_eq!((traffic.successes, traffic.failures), (6, [1, 0, 0, 0, 3]));
        assert_eq!(tally.close(), None, "nothing is given twice");
    }

    #[test]
    fn what_is_left_at_the_end_of_the_stream_is_given() {
        let mut tally = tally();
        tally.reported(&[stats("web", 1, 0)], Timestamp(1_000_001));
        assert_eq!(tally.close().unwrap().windows[0].edges.len(), 1);
    }

    #[test]
    fn idle_and_foreign_clusters_are_left_out() {
        let mut tally = tally();
        let idle = ClusterStats { total_dropped_requests: 0, ..stats("web", 0, 0) };
        let foreign = stats("www.example.com", 5, 5);
        assert_eq!(tally.reported(&[idle, foreign], Timestamp(1_020_000)), None);
    }
}
