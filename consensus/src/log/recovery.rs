//! Reading a directory back after whatever happened to it. Changes nothing; refuses what it cannot explain by
//! a crash.
//!
//! A crash can only leave half of the very last frame, because each frame is synced before the next one is
//! written and each segment before its name appears. A frame that is not whole anywhere else was damaged
//! afterwards.

use bytes::Bytes;
use prost::Message as _;

use crate::nouns::Snapshot;

use super::directory::{Directory, FORMAT};
use super::errors::OpenError;
use super::frame::{self, Head, Record, Reset};
use super::recovered::Recovered;
use super::replay::Replay;

/// One segment as far as compaction cares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Highest index of an entry inside that still counts; the segment may go when all below that is given
    /// up.
    pub(super) max_index: u64,
}

/// What the segments hold, and where to go on.
#[derive(Debug, Default)]
pub(super) struct Segments {
    pub(super) replay: Replay,
    pub(super) segments: Vec<Segment>,
    /// Segments before a gap: a crash cut their removal short.
    pub(super) leftovers: Vec<u64>,
    pub(super) sequence: u64,
    /// End of the last whole frame in the last segment.
    pub(super) end: u64,
    pub(super) torn_bytes: u64,
}

/// Reads all segments.
pub(super) fn read_segments(directory: &Directory) -> Result<Segments, OpenError> {
    let mut numbers = directory.segments()?;
    let Some(&last) = numbers.last() else {
        let reason = "no log segment stands in the directory, although it was founded".to_owned();
        return Err(OpenError::Corrupted { file: directory.path.clone(), offset: 0, reason });
    };
    let gap = numbers.windows(2).rposition(|pair| pair[1] != pair[0] + 1).map_or(0, |before| before + 1);
    let mut read = Segments { leftovers: numbers.drain(..gap).collect(), ..Segments::default() };
    for number in numbers {
        read.segment(directory, number, number == last)?;
    }
    Ok(read)
}

impl Segments {
    fn segment(&mut self, directory: &Directory, number: u64, last: bool) -> Result<(), OpenError> {
        let file = directory.segment(number);
        let bytes = directory.read(&file)?;
        let corrupted = |offset: usize, reason: String| OpenError::Corrupted {
            file: file.clone(),
            offset: offset as u64,
            reason,
        };
        self.segments.push(Segment { number, max_index: 0 });
        let mut offset = 0;
        while let Some(payload) = frame::payload_at(&bytes, number, offset) {
            let record = Record::decode(Bytes::copy_from_slice(payload))
                .map_err(|error| corrupted(offset, format!("a whole frame does not decode: {error}")))?;
            if (offset == 0) != record.head.is_some() {
                return Err(corrupted(offset, "a segment must have one head, at its beginning".to_owned()));
            }
            if let Some(head) = &record.head {
                self.begin_segment(directory, number, head)?;
            }
            let continues = self.sequence == 0 || record.sequence == self.sequence + 1;
            if !continues {
                let reason = format!("record {} follows record {}", record.sequence, self.sequence);
                return Err(corrupted(offset, reason));
            }
            let next = offset + frame::frame_bytes(payload.len());
            self.add(record).map_err(|reason| corrupted(offset, reason))?;
            offset = next;
        }
        if offset == 0 {
            return Err(corrupted(0, "its head is not whole".to_owned()));
        }
        self.end = offset as u64;
        if last {
            if let Some(later) = frame::next_whole_frame(&bytes, number, offset, self.sequence) {
                let reason = format!("no whole frame stands here, although one stands behind it at {later}");
                return Err(corrupted(offset, reason));
            }
            self.torn_bytes = frame::torn_bytes(&bytes, offset);
        }
        Ok(())
    }

    fn begin_segment(&mut self, directory: &Directory, number: u64, head: &Head) -> Result<(), OpenError> {
        if head.format > FORMAT {
            let directory = directory.path.clone();
            return Err(OpenError::NewerFormat { directory, found: head.format, known: FORMAT });
        }
        if self.segments.len() == 1 {
            self.replay.begin(head);
        } else if head.previous_end != self.end {
            let reason =
                format!("its frames should reach to {}, as the next segment says", head.previous_end);
            let file = directory.segment(number - 1);
            return Err(OpenError::Corrupted { file, offset: self.end, reason });
        }
        Ok(())
    }

    fn add(&mut self, record: Record) -> Result<(), String> {
        self.sequence = record.sequence;
        for batch in record.batches {
            note_batch(
                &mut self.segments,
                batch.reset.as_ref(),
                batch.entries.last().map(|entry| entry.index),
            );
            self.replay.add(batch)?;
        }
        Ok(())
    }
}

/// Keeps book of what a batch means for compaction.
pub(super) fn note_batch(segments: &mut [Segment], reset: Option<&Reset>, last_index: Option<u64>) {
    if reset.is_some() {
        segments.iter_mut().for_each(|segment| segment.max_index = 0);
    }
    if let (Some(segment), Some(last_index)) = (segments.last_mut(), last_index) {
        segment.max_index = segment.max_index.max(last_index);
    }
}

/// Fits log and newest snapshot together; also where the log must begin anew, because a snapshot was made
/// durable and the crash came before the log could say so.
pub(super) fn reconcile(
    directory: &Directory,
    read: Segments,
    snapshot: Option<Snapshot>,
) -> Result<(Recovered, Option<Reset>), OpenError> {
    let Segments { replay, torn_bytes, .. } = read;
    let corrupted = |reason: String| OpenError::Corrupted { file: directory.path.clone(), offset: 0, reason };
    let (covered, covered_term) =
        snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.index, snapshot.term));
    if replay.missing_through > covered {
        return Err(corrupted(format!(
            "entries through {} are in no segment, and the newest snapshot ends at {covered}",
            replay.missing_through
        )));
    }
    let first = replay.entries.front().map_or(replay.begins_after + 1, |entry| entry.index);
    if first > covered + 1 {
        return Err(corrupted(format!(
            "the log begins at entry {first}, and the newest snapshot ends at {covered}"
        )));
    }
    let agrees =
        covered <= replay.last_index() && (covered < first || replay.term_of(covered) == Some(covered_term));
    let mut hard_state = replay.hard_state;
    let last = if agrees { replay.last_index() } else { covered };
    hard_state.commit = hard_state.commit.max(covered);
    if hard_state.term < covered_term {
        hard_state.term = covered_term;
        hard_state.vote = 0;
    }
    if hard_state.commit > last {
        return Err(corrupted(format!(
            "entries through {} were committed, but the log ends at {last}",
            hard_state.commit
        )));
    }
    let reset = (!agrees).then_some(Reset { index: covered, term: covered_term });
    let entries = if agrees { replay.entries.into() } else { Vec::new() };
    Ok((Recovered { hard_state, snapshot, entries, torn_bytes, disk: 0, doubtful: false }, reset))
}
