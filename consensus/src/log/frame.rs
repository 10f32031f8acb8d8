//! One frame of a segment: length, checksum, payload. What is written by one fsync is one frame, whole or not
//! at all.
//!
//! `[length: u32][crc32c: u32][payload]`, little-endian, padded to 8 bytes, followed by 8 zero bytes until
//! the next frame takes their place. The checksum covers the segment's number and the frame's offset too, so
//! a stale frame of a segment that is used again, or one that the disk put elsewhere, is no frame.

use prost::Message as _;

use crate::nouns::{HardState, LogEntry};

/// Length and checksum.
pub(super) const HEADER_BYTES: usize = 8;
/// Frames begin at multiples of this.
const ALIGNMENT: usize = 8;

/// What one frame holds.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    /// Rises by one from frame to frame, over all segments.
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    /// Present in the first frame of a segment.
    #[prost(message, optional, tag = "2")]
    pub(super) head: Option<Head>,
    #[prost(message, repeated, tag = "3")]
    pub(super) batches: Vec<BatchRecord>,
}

/// What makes a segment readable without those before it, and shows that none is missing.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Head {
    /// Format of the frames that follow.
    #[prost(uint64, tag = "1")]
    pub(super) format: u64,
    /// Where the last frame of the segment before ends.
    #[prost(uint64, tag = "2")]
    pub(super) previous_end: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) hard_state: Option<HardState>,
    /// Last entry of the log as of the segments before.
    #[prost(uint64, tag = "4")]
    pub(super) last_index: u64,
}

/// One batch.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BatchRecord {
    #[prost(message, optional, tag = "1")]
    pub(super) hard_state: Option<HardState>,
    /// The log begins anew after this entry, the last one of a snapshot.
    #[prost(message, optional, tag = "2")]
    pub(super) reset: Option<Reset>,
    /// To be appended; the first one's index cuts off what stands from there on.
    #[prost(message, repeated, tag = "3")]
    pub(super) entries: Vec<LogEntry>,
}

/// Where a log begins anew.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Reset {
    #[prost(uint64, tag = "1")]
    pub(super) index: u64,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
}

/// Bytes that a frame with this payload takes, the padding included.
pub(super) fn frame_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(ALIGNMENT)
}

/// Puts the frame of `record` at `offset` of segment `segment` into `buffer`, and the zeros that end it.
pub(super) fn encode(record: &Record, segment: u64, offset: u64, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER_BYTES, 0);
    record.encode(buffer).expect("a vector grows as needed");
    let payload = buffer.len() - HEADER_BYTES;
    let length = u32::try_from(payload).expect("a frame is far smaller than 4 GiB: batches are bounded");
    let checksum = checksum(segment, offset, &buffer[HEADER_BYTES..]);
    buffer[..4].copy_from_slice(&length.to_le_bytes());
    buffer[4..8].copy_from_slice(&checksum.to_le_bytes());
    buffer.resize(frame_bytes(payload) + HEADER_BYTES, 0);
}

fn checksum(segment: u64, offset: u64, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// The payload of the frame at `offset` of a segment's bytes, if there is a whole one.
pub(super) fn payload_at(bytes: &[u8], segment: u64, offset: usize) -> Option<&[u8]> {
    let header = bytes.get(offset..offset + HEADER_BYTES)?;
    let (length, stored) = header.split_at(4);
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    if length == 0 {
        return None;
    }
    let payload = bytes.get(offset + HEADER_BYTES..)?.get(..length)?;
    let stored = u32::from_le_bytes(stored.try_into().ok()?);
    (checksum(segment, offset as u64, payload) == stored).then_some(payload)
}

/// Offset of the first whole frame after `offset` with a sequence above `sequence`: proof that what stands at
/// `offset` was durable once, because frames are synced one by one.
pub(super) fn next_whole_frame(bytes: &[u8], segment: u64, offset: usize, sequence: u64) -> Option<usize> {
    let first = offset.next_multiple_of(ALIGNMENT) + ALIGNMENT;
    (first..bytes.len()).step_by(ALIGNMENT).find(|&candidate| {
        payload_at(bytes, segment, candidate)
            .and_then(|payload| Record::decode(payload).ok())
            .is_some_and(|record| record.sequence > sequence)
    })
}

/// Bytes of half a frame at `offset`, up to the last one that is not zero or the length it claims; zero if it
/// is a clean end.
pub(super) fn torn_bytes(bytes: &[u8], offset: usize) -> u64 {
    let Some(length) = bytes.get(offset..offset + 4).and_then(|length| length.try_into().ok()) else {
        return 0;
    };
    let claimed = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if claimed == 0 {
        return 0;
    }
    let rest = &bytes[offset..];
    let claimed = rest.get(..HEADER_BYTES.saturating_add(claimed)).unwrap_or(rest);
    claimed.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use super::*;

    fn record(sequence: u64) -> Record {
        let entry =
            LogEntry { kind: 0, term: 3, index: 7, data: bytes::Bytes::from_static(b"some opaque bytes") };
        let batch = BatchRecord { entries: vec![entry], ..BatchRecord::default() };
        Record { sequence, head: None, batches: vec![batch] }
    }

    #[test]
    fn a_frame_is_read_back_only_from_its_own_segment_and_offset() {
        let mut frame = Vec::new();
        encode(&record(5), 9, 16, &mut frame);
        let mut segment = vec![0; 16];
        segment.extend_from_slice(&frame);
        let payload = payload_at(&segment, 9, 16).unwrap();
        assert_eq!(Record::decode(payload).unwrap(), record(5));
        assert_eq!(payload_at(&segment, 8, 16), None, "it is of another segment");
        assert_eq!(payload_at(&frame, 9, 0), None, "it is from another offset");
    }

    #[test]
    fn a_frame_with_any_bit_turned_is_no_frame() {
        let mut frame = Vec::new();
        encode(&record(5), 9, 0, &mut frame);
        let whole = HEADER_BYTES + record(5).encoded_len();
        for bit in 0..whole * 8 {
            let mut turned = frame.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(payload_at(&turned, 9, 0), None, "bit {bit}");
        }
    }

    #[test]
    fn a_whole_frame_is_found_behind_a_broken_one() {
        let mut segment = Vec::new();
        encode(&record(5), 9, 0, &mut segment);
        segment.truncate(segment.len() - HEADER_BYTES);
        let second = segment.len();
        let mut frame = Vec::new();
        encode(&record(6), 9, second as u64, &mut frame);
        segment.extend_from_slice(&frame);
        segment[10] ^= 1;
        assert_eq!(payload_at(&segment, 9, 0), None);
        assert_eq!(next_whole_frame(&segment, 9, 0, 4), Some(second));
        assert_eq!(next_whole_frame(&segment, 9, 0, 6), None, "that one is older");
    }
}
