//! What the log reads back, and what it refuses.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use consensus::{
    Batch, HardState, Log, LogEntry, LogSettings, Membership, NodeId, OpenError, Recovered, Snapshot,
};

use crate::disk::{Disk, Unsynced};

pub(crate) fn settings() -> LogSettings {
    let founders = Membership::of_voters([1, 2, 3].map(NodeId));
    let mut settings = LogSettings::new(PathBuf::from("/data"), "blue", NodeId(1), founders);
    settings.segment_bytes = 1024;
    settings
}

pub(crate) fn entry(term: u64, index: u64) -> LogEntry {
    let data = Bytes::from(format!("entry {index} of term {term}, with some bytes to fill it"));
    LogEntry { kind: 0, term, index, data }
}

pub(crate) fn batch(number: u64, term: u64, indexes: std::ops::RangeInclusive<u64>) -> Batch {
    let hard_state = HardState { term, vote: 2, commit: indexes.start() - 1 };
    Batch { number, hard_state, snapshot: None, entries: indexes.map(|index| entry(term, index)).collect() }
}

pub(crate) fn open(disk: &Disk) -> Result<(Log, Recovered), OpenError> {
    Log::open(disk.vfs(), &settings())
}

fn indexes(recovered: &Recovered) -> Vec<(u64, u64)> {
    recovered.entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

/// The log's one segment with `count` batches, and where each frame begins.
fn written(disk: &Disk, count: u64) -> (PathBuf, Vec<usize>) {
    let (mut log, _) = open(disk).unwrap();
    let segment = disk.path_of("log-");
    let mut ends = Vec::new();
    for number in 1..=count {
        let end = disk.bytes(&segment).iter().rposition(|byte| *byte != 0).unwrap() + 1;
        ends.push(end.next_multiple_of(8));
        log.persist(&[batch(number, 2, number + 1..=number + 1)]).unwrap();
    }
    (segment, ends)
}

#[test]
fn a_new_directory_holds_the_founders_and_nothing_else() {
    let disk = Disk::new();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, Recovered::founding(settings().founders));
    let joiner = LogSettings { founders: Membership::default(), ..settings() };
    let (_, recovered) = Log::open(Disk::new().vfs(), &joiner).unwrap();
    assert_eq!(recovered, Recovered::default());
}

#[test]
fn a_directory_that_is_not_to_be_founded_is_refused_while_it_holds_no_log_and_nothing_is_made_in_it() {
    let (disk, told) = (Disk::new(), LogSettings { may_found: false, ..settings() });
    let refused = || Log::open(disk.vfs(), &told).map(|_| ()).unwrap_err();
    assert!(matches!(refused(), OpenError::Unfounded { .. }));
    assert_eq!(disk.names(), [""; 0]);
    drop(open(&disk).unwrap());
    Log::open(disk.vfs(), &told).map(|_| ()).unwrap();
}

#[test]
fn what_was_persisted_is_read_back_over_many_segments() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    for number in 0..40 {
        let first = 2 + number * 3;
        log.persist(&[batch(number, 2, first..=first + 1), batch(number, 2, first + 2..=first + 2)]).unwrap();
    }
    drop(log);
    disk.restart(Unsynced::Lost);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), (2..=121).map(|index| (index, 2)).collect::<Vec<_>>());
    assert_eq!(recovered.entries[17], entry(2, 19));
    assert_eq!(recovered.hard_state, HardState { term: 2, vote: 2, commit: 120 });
    assert!(disk.names().iter().filter(|name| name.starts_with("log-")).count() > 5);
}

#[test]
fn a_conflicting_suffix_is_cut_off() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.persist(&[batch(1, 2, 2..=9)]).unwrap();
    log.persist(&[batch(2, 3, 5..=6)]).unwrap();
    drop(log);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(indexes(&recovered), [(2, 2), (3, 2), (4, 2), (5, 3), (6, 3)]);
}

#[test]
fn half_of_the_last_frame_is_cut_off_wherever_it_ends() {
    let disk = Disk::new();
    let (segment, frames) = written(&disk, 3);
    let whole = disk.bytes(&segment);
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for torn_at in frames[2]..end {
        disk.alter(&segment, |bytes| {
            bytes.copy_from_slice(&whole);
            bytes[torn_at..].fill(0);
        });
        let (mut log, recovered) = open(&disk).unwrap();
        assert_eq!(indexes(&recovered), [(2, 2), (3, 2)], "torn at {torn_at}");
        let torn = (torn_at - frames[2]) as u64;
        assert!(recovered.torn_bytes <= torn && (torn == 0 || recovered.torn_bytes > 0), "torn at {torn_at}");
        log.persist(&[batch(9, 4, 4..=4)]).unwrap();
        drop(log);
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(indexes(&recovered), [(2, 2), (3, 2), (4, 4)], "torn at {torn_at}");
    }
}

#[test]
fn damage_before_the_last_frame_is_refused_with_file_and_offset() {
    let disk = Disk::new();
    let (segment, frames) = written(&disk, 3);
    let whole = disk.bytes(&segment);
    for damaged in 0..frames[2] {
        let frame = frames.iter().rev().find(|frame| **frame <= damaged).copied().unwrap_or(0);
        disk.alter(&segment, |bytes| {
            bytes.copy_from_slice(&whole);
            bytes[damaged] ^= 0x55;
        });
        match open(&disk).map(|(_, recovered)| recovered) {
            Err(OpenError::Corrupted { file, offset, .. }) => {
                assert_eq!((file, offset), (segment.clone(), frame as u64), "damage at {damaged}");
            }
            // Only the padding between two frames, which means nothing, may be damaged unseen.
            Ok(recovered) => assert!(damaged % 8 != 0 && recovered.entries.len() == 3, "damage at {damaged}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn damage_in_an_earlier_segment_is_refused_also_at_its_end() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    let first = disk.path_of("log-");
    let mut last_frame = 0;
    for number in 2..40 {
        if disk.path_of("log-") == first {
            last_frame = disk.bytes(&first).iter().rposition(|byte| *byte != 0).unwrap();
        }
        log.persist(&[batch(number, 2, number..=number)]).unwrap();
    }
    drop(log);
    disk.alter(&first, |bytes| bytes[last_frame - 3] ^= 1);
    let error = open(&disk).map(|_| ()).unwrap_err();
    let said = error.to_string();
    let OpenError::Corrupted { file, offset, reason } = error else { panic!("{said}") };
    assert_eq!(file, first);
    assert!(said.contains(&format!("{} is corrupted at offset {offset}", first.display())), "{said}");
    assert!(said.contains("do not edit it: move the directory away whole"), "{said}");
    assert!(offset > 0 && reason.contains("should reach to"), "{reason}");
}

#[test]
fn a_segment_that_is_missing_is_refused() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    for number in 2..60 {
        log.persist(&[batch(number, 2, number..=number)]).unwrap();
    }
    drop(log);
    for missing in ["log-0000000000000001", "log-0000000000000003"] {
        let vfs = disk.vfs();
        let file = disk.path_of(missing);
        let aside = Path::new("/data/aside");
        vfs.rename(&file, aside).unwrap();
        let Err(error) = open(&disk).map(|_| ()) else { panic!("{missing}") };
        assert!(matches!(error, OpenError::Corrupted { .. }), "{error}");
        vfs.rename(aside, &file).unwrap();
    }
    open(&disk).unwrap();
}

#[test]
fn a_directory_of_another_cluster_node_or_newer_program_is_refused_and_says_what_to_do() {
    let disk = Disk::new();
    drop(open(&disk).unwrap());
    let error = |settings: &LogSettings| Log::open(disk.vfs(), settings).map(|_| ()).unwrap_err().to_string();
    let other_cluster = error(&LogSettings { cluster: "green".to_owned(), ..settings() });
    assert!(
        other_cluster.contains(r#"node 1 of cluster "blue", not to node 1 of cluster "green""#),
        "{other_cluster}"
    );
    let other_node = error(&LogSettings { node: NodeId(2), ..settings() });
    assert!(other_node.contains("give this node its own directory"), "{other_node}");
    let meta = disk.path_of("meta");
    let text = disk.bytes(&meta);
    disk.alter(&meta, |bytes| {
        *bytes = String::from_utf8(text.clone()).unwrap().replace("format = 1", "format = 7").into_bytes();
    });
    let newer = error(&settings());
    assert!(newer.contains("has format 7, this program knows up to 1; start the newer program"), "{newer}");
    disk.alter(&meta, |bytes| {
        *bytes = String::from_utf8(text).unwrap().replace("node = 1", "node = 2").into_bytes();
    });
    let edited = error(&LogSettings { node: NodeId(2), ..settings() });
    assert!(edited.contains("checksum does not match"), "{edited}");
}

#[test]
fn a_directory_without_its_meta_file_or_without_its_log_is_not_founded_anew() {
    for lost in ["meta", "log-"] {
        let disk = Disk::new();
        drop(open(&disk).unwrap());
        disk.vfs().remove(&disk.path_of(lost)).unwrap();
        let Err(error) = open(&disk).map(|_| ()) else { panic!("{lost}") };
        assert!(matches!(error, OpenError::Corrupted { .. }), "{error}");
    }
}

#[test]
fn a_snapshot_with_one_bit_turned_is_refused() {
    let disk = Disk::new();
    let (log, _) = open(&disk).unwrap();
    let snapshot =
        Snapshot { index: 1, term: 1, membership: settings().founders, data: Bytes::from_static(b"state") };
    log.snapshots().keep(&snapshot).unwrap();
    assert_eq!(log.snapshots().read(1).unwrap(), Some(snapshot));
    assert_eq!(log.snapshots().read(2).unwrap(), None);
    drop(log);
    let file = disk.path_of("snapshot-");
    let whole = disk.bytes(&file);
    for bit in 0..whole.len() * 8 {
        disk.alter(&file, |bytes| {
            bytes.copy_from_slice(&whole);
            bytes[bit / 8] ^= 1 << (bit % 8);
        });
        assert!(matches!(open(&disk), Err(OpenError::Corrupted { .. })), "bit {bit}");
    }
}

#[test]
fn a_snapshot_of_the_leader_replaces_the_log() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.persist(&[batch(1, 2, 2..=9)]).unwrap();
    let snapshot =
        Snapshot { index: 50, term: 4, membership: settings().founders, data: Bytes::from_static(b"state") };
    let mut replacing = batch(2, 5, 51..=52);
    replacing.snapshot = Some(snapshot.clone());
    log.persist(&[replacing]).unwrap();
    log.persist(&[batch(3, 5, 53..=53)]).unwrap();
    drop(log);
    disk.restart(Unsynced::Lost);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.snapshot, Some(snapshot));
    assert_eq!(indexes(&recovered), [(51, 5), (52, 5), (53, 5)]);
}

#[test]
fn compacted_segments_are_used_again_and_their_old_frames_mean_nothing() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut files = 0;
    for number in 2..400 {
        log.persist(&[batch(number, 2, number..=number)]).unwrap();
        if number % 20 == 0 {
            let membership = settings().founders;
            let snapshot =
                Snapshot { index: number, term: 2, membership, data: Bytes::from_static(b"state") };
            log.snapshots().keep(&snapshot).unwrap();
            log.compact(number - 4).unwrap();
            files = files.max(disk.names().len());
        }
    }
    drop(log);
    disk.restart(Unsynced::Lost);
    assert!(files <= 14, "{files} files");
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.snapshot.unwrap().index, 380);
    assert_eq!(recovered.entries.last().unwrap(), &entry(2, 399));
    assert!(recovered.entries[0].index <= 377);
    assert_eq!(recovered.torn_bytes, 0);
}
