//! Snapshots that arrive in pieces: resumed, checked, and never taken for what they are not.

use bytes::Bytes;
use consensus::{IncomingError, PersistError, Snapshot, SnapshotFiles, SnapshotLabel};

use crate::disk::{Disk, Unsynced};
use crate::log_recovery::{open, settings};

fn data() -> Bytes {
    (0..10_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into()
}

fn snapshots(disk: &Disk) -> SnapshotFiles {
    open(disk).unwrap().0.snapshots()
}

/// Writes the bytes of `data` from what is held up to `end`, in pieces of 1,000.
fn receive(files: &SnapshotFiles, label: SnapshotLabel, end: usize) -> Result<(), IncomingError> {
    let mut incoming = files.incoming(label)?;
    let data = data();
    while (incoming.held() as usize) < end {
        let from = incoming.held() as usize;
        incoming.write(from as u64, &data[from..end.min(from + 1000)])?;
    }
    Ok(())
}

fn incoming_files(disk: &Disk) -> usize {
    disk.names().iter().filter(|name| name.starts_with("incoming-")).count()
}

#[test]
fn a_snapshot_is_read_in_pieces_also_after_newer_ones_have_replaced_it() {
    let disk = Disk::new();
    let files = snapshots(&disk);
    let snapshot = |index| Snapshot { index, term: 2, membership: settings().founders, data: data() };
    files.keep(&snapshot(50)).unwrap();
    let reader = files.open(50).unwrap().unwrap();
    assert_eq!(reader.label(), SnapshotLabel::of(50, &data()));
    for newer in [60, 70, 80] {
        files.keep(&snapshot(newer)).unwrap();
    }
    assert!(files.open(50).unwrap().is_none());
    let mut read = Vec::new();
    while read.len() < data().len() {
        read.extend_from_slice(&reader.read(read.len() as u64, 4096).unwrap());
    }
    assert_eq!(read, data());
    assert!(reader.read(read.len() as u64, 4096).unwrap().is_empty());
}

#[test]
fn a_transfer_that_broke_off_goes_on_where_it_was() {
    let disk = Disk::new();
    let files = snapshots(&disk);
    let label = SnapshotLabel::of(50, &data());
    receive(&files, label, 12_300).unwrap();
    assert_eq!(files.incoming(label).unwrap().held(), 12_300);
    receive(&files, label, data().len()).unwrap();
    assert_eq!(files.incoming(label).unwrap().finish().unwrap(), data());
    assert_eq!(incoming_files(&disk), 0);
}

#[test]
fn what_is_held_of_another_snapshot_is_given_up() {
    let disk = Disk::new();
    let files = snapshots(&disk);
    let label = SnapshotLabel::of(50, &data());
    receive(&files, label, 12_300).unwrap();
    for other in [SnapshotLabel { index: 51, ..label }, SnapshotLabel { sha256: [7; 32], ..label }] {
        assert_eq!(files.incoming(other).unwrap().held(), 0);
        assert_eq!(incoming_files(&disk), 1);
    }
    assert_eq!(files.incoming(label).unwrap().held(), 0);
}

#[test]
fn a_byte_that_changed_on_the_way_or_in_the_file_is_found_and_nothing_is_handed_over() {
    let disk = Disk::new();
    let files = snapshots(&disk);
    let label = SnapshotLabel::of(50, &data());
    receive(&files, label, data().len()).unwrap();
    disk.alter(&disk.path_of("incoming-"), |bytes| bytes[30_001] ^= 4);
    let damaged = files.incoming(label).unwrap().finish().unwrap_err();
    assert!(matches!(damaged, IncomingError::Damaged { .. }), "{damaged}");
    assert_eq!(files.incoming(label).unwrap().held(), 0, "the next try begins anew");
}

#[test]
fn a_piece_that_leaves_a_gap_or_comes_twice_or_leads_past_the_end_is_refused() {
    let disk = Disk::new();
    let files = snapshots(&disk);
    let label = SnapshotLabel::of(50, &data());
    receive(&files, label, 2_000).unwrap();
    let mut incoming = files.incoming(label).unwrap();
    for (offset, bytes) in [(2_001, 10), (1_999, 10), (2_000, data().len())] {
        let refused = incoming.write(offset, &vec![0; bytes]).unwrap_err();
        assert!(matches!(refused, IncomingError::OutOfPlace { held: 2_000, .. }), "{refused}");
    }
    let unfinished = incoming.finish().unwrap_err();
    assert!(matches!(unfinished, IncomingError::OutOfPlace { held: 2_000, .. }), "{unfinished}");
    assert_eq!(files.incoming(label).unwrap().held(), 2_000);
}

#[test]
fn a_full_disk_refuses_pieces_and_what_is_held_stays() {
    let disk = Disk::new();
    let files = snapshots(&disk);
    let label = SnapshotLabel::of(50, &data());
    receive(&files, label, 2_000).unwrap();
    disk.limit(Some(disk.used() + 5_500));
    let refused = receive(&files, label, data().len()).unwrap_err();
    assert!(matches!(refused, IncomingError::Disk(PersistError::DiskFull { .. })), "{refused}");
    assert_eq!(files.incoming(label).unwrap().held(), 7_000);
    disk.limit(None);
    receive(&files, label, data().len()).unwrap();
    assert_eq!(files.incoming(label).unwrap().finish().unwrap(), data());
}

#[test]
fn a_start_forgets_what_had_come_in() {
    let disk = Disk::new();
    let files = snapshots(&disk);
    let label = SnapshotLabel::of(50, &data());
    receive(&files, label, 2_000).unwrap();
    disk.restart(Unsynced::Kept);
    assert_eq!(snapshots(&disk).incoming(label).unwrap().held(), 0);
}
