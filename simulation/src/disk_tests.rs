//! What the simulated disk promises, and what it breaks.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consensus::{
    Batch, HardState, Log, LogEntry, LogSettings, Membership, NodeId, OpenError, Recovered, Snapshot,
    Vfs as _,
};

use crate::chance::Chance;
use crate::disk::{Lies, SimDisk};

#[test]
fn what_was_synced_survives_a_crash_and_what_was_not_may_be_torn() {
    let mut losses = 0;
    for seed in 0..20 {
        let (disk, mut chance) = (SimDisk::default(), Chance::from_seed(seed));
        let mut file = disk.create(Path::new("d/a")).unwrap();
        file.write_at(0, &[1; 2048]).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_at(2048, &[2; 2048]).unwrap();
        disk.crash(&mut chance);
        let mut bytes = [9; 4096];
        let length = disk.open(Path::new("d/a")).unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes[..2048].iter().all(|byte| *byte == 1));
        losses += usize::from(length < 4096 || bytes[2048..].contains(&0));
    }
    assert!(losses > 10, "{losses} of 20 crashes tore the unsynced half");
}

#[test]
fn a_file_whose_directory_was_not_synced_may_be_gone_after_a_crash() {
    let gone = (0..20).filter(|seed| {
        let disk = SimDisk::default();
        disk.create(Path::new("d/a")).unwrap().sync_data().unwrap();
        disk.crash(&mut Chance::from_seed(*seed));
        disk.open(Path::new("d/a")).is_err()
    });
    assert!((1..20).contains(&gone.count()));
}

#[test]
fn a_full_disk_refuses_to_grow_and_takes_overwrites() {
    let disk = SimDisk::default();
    disk.set_capacity(Some(1024));
    let mut file = disk.create(Path::new("d/a")).unwrap();
    file.preallocate(1024).unwrap();
    assert_eq!(file.write_at(1000, &[1; 100]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(0, &[1; 1024]).unwrap();
}

#[test]
fn a_lying_disk_loses_what_it_claimed_to_have_synced_unless_it_owns_up() {
    let length_after_crash = |owns_up: bool| {
        let disk = SimDisk::default();
        let mut file = disk.create(Path::new("d/a")).unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        file.sync_data().unwrap();
        disk.lie(Lies { files: true, directories: true });
        file.write_at(0, &[1; 512 * 64]).unwrap();
        file.sync_data().unwrap();
        if owns_up {
            disk.own_up();
        }
        disk.crash(&mut Chance::from_seed(1));
        let file = disk.open(Path::new("d/a")).unwrap();
        let mut bytes = [0; 512 * 64];
        file.read_at(0, &mut bytes).unwrap();
        bytes.iter().filter(|byte| **byte == 1).count()
    };
    assert_eq!(length_after_crash(true), 512 * 64);
    assert!(length_after_crash(false) < 512 * 64);
}

#[test]
fn a_failed_sync_fails_once() {
    let disk = SimDisk::default();
    let mut file = disk.create(Path::new("d/a")).unwrap();
    disk.fail_next_sync();
    assert!(file.sync_data().is_err() && file.sync_data().is_ok());
}

#[test]
fn rot_turns_one_bit_of_an_old_segment_or_a_snapshot_and_never_of_the_newest_segment() {
    let disk = SimDisk::default();
    for name in ["d/log-1.segment", "d/log-2.segment", "d/meta"] {
        let mut file = disk.create(Path::new(name)).unwrap();
        file.write_at(0, &[0; 64]).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_dir(Path::new("d")).unwrap();
    assert_eq!(disk.rot(12_345), Some(PathBuf::from("d/log-1.segment")));
    let mut bytes = [0; 64];
    disk.open(Path::new("d/log-1.segment")).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
}

#[test]
fn a_file_of_a_crashed_process_is_dead_and_its_lock_is_free() {
    let disk = SimDisk::default();
    let mut file = disk.create(Path::new("d/a")).unwrap();
    let _lock = disk.lock(Path::new("d/lock")).unwrap();
    assert!(disk.lock(Path::new("d/lock")).is_err());
    disk.crash(&mut Chance::from_seed(1));
    assert!(file.write_at(0, &[1]).is_err());
    assert!(disk.lock(Path::new("d/lock")).is_ok());
}

#[test]
fn reads_fail_after_so_many_until_the_process_starts_again() {
    let disk = SimDisk::default();
    let path = Path::new("data/a");
    let mut file = disk.create(path).unwrap();
    file.write_at(0, b"held").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("data")).unwrap();
    disk.fail_reads_after(1);
    let mut buffer = [0; 4];
    assert_eq!(file.read_at(0, &mut buffer).unwrap(), 4);
    assert!(file.read_at(0, &mut buffer).is_err() && disk.reads_fail());
    disk.crash(&mut Chance::from_seed(1));
    assert!(!disk.reads_fail());
    assert_eq!(disk.open(path).unwrap().read_at(0, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"held");
}

#[test]
fn what_is_free_is_told_where_there_is_a_bound() {
    let disk = SimDisk::default();
    let mut file = disk.create(Path::new("data/a")).unwrap();
    file.write_at(0, &[1; 100]).unwrap();
    assert_eq!(disk.free_bytes(Path::new("data")).unwrap(), None);
    disk.set_capacity(Some(150));
    assert_eq!(disk.free_bytes(Path::new("data")).unwrap(), Some(50));
}

fn opened(disk: &SimDisk) -> Result<(Log, Recovered), OpenError> {
    let founders = Membership::of_voters([NodeId(1)]);
    let settings = LogSettings::new(PathBuf::from("data"), "simulated", NodeId(1), founders);
    Log::open(Arc::new(disk.clone()), &LogSettings { segment_bytes: 2048, ..settings })
}

/// A disk with a log of some segments and a snapshot; what it holds.
fn written() -> (SimDisk, Recovered) {
    let disk = SimDisk::default();
    let (mut log, _) = opened(&disk).unwrap();
    for number in 1..=20 {
        let (index, data) = (number + 1, vec![u8::try_from(number).unwrap(); 200].into());
        let entries = vec![LogEntry { kind: 0, term: 2, index, data }];
        let hard_state = HardState { term: 2, vote: 1, commit: number };
        log.persist(&[Batch { number, hard_state, snapshot: None, entries }]).unwrap();
        if number == 10 {
            let membership = Membership::of_voters([NodeId(1)]);
            log.snapshots()
                .keep(&Snapshot { index: 9, term: 2, membership, data: vec![7; 900].into() })
                .unwrap();
        }
    }
    drop(log);
    let held = opened(&disk).unwrap().1;
    disk.crash(&mut Chance::from_seed(1));
    (disk, held)
}

#[test]
fn a_write_that_landed_elsewhere_is_refused_or_did_no_harm() {
    let (mut refused, mut harmless, mut chance) = (0, 0, Chance::from_seed(1));
    for _ in 0..400 {
        let (disk, held) = written();
        let Some((from, into)) = disk.misdirect(chance.bits()) else { continue };
        match opened(&disk) {
            Err(OpenError::Corrupted { .. }) => refused += 1,
            Err(other) => panic!("from {from:?} into {into:?}: {other}"),
            Ok((_, recovered)) => {
                let same = Recovered { torn_bytes: held.torn_bytes, ..recovered } == held;
                assert!(same, "from {from:?} into {into:?}: another state");
                harmless += 1;
            }
        }
    }
    assert!(refused > 100, "{refused} refused, {harmless} harmless");
}
