//! Questions to the history of traffic: sums over a span of time, grouped by whatever the asker makes of an edge.
//! Asked by `stat`, on every node with the same answer.

use std::collections::BTreeMap;

use mesh::{EdgeTraffic, Timestamp, WINDOW_SECONDS, Window};

use super::edges::HistoryEdge;
use super::limits::WINDOWS_PER_MINUTE;
use super::rollups::{Rollups, SpanRecords, decoded};

/// How long after its end a window is waited for: proxies report it a moment after, nodes gather for a moment.
/// Shorter, and the newest window of a span is seen half full; longer, and a fresh failure is seen later.
const SETTLE_MS: u64 = 5_000;
const MINUTE_MS: u64 = 60_000;

/// A span of time, from inclusive to exclusive, at the borders of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

impl Span {
    /// Its length in seconds, at least one window.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        (self.to.0.saturating_sub(self.from.0) / 1000).max(WINDOW_SECONDS)
    }
}

impl Rollups {
    /// The last `seconds` that are whole at `now`: ends with the newest window that has settled, begins no earlier than
    /// anything that is kept, and at a whole minute where only minutes are kept.
    #[must_use]
    pub fn span(&self, now: Timestamp, seconds: u64) -> Span {
        let to = Self::settled(now);
        let length_ms = seconds.max(WINDOW_SECONDS).saturating_mul(1000);
        let mut from = Window::at(Timestamp(to.0.saturating_sub(length_ms))).start();
        if let Some(first) = self.first() {
            from = from.max(first.min(to));
        }
        if from < self.oldest().start() {
            from = Timestamp(from.0 / MINUTE_MS * MINUTE_MS);
        }
        Span { from, to }
    }

    /// The end of the newest window that has settled at `now`: where the newest span ends.
    #[must_use]
    pub fn settled(now: Timestamp) -> Timestamp {
        Window::at(Timestamp(now.0.saturating_sub(SETTLE_MS))).start()
    }

    /// When the oldest traffic that is kept begins.
    #[must_use]
    pub fn first(&self) -> Option<Timestamp> {
        let minute = self.minutes.keys().next().map(|minute| Timestamp(minute.saturating_mul(MINUTE_MS)));
        let window = self.windows.keys().next().map(|window| Window(*window).start());
        minute.or(window)
    }

    /// Traffic of the span, added up per key; edges without a key are left out.
    #[must_use]
    pub fn sums<K: Ord>(
        &self,
        span: Span,
        key: impl Fn(&HistoryEdge) -> Option<K>,
    ) -> BTreeMap<K, EdgeTraffic> {
        let mut sums = BTreeMap::new();
        for records in self.spans(span) {
            for (id, record) in &records.records {
                let Some(key) = self.edges.edge(*id).and_then(&key) else { continue };
                let traffic = decoded(record).expect("records are encoded here and checked on restore");
                sums.entry(key).or_insert_with(EdgeTraffic::default).merge(&traffic);
            }
        }
        sums
    }

    /// Edges that were folded into `other` within the span: the most of any window, as they are not told apart.
    #[must_use]
    pub fn folded_in(&self, span: Span) -> u64 {
        self.spans(span).map(|records| records.folded).max().unwrap_or(0)
    }

    /// Edges that are told apart now.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// Lives of proxies whose windows are remembered as counted.
    #[must_use]
    pub fn proxy_count(&self) -> usize {
        self.counted.len()
    }

    /// Bytes of records that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records folded into `other` since the cluster began.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// Windows and minutes that ended before their time because of the bound on bytes.
    #[must_use]
    pub fn shortened(&self) -> u64 {
        self.shortened
    }

    fn spans(&self, span: Span) -> impl Iterator<Item = &SpanRecords> {
        let (from, to) = (span.from.0, span.to.0.max(span.from.0));
        let window_ms = WINDOW_SECONDS * 1000;
        debug_assert_eq!(MINUTE_MS, window_ms * WINDOWS_PER_MINUTE, "a minute is six windows");
        let minutes = self
            .minutes
            .range(from.div_ceil(MINUTE_MS)..to.div_ceil(MINUTE_MS).max(from.div_ceil(MINUTE_MS)));
        let windows = self
            .windows
            .range(from.div_ceil(window_ms)..to.div_ceil(window_ms).max(from.div_ceil(window_ms)));
        minutes.chain(windows).map(|(_, records)| &**records)
    }
}
