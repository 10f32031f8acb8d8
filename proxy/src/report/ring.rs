//! The last closed windows of this proxy, kept until the control plane has counted them. Step 9 of the way of the data.
//!
//! A window is sent as often as it takes and counts once, because its number goes with it. It is a value: the carrier
//! hands in windows and answers, and sends what [`Ring::report`] says. It must never change a window once it is closed.

use std::collections::VecDeque;

use api::v1;
use mesh::{Edge, EdgeTraffic, ProxyId, TrafficReport, Window, WindowTraffic};
use prost::Message;

/// Closed windows kept. Fewer: a failover of a minute loses traffic. More: the control plane takes no window that is
/// older (docs/design, section 7).
pub const WINDOWS_MAX: usize = 6;
/// Bytes of one report. The control plane refuses more than 1 MiB; the rest is for the names around.
const REPORT_BYTES_MAX: usize = 960 * 1024;

/// What was given up, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Windows that nobody counted.
    pub windows: u64,
    /// Requests in them.
    pub requests: u64,
}

#[derive(Debug)]
struct Closed {
    traffic: WindowTraffic,
    bytes: usize,
}

/// The closed windows that were not acknowledged yet, oldest first.
#[derive(Debug)]
pub struct Ring {
    proxy: ProxyId,
    windows: VecDeque<Closed>,
    last: Option<Window>,
    lost: Lost,
}

impl Ring {
    /// An empty ring of this proxy's life.
    #[must_use]
    pub fn new(proxy: ProxyId) -> Self {
        Self { proxy, windows: VecDeque::new(), last: None, lost: Lost::default() }
    }

    /// Takes a closed window over; one without traffic is not kept. Whatever is too old by now is given up.
    ///
    /// A clock that was set back would give a number twice, and the second one would not be counted: it goes under the
    /// next number that was not used yet.
    pub fn close(&mut self, window: Window, edges: Vec<(Edge, EdgeTraffic)>) {
        let window = self.last.map_or(window, |last| window.max(Window(last.0.saturating_add(1))));
        self.last = Some(window);
        if !edges.is_empty() {
            let traffic = WindowTraffic { window, edges };
            let bytes = v1::WindowTraffic::from(&traffic).encoded_len();
            self.windows.push_back(Closed { traffic, bytes });
        }
        let oldest = Window(window.0.saturating_sub(WINDOWS_MAX as u64 - 1));
        while self.windows.front().is_some_and(|closed| closed.traffic.window < oldest) {
            self.give_up_oldest();
        }
    }

    /// What to send now: as many of the oldest windows as one report may hold. `None` when all are acknowledged.
    #[must_use]
    pub fn report(&self) -> Option<TrafficReport> {
        let mut bytes = 0;
        let fits = |closed: &&Closed| {
            bytes += closed.bytes;
            bytes <= REPORT_BYTES_MAX || bytes == closed.bytes
        };
        let windows: Vec<_> =
            self.windows.iter().take_while(fits).map(|closed| closed.traffic.clone()).collect();
        (!windows.is_empty()).then(|| TrafficReport { proxy: self.proxy.clone(), windows })
    }

    /// The control plane counted these; those that it found too old are lost. Unknown numbers change nothing.
    pub fn acknowledged(&mut self, windows: &[u64], too_old: &[u64]) {
        let lost = &mut self.lost;
        self.windows.retain(|closed| {
            let number = closed.traffic.window.0;
            if too_old.contains(&number) {
                lost.windows += 1;
                lost.requests += requests(&closed.traffic);
            }
            !windows.contains(&number) && !too_old.contains(&number)
        });
    }

    /// The control plane refuses the oldest window for good: it must not hold the others up.
    pub fn give_up_oldest(&mut self) {
        if let Some(closed) = self.windows.pop_front() {
            self.lost.windows += 1;
            self.lost.requests += requests(&closed.traffic);
        }
    }

    /// What was given up so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// How many windows wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.windows.len()
    }
}

fn requests(traffic: &WindowTraffic) -> u64 {
    traffic.edges.iter().map(|(_, traffic)| traffic.requests()).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::{Direction, LatencySketch};

    use super::*;

    fn ring() -> Ring {
        Ring::new(ProxyId { name: "web-1".to_owned(), incarnation: 7 })
    }

    fn edges(successes: u64) -> Vec<(Edge, EdgeTraffic)> {
        let authority = "shop".parse().unwrap();
        let edge = Edge { direction: Direction::Outbound, caller: None, authority, callee: None };
        vec![(edge, EdgeTraffic { successes, ..EdgeTraffic::default() })]
    }

    fn numbers(ring: &Ring) -> Vec<u64> {
        let report = ring.report();
        report.iter().flat_map(|report| report.windows.iter().map(|window| window.window.0)).collect()
    }

    #[test]
    fn a_window_is_reported_until_it_is_acknowledged() {
        let mut ring = ring();
        ring.close(Window(100), edges(3));
        ring.close(Window(101), edges(4));
        assert_eq!(numbers(&ring), [100, 101]);
        assert_eq!(numbers(&ring), [100, 101], "an answer that was lost changes nothing");
        ring.acknowledged(&[100], &[]);
        assert_eq!(numbers(&ring), [101]);
        ring.acknowledged(&[101, 999], &[]);
        assert_eq!((ring.report(), ring.lost()), (None, Lost::default()));
    }

    #[test]
    fn windows_without_traffic_are_not_sent() {
        let mut ring = ring();
        ring.close(Window(100), Vec::new());
        assert_eq!(ring.report(), None);
    }

    #[test]
    fn the_last_six_are_kept_and_older_ones_are_counted_as_lost() {
        let mut ring = ring();
        for number in 100..108 {
            ring.close(Window(number), edges(2));
        }
        assert_eq!(numbers(&ring), [102, 103, 104, 105, 106, 107]);
        assert_eq!(ring.lost(), Lost { windows: 2, requests: 4 });
        ring.close(Window(500), Vec::new());
        assert_eq!((ring.waiting(), ring.lost().windows), (0, 8), "age counts, not only number");
    }

    #[test]
    fn what_the_control_plane_finds_too_old_is_counted_as_lost() {
        let mut ring = ring();
        ring.close(Window(100), edges(5));
        ring.close(Window(101), edges(1));
        ring.acknowledged(&[100, 101], &[100]);
        assert_eq!((ring.waiting(), ring.lost()), (0, Lost { windows: 1, requests: 5 }));
    }

    #[test]
    fn a_clock_that_was_set_back_never_gives_a_number_twice() {
        let mut ring = ring();
        ring.close(Window(100), edges(1));
        ring.acknowledged(&[100], &[]);
        ring.close(Window(90), edges(1));
        ring.close(Window(91), edges(1));
        assert_eq!(numbers(&ring), [101, 102]);
    }

    #[test]
    fn a_report_never_exceeds_its_bytes_but_always_holds_one_window() {
        let mut ring = ring();
        let mut latency = LatencySketch::default();
        (0..130_000_000).step_by(997_331).for_each(|us| latency.record(std::time::Duration::from_micros(us)));
        for number in 0..3 {
            let template = &edges(1)[0];
            let edge = |port: u16| {
                let mut edge = template.0.clone();
                edge.authority.port = port;
                (edge, EdgeTraffic { latency: latency.clone(), ..template.1.clone() })
            };
            ring.close(Window(number), (1..=2500).map(edge).collect());
        }
        let report = ring.report().unwrap();
        assert!(report.windows.len() < 3, "{}", report.windows.len());
        assert_eq!(report.windows[0].window, Window(0));
    }
}
