//! How a disk damages what it held already, found out when it is read again: a bit that turns, a write that landed elsewhere.
//! Both spare the end of the newest segment, where damage cannot be told from a write that a crash tore: a node would forget what
//! it confirmed, and its vote with it, and no checksum could know.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{SECTOR_BYTES, SimDisk, State, Written};

/// How the name of a segment begins.
const SEGMENT: &str = "log-";

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// One of `length` things, by a number.
fn pick(number: u64, length: usize) -> usize {
    usize::try_from(number % length.max(1) as u64).expect("below a usize")
}

impl State {
    /// The newest segment: its name, and its file.
    fn newest_segment(&self) -> Option<(PathBuf, u64)> {
        let mut segments = self.durable_names.iter().filter(|(path, _)| name(path).starts_with(SEGMENT));
        segments.next_back().map(|(path, inode)| (path.clone(), *inode))
    }

    /// Where a write landed that may turn out to have landed elsewhere: what the log overwrote later has landed. In the newest
    /// segment there is one behind it.
    fn misdirected(&self, number: u64) -> Option<(Written, Vec<Range<usize>>)> {
        let newest = self.newest_segment()?.1;
        let durable: Vec<&Written> = self.writes.iter().filter(|written| written.durable).collect();
        let later = |place: usize| {
            let inode = durable[place].inode;
            durable[place + 1..].iter().filter(move |later| later.inode == inode)
        };
        let named = |inode| self.durable_names.values().any(|named| *named == inode);
        let may = |place: &usize| {
            let inode = durable[*place].inode;
            named(inode) && (inode != newest || later(*place).next().is_some())
        };
        let places: Vec<usize> = (0..durable.len()).filter(may).collect();
        let place = *places.get(pick(number, places.len()))?;
        let over: Vec<Range<usize>> = later(place).map(|later| later.range.clone()).collect();
        Some((durable[place].clone(), over))
    }

    /// The last write of the newest segment; all of the segment, if that is not known any more.
    fn last_frame(&self) -> Option<(u64, Range<usize>)> {
        let newest = self.newest_segment()?.1;
        let last = self.writes.iter().rev().find(|written| written.inode == newest && written.durable);
        Some((newest, last.map_or(0..usize::MAX, |last| last.range.clone())))
    }
}

impl SimDisk {
    /// A bit of what is durable turns, in a snapshot or in a log segment that is not the newest. Says in which file.
    pub fn rot(&self, place: u64) -> Option<PathBuf> {
        let mut state = self.state();
        let newest = state.newest_segment();
        let files = state.durable_names.iter().filter(|(path, inode)| {
            let is_newest = newest.as_ref().is_some_and(|(_, newest)| newest == *inode);
            name(path).starts_with("snapshot-") || (name(path).starts_with(SEGMENT) && !is_newest)
        });
        let files: Vec<(PathBuf, u64)> = files.map(|(path, inode)| (path.clone(), *inode)).collect();
        let (path, inode) = files.get(pick(place, files.len()))?;
        let bytes = &mut state.inodes.get_mut(inode)?.durable;
        let bit = pick(place / 64, bytes.len().max(1) * 8);
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
        let rotten = bytes.clone();
        state.inodes.get_mut(inode)?.current = rotten;
        Some(path.clone())
    }

    /// One of the newest writes turns out to have landed elsewhere, in its file or in another one, at the same place of another
    /// sector: over what stood there, while zeros stand where it belongs. Says from which file into which.
    pub fn misdirect(&self, place: u64) -> Option<(PathBuf, PathBuf)> {
        let mut state = self.state();
        let (written, over) = state.misdirected(place)?;
        let files: Vec<(PathBuf, u64)> =
            state.durable_names.iter().map(|(path, inode)| (path.clone(), *inode)).collect();
        let (into, target) = files.get(pick(place >> 16, files.len()))?.clone();
        let from = files.iter().find(|(_, inode)| *inode == written.inode)?.0.clone();
        let room = state.inodes.get(&target)?.durable.len();
        let start =
            pick(place >> 32, room / SECTOR_BYTES + 1) * SECTOR_BYTES + written.range.start % SECTOR_BYTES;
        let landed = start..(start + written.range.len()).min(room).max(start);
        let spared =
            state.last_frame().is_some_and(|(newest, last)| target == newest && overlap(&landed, &last));
        let is_there = target == written.inode && start == written.range.start;
        if spared || is_there {
            return None;
        }
        let source = &mut state.inodes.get_mut(&written.inode)?.durable;
        let bytes: Vec<u8> = source.get(written.range.clone())?.to_vec();
        for at in written.range.clone().filter(|at| !over.iter().any(|later| later.contains(at))) {
            source[at] = 0;
        }
        let target_bytes = &mut state.inodes.get_mut(&target)?.durable;
        if let Some(place) = target_bytes.get_mut(landed.clone()) {
            place.copy_from_slice(&bytes[..landed.len()]);
        }
        for inode in [written.inode, target] {
            let inode = state.inodes.get_mut(&inode)?;
            inode.current.clone_from(&inode.durable);
        }
        Some((from, into))
    }
}
