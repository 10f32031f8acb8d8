//! The history of traffic: partials are added to ten-second windows, which are kept for ten minutes and then folded
//! into one-minute windows, kept for six hours. Step 11 of the way of the data; read by `stat` on every node.
//!
//! A (proxy, life, window) is counted once. Windows that are not kept any more, or begin more than a minute after the
//! log's time, are refused and named. Edges, proxies and bytes are bounded; what a bound costs is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::log::v1 as log;
use api::v1;
use mesh::{EdgeTraffic, ProxyId, Timestamp, Window, WindowTraffic};
use prost::Message;

use super::counted::CountedWindows;
use super::edges::{EdgeDictionary, EdgeId};
use super::limits::{
    HISTORY_BYTES_MAX, MINUTES_KEPT, PAIRS_MAX, PROXIES_MAX, WINDOWS_AHEAD, WINDOWS_KEPT, WINDOWS_PER_MINUTE,
};
use super::refusal::Refusal;
use super::topology::Touched;

/// Bytes that a record takes beside its own: its place in the map and its share of the node.
const RECORD_OVERHEAD: usize = 48;

/// The records of one window or minute: a [`v1::EdgeTraffic`] as bytes for each edge, which takes a third of the decoded
/// form and goes into a snapshot as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct SpanRecords {
    pub(super) records: BTreeMap<EdgeId, Box<[u8]>>,
    /// Records that were folded into `other`.
    pub(super) folded: u64,
}

/// The history of traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollups {
    pub(super) current: Window,
    pub(super) edges: EdgeDictionary,
    pub(super) counted: CountedWindows,
    /// Shared with the copies that snapshots are made of; a span is copied when it changes while one is being made.
    pub(super) windows: BTreeMap<u64, Arc<SpanRecords>>,
    pub(super) minutes: BTreeMap<u64, Arc<SpanRecords>>,
    pub(super) bytes: usize,
    pub(super) folded: u64,
    pub(super) shortened: u64,
}

/// What came of a partial that was not refused.
#[derive(Debug, PartialEq)]
pub(super) enum Counting {
    Added,
    OutsideHistory(Vec<u64>),
    AlreadyCounted(Vec<log::Counted>),
}

impl Default for Rollups {
    fn default() -> Self {
        Self {
            current: Window(0),
            edges: EdgeDictionary::default(),
            counted: CountedWindows::default(),
            windows: BTreeMap::new(),
            minutes: BTreeMap::new(),
            bytes: 0,
            folded: 0,
            shortened: 0,
        }
    }
}

pub(super) fn encoded(traffic: &EdgeTraffic) -> Box<[u8]> {
    v1::EdgeTraffic::from(traffic).encode_to_vec().into_boxed_slice()
}

/// What a record counts against the bound on bytes.
pub(super) fn record_bytes(record: &[u8]) -> usize {
    record.len() + RECORD_OVERHEAD
}

pub(super) fn decoded(bytes: &[u8]) -> Option<EdgeTraffic> {
    EdgeTraffic::try_from(&v1::EdgeTraffic::decode(bytes).ok()?).ok()
}

impl Rollups {
    /// Whether a partial may hold `window` now. Proposers ask before they merge, so that one proxy with a broken clock
    /// does not keep the others' windows out.
    #[must_use]
    pub fn takes(&self, window: Window) -> bool {
        (self.oldest().0..=self.current.0.saturating_add(WINDOWS_AHEAD)).contains(&window.0)
    }

    /// The oldest window that can still be added to.
    #[must_use]
    pub fn oldest(&self) -> Window {
        Window(self.current.0.saturating_sub(WINDOWS_KEPT))
    }

    /// Whether this window of this proxy is in the history.
    #[must_use]
    pub fn counts(&self, proxy: &ProxyId, window: Window) -> bool {
        self.counted.has(proxy, window)
    }

    /// Adds a partial, wholly or not at all.
    pub(super) fn add(&mut self, partial: &log::Partial, touched: &mut Touched) -> Result<Counting, Refusal> {
        let windows = traffic_of(partial)?;
        let pairs = pairs_of(partial)?;
        let named =
            pairs.iter().map(|(_, window)| *window).chain(windows.iter().map(|traffic| traffic.window));
        let outside: BTreeSet<u64> =
            named.filter(|window| !self.takes(*window)).map(|window| window.0).collect();
        if !outside.is_empty() {
            return Ok(Counting::OutsideHistory(outside.into_iter().collect()));
        }
        let again: Vec<_> = pairs.iter().filter(|(proxy, window)| self.counted.has(proxy, *window)).collect();
        if !again.is_empty() {
            let told = |(proxy, window): &(ProxyId, Window)| log::Counted {
                proxy: Some(proxy.into()),
                window: window.0,
            };
            return Ok(Counting::AlreadyCounted(again.into_iter().map(told).collect()));
        }
        let vouched: BTreeSet<Window> = pairs.iter().map(|(_, window)| *window).collect();
        if let Some(traffic) = windows.iter().find(|traffic| !vouched.contains(&traffic.window)) {
            let number = traffic.window.0;
            return Err(Refusal::invalid(format_args!(
                "windows: {number} has traffic but no proxy that counted it"
            )));
        }
        let fresh: BTreeSet<_> =
            pairs.iter().map(|(proxy, _)| proxy).filter(|proxy| !self.counted.knows(proxy)).collect();
        if self.counted.len() + fresh.len() > PROXIES_MAX {
            return Err(Refusal::limit(
                "proxies that report",
                PROXIES_MAX,
                "wait until windows of old ones have ended",
            ));
        }
        for (proxy, window) in pairs {
            self.counted.add(proxy, window);
        }
        for traffic in windows {
            touched.windows.insert(traffic.window);
            self.add_window(traffic);
        }
        self.shorten(HISTORY_BYTES_MAX);
        Ok(Counting::Added)
    }

    fn add_window(&mut self, traffic: WindowTraffic) {
        let span = Arc::make_mut(self.windows.entry(traffic.window.0).or_default());
        for (edge, more) in traffic.edges {
            let (id, is_folded) = self.edges.intern(edge);
            if is_folded {
                span.folded += 1;
                self.folded += 1;
            }
            if merge_record(span, id, &more, &mut self.bytes) {
                self.edges.hold(id);
            }
        }
    }

    /// Lets the log's time pass: windows that are ten minutes old become part of their minute, minutes that are six
    /// hours old end.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let current = Window::at(now);
        if current <= self.current {
            return;
        }
        self.current = current;
        let oldest = self.oldest();
        while let Some(entry) = self.windows.first_entry().filter(|entry| *entry.key() < oldest.0) {
            let (number, span) = entry.remove_entry();
            self.fold_into_minute(number, Arc::unwrap_or_clone(span));
        }
        let oldest_minute = (current.0 / WINDOWS_PER_MINUTE).saturating_sub(MINUTES_KEPT);
        while let Some(entry) = self.minutes.first_entry().filter(|entry| *entry.key() < oldest_minute) {
            let (_, span) = entry.remove_entry();
            self.drop_span(&span);
        }
        self.counted.forget_before(oldest);
    }

    fn fold_into_minute(&mut self, number: u64, span: SpanRecords) {
        let minute = Arc::make_mut(self.minutes.entry(number / WINDOWS_PER_MINUTE).or_default());
        minute.folded = minute.folded.max(span.folded);
        for (id, record) in span.records {
            if let Some(there) = minute.records.get_mut(&id) {
                self.bytes -= record_bytes(&record) + there.len();
                *there = sum(there, &record);
                self.bytes += there.len();
                self.edges.release(id);
            } else {
                minute.records.insert(id, record);
            }
        }
    }

    fn drop_span(&mut self, span: &SpanRecords) {
        for (id, record) in &span.records {
            self.bytes -= record_bytes(record);
            self.edges.release(*id);
        }
    }

    /// Ends the oldest spans before their time while there are more bytes than may be.
    fn shorten(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let oldest = self.minutes.pop_first().or_else(|| self.windows.pop_first());
            let Some((_, span)) = oldest else { return };
            self.drop_span(&span);
            self.shortened += 1;
        }
    }
}

/// Adds to a record, or makes it; true when it was made.
fn merge_record(span: &mut SpanRecords, id: EdgeId, more: &EdgeTraffic, bytes: &mut usize) -> bool {
    if let Some(there) = span.records.get_mut(&id) {
        let mut sum = decoded(there).expect("records are encoded here and checked on restore");
        sum.merge(more);
        *bytes -= there.len();
        *there = encoded(&sum);
        *bytes += there.len();
        return false;
    }
    let record = encoded(more);
    *bytes += record_bytes(&record);
    span.records.insert(id, record);
    true
}

fn sum(left: &[u8], right: &[u8]) -> Box<[u8]> {
    let mut sum = decoded(left).expect("records are encoded here and checked on restore");
    sum.merge(&decoded(right).expect("records are encoded here and checked on restore"));
    encoded(&sum)
}

fn traffic_of(partial: &log::Partial) -> Result<Vec<WindowTraffic>, Refusal> {
    let convert = |(at, message): (usize, &v1::WindowTraffic)| {
        WindowTraffic::try_from(message).map_err(|error| error.within(&format!("windows[{at}]")))
    };
    Ok(partial.windows.iter().enumerate().map(convert).collect::<Result<_, _>>()?)
}

fn pairs_of(partial: &log::Partial) -> Result<BTreeSet<(ProxyId, Window)>, Refusal> {
    if partial.counted.len() > PAIRS_MAX {
        return Err(Refusal::limit(
            "counted (proxy, window) pairs of a partial",
            PAIRS_MAX,
            "send several partials",
        ));
    }
    let mut pairs = BTreeSet::new();
    for (at, message) in partial.counted.iter().enumerate() {
        let proxy = message.proxy.clone().unwrap_or_default();
        let proxy =
            ProxyId::try_from(&proxy).map_err(|error| error.within(&format!("counted[{at}].proxy")))?;
        if !pairs.insert((proxy, Window(message.window))) {
            return Err(Refusal::invalid(format_args!("counted[{at}]: is there twice")));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::{Direction, Edge};

    use super::*;

    #[test]
    fn too_many_bytes_end_the_oldest_spans_and_are_counted_to_the_last_one() {
        let mut rollups = Rollups::default();
        let edge = |at: u64| Edge {
            direction: Direction::Inbound,
            caller: None,
            authority: format!("s{at}:80").parse().unwrap(),
            callee: None,
        };
        for number in 0..130 {
            rollups.advance(Window(number).start());
            let edges = vec![(edge(number % 3), EdgeTraffic { successes: 1, ..EdgeTraffic::default() })];
            rollups.add_window(WindowTraffic { window: Window(number), edges });
        }
        assert_eq!((rollups.minutes.len(), rollups.windows.len()), (12, 61));
        let half = rollups.bytes / 2;
        rollups.shorten(half);
        assert!(rollups.bytes <= half);
        assert!(rollups.minutes.is_empty(), "minutes go first");
        assert!(!rollups.windows.is_empty());
        rollups.shorten(0);
        assert_eq!((rollups.bytes, rollups.edges.len(), rollups.shortened), (0, 0, 12 + 61));
    }
}
