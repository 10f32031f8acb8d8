//! The latency sketch: a mergeable distribution with bounded relative error, log-linear as in HdrHistogram.
//!
//! A proxy's worker records into a dense [`LatencyRecorder`]; once per window it becomes a sparse
//! [`LatencySketch`], which is what travels, is replicated and is added up. Adding is exact and associative, so it
//! does not matter who adds in which order. Values are whole microseconds.

use std::cmp::Ordering;
use std::time::Duration;

/// Buckets per power of two, as a power of two itself. 32 buckets keep the error at half a bucket below 1/64.
const SUB_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// Largest power of two told apart: 2^27 us is 134 s, past every request timeout. Larger values count as this.
const TOP_BITS: u32 = 27;
const BUCKETS: usize = SUB_BUCKETS * (TOP_BITS - SUB_BITS + 1) as usize;

fn bucket(micros: u64) -> usize {
    let value = micros.clamp(0, (1 << TOP_BITS) - 1);
    let top = 63 - (value | 1).leading_zeros();
    if top < SUB_BITS {
        return value as usize;
    }
    let shift = top - SUB_BITS;
    (shift as usize + 1) * SUB_BUCKETS + ((value >> shift) as usize - SUB_BUCKETS)
}

/// Middle of a bucket, in microseconds.
fn bucket_value(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = (bucket / SUB_BUCKETS - 1) as u32;
    let low = ((bucket % SUB_BUCKETS + SUB_BUCKETS) as u64) << shift;
    low + ((1_u64 << shift) >> 1)
}

/// Dense counts that one thread records into: a few nanoseconds a value, no allocation after the first.
#[derive(Debug, Clone)]
pub struct LatencyRecorder {
    counts: Box<[u32; BUCKETS]>,
    touched: bool,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), touched: false }
    }
}

impl LatencyRecorder {
    /// Counts one value.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let count = &mut self.counts[bucket(micros)];
        *count = count.saturating_add(1);
        self.touched = true;
    }

    /// What was recorded since the last call; the recorder starts anew.
    pub fn take(&mut self) -> LatencySketch {
        let mut bins = Vec::new();
        if std::mem::take(&mut self.touched) {
            for (bucket, count) in self.counts.iter_mut().enumerate() {
                if *count > 0 {
                    bins.push((
                        u16::try_from(bucket).expect("there are fewer than 2^16 buckets"),
                        u64::from(std::mem::take(count)),
                    ));
                }
            }
        }
        LatencySketch { bins }
    }
}

/// A distribution of latencies: sparse, mergeable, relative error at most 1/64 (1.6 %).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LatencySketch {
    /// Bucket and count, ordered by bucket, no count zero.
    bins: Vec<(u16, u64)>,
}

/// Bytes are not a sketch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed latency sketch at byte {at}")]
pub struct SketchError {
    /// Where reading stopped.
    pub at: usize,
}

impl LatencySketch {
    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bins.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// Counts one value; for rare use, a [`LatencyRecorder`] is the fast way.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = u16::try_from(bucket(micros)).expect("there are fewer than 2^16 buckets");
        match self.bins.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(found) => self.bins[found].1 += 1,
            Err(place) => self.bins.insert(place, (bucket, 1)),
        }
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.bins.len().max(other.bins.len()));
        let (mut left, mut right) = (self.bins.as_slice(), other.bins.as_slice());
        while let ([l, left_rest @ ..], [r, right_rest @ ..]) = (left, right) {
            match l.0.cmp(&r.0) {
                Ordering::Less => {
                    merged.push(*l);
                    left = left_rest;
                }
                Ordering::Greater => {
                    merged.push(*r);
                    right = right_rest;
                }
                Ordering::Equal => {
                    left = left_rest;
                    right = right_rest;
                    merged.push((l.0, l.1.saturating_add(r.1)));
                }
            }
        }
        merged.extend_from_slice(left);
        merged.extend_from_slice(right);
        self.bins = merged;
    }

    /// Each bin's middle and count, ascending: for whoever shows it in buckets of his own.
    pub fn bins(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.bins
            .iter()
            .map(|(bucket, count)| (Duration::from_micros(bucket_value(usize::from(*bucket))), *count))
    }

    /// The value below which a share `q` (0 to 1) of all lies; `None` when nothing was recorded.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a rank
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        for (bucket, bin) in &self.bins {
            seen = bin.saturating_add(seen);
            if seen >= rank {
                return Some(Duration::from_micros(bucket_value(usize::from(*bucket))));
            }
        }
        None
    }

    /// Its bytes: bucket distance and count of each bin, as LEB128 varints. About 250 bytes for 1,000 values.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bins.len() * 3);
        let mut last = 0;
        for (bucket, count) in &self.bins {
            put_varint(&mut bytes, u64::from(bucket - last));
            put_varint(&mut bytes, *count);
            last = *bucket;
        }
        bytes
    }

    /// Reads what [`Self::encoded`] wrote.
    ///
    /// # Errors
    /// If the bytes end within a bin, a bucket repeats or is out of range, or a count is zero.
    pub fn decoded(bytes: &[u8]) -> Result<Self, SketchError> {
        let mut bins = Vec::new();
        let (mut at, mut last) = (0, None);
        while at < bytes.len() {
            let start = at;
            let wrong = || SketchError { at: start };
            let distance = take_varint(bytes, &mut at).ok_or_else(wrong)?;
            let count = take_varint(bytes, &mut at).ok_or_else(wrong)?;
            let bucket =
                last.map_or(Some(distance), |last: u64| last.checked_add(distance)).ok_or_else(wrong)?;
            if count == 0 || bucket >= BUCKETS as u64 || (last.is_some() && distance == 0) {
                return Err(wrong());
            }
            bins.push((u16::try_from(bucket).map_err(|_| wrong())?, count));
            last = Some(bucket);
        }
        Ok(Self { bins })
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> LatencySketch {
        let mut recorder = LatencyRecorder::default();
        values.into_iter().for_each(|micros| recorder.record(Duration::from_micros(micros)));
        recorder.take()
    }

    #[test]
    fn every_value_is_told_within_two_percent() {
        let mut value = 1_u64;
        while value < 1 << TOP_BITS {
            let told = of([value]).quantile(0.5).unwrap().as_micros();
            let error = told.abs_diff(u128::from(value)) as f64 / value as f64;
            assert!(error <= 0.02, "{value} was told as {told}");
            value += value / 7 + 1;
        }
    }

    #[test]
    fn merging_in_any_order_equals_recording_all_in_one() {
        let (low, high) = (of(1..500), of((100..90_000).step_by(37)));
        let (mut ab, mut ba) = (low.clone(), high.clone());
        ab.merge(&high);
        ba.merge(&low);
        assert_eq!(ab, ba);
        assert_eq!(ab, of((1..500).chain((100..90_000).step_by(37))));
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let sketch = of((1..200_000).step_by(91));
        let bytes = sketch.encoded();
        assert_eq!(LatencySketch::decoded(&bytes).unwrap(), sketch);
        assert!(LatencySketch::decoded(&bytes[..bytes.len() - 1]).is_err());
        assert!(LatencySketch::decoded(&[0xff; 40]).is_err());
        assert!(LatencySketch::decoded(&[1, 0]).is_err(), "a count of zero");
    }

    #[test]
    fn bins_tell_every_value_in_order() {
        let sketch = of([5, 5, 40_000]);
        let bins: Vec<_> = sketch.bins().map(|(value, count)| (value.as_micros(), count)).collect();
        assert_eq!(bins.iter().map(|(_, count)| count).sum::<u64>(), 3);
        assert_eq!(bins[0], (5, 2));
        assert!(bins[1].0.abs_diff(40_000) < 800, "{bins:?}");
    }

    #[test]
    fn a_value_past_the_top_counts_as_the_top() {
        assert_eq!(of([u64::MAX]).count(), 1);
        assert!(of([u64::MAX]).quantile(1.0).unwrap() > Duration::from_secs(130));
    }

    #[test]
    fn a_recorder_starts_anew_after_it_was_taken() {
        let mut recorder = LatencyRecorder::default();
        recorder.record(Duration::from_millis(3));
        assert_eq!(recorder.take().count(), 1);
        assert!(recorder.take().is_empty());
    }
}
