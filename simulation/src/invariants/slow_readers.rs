//! A slow proxy costs its node a bounded amount of memory: at most one answer of each kind is under way to it, however much
//! changes meanwhile.

use std::collections::BTreeMap;

use super::Violation;

/// Kinds of resource: listeners, routes, clusters, endpoints.
const KINDS: u64 = 4;

/// Answers under way, per proxy and stream.
#[derive(Debug, Default)]
pub(crate) struct SlowReadersCost {
    under_way: BTreeMap<(u64, u64), u64>,
    broken: Option<(u64, u64)>,
}

impl SlowReadersCost {
    /// An answer is sent on a stream.
    pub(crate) fn sent(&mut self, stream: (u64, u64)) {
        let under_way = self.under_way.entry(stream).or_default();
        *under_way += 1;
        if *under_way > KINDS {
            self.broken.get_or_insert(stream);
        }
    }

    /// An answer is read.
    pub(crate) fn delivered(&mut self, stream: (u64, u64)) {
        if let Some(under_way) = self.under_way.get_mut(&stream) {
            *under_way = under_way.saturating_sub(1);
        }
    }

    /// A stream ended: what was under way is lost.
    pub(crate) fn ended(&mut self, stream: (u64, u64)) {
        self.under_way.remove(&stream);
    }

    /// Whether more was ever under way than may be.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let Some((proxy, stream)) = self.broken else { return Ok(()) };
        let story =
            format!("more than {KINDS} answers were under way to proxy {proxy} on its stream {stream}");
        Err(Violation::new("slow readers cost little", story))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_answer_before_one_is_read_is_a_violation() {
        let mut invariant = SlowReadersCost::default();
        (0..4).for_each(|_| invariant.sent((1, 1)));
        invariant.delivered((1, 1));
        invariant.sent((1, 1));
        invariant.ended((1, 1));
        (0..4).for_each(|_| invariant.sent((1, 1)));
        assert!(invariant.check().is_ok());
        invariant.sent((1, 1));
        assert!(invariant.check().is_err());
    }
}
