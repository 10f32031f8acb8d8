//! Full and failing disks, a second process, and the system's own files.

use consensus::{Log, LogSettings, OpenError, PersistError, StdVfs};
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, Unsynced};
use crate::log_recovery::{batch, open, settings};

#[test]
fn a_full_disk_refuses_whole_batches_and_takes_them_when_there_is_room_again() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    disk.limit(Some(disk.used()));
    let mut taken = 1;
    let refused = loop {
        match log.persist(&[batch(taken, 2, taken + 1..=taken + 1)]) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, PersistError::DiskFull { .. }), "{refused}");
    assert!(taken > 8, "the spare segment was used before: {taken}");
    let again = log.persist(&[batch(taken, 2, taken + 1..=taken + 1)]).unwrap_err();
    assert!(again.to_string().contains("nothing was written"), "{again}");
    disk.limit(None);
    log.persist(&[batch(taken, 2, taken + 1..=taken + 1)]).unwrap();
    drop(log);
    disk.restart(Unsynced::Lost);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.entries.len() as u64, taken);
}

#[test]
fn a_directory_opens_on_a_full_disk_and_what_it_holds_is_read() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.persist(&[batch(1, 2, 2..=3)]).unwrap();
    drop(log);
    disk.vfs().remove(&disk.path_of("spare-")).unwrap();
    disk.limit(Some(disk.used()));
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.entries.len(), 2);
    log.persist(&[batch(2, 2, 4..=4)]).unwrap();
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.persist(&[batch(1, 2, 2..=200)]).unwrap();
    log.persist(&[batch(2, 2, 201..=201)]).unwrap();
    drop(log);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.entries.len(), 200);
}

#[test]
fn after_a_failed_sync_the_log_takes_nothing_any_more() {
    let disk = Disk::new();
    let (mut log, _) = open(&disk).unwrap();
    disk.fail_syncs();
    let failed = log.persist(&[batch(1, 2, 2..=2)]).unwrap_err();
    assert!(matches!(failed, PersistError::Fatal { action: "sync", .. }), "{failed}");
    assert!(failed.to_string().contains("the process must end"), "{failed}");
    let refused = log.persist(&[batch(1, 2, 2..=2)]).unwrap_err();
    assert!(matches!(refused, PersistError::Fatal { action: "go on with", .. }), "{refused}");
}

#[test]
fn founding_that_a_crash_cut_short_is_done_again() {
    let operations = {
        let disk = Disk::new();
        drop(open(&disk).unwrap());
        disk.operations()
    };
    for crash_at in 1..=operations {
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(crash_at)] {
            let disk = Disk::new();
            disk.crash_at(crash_at);
            assert!(open(&disk).is_err());
            disk.restart(unsynced);
            let (mut log, recovered) = open(&disk).unwrap();
            assert_eq!(recovered.snapshot.unwrap().membership, settings().founders);
            log.persist(&[batch(1, 2, 2..=2)]).unwrap();
        }
    }
}

#[test]
fn a_new_directory_is_founded_under_names_that_are_durable_up_to_the_root() {
    let disk = Disk::new();
    let settings = LogSettings { directory: PathBuf::from("/var/lib/penstock"), ..settings() };
    drop(Log::open(disk.vfs(), &settings).unwrap());
    for parent in ["/var/lib", "/var", "/"] {
        assert!(disk.synced().contains(&PathBuf::from(parent)), "{parent}: {:?}", disk.synced());
    }
    let again = disk.synced().len();
    drop(Log::open(disk.vfs(), &settings).unwrap());
    let parents = disk.synced().split_off(again);
    assert!(!parents.contains(&PathBuf::from("/var")), "what was founded is durable already: {parents:?}");
}

fn temporary_directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("penstock-consensus-{name}-{}", std::process::id()));
    let _stale = std::fs::remove_dir_all(&directory);
    directory
}

#[test]
fn the_systems_own_files_hold_a_log_and_a_second_opening_is_refused() {
    let directory = temporary_directory("log");
    let settings = LogSettings { directory: directory.clone(), ..settings() };
    let (mut log, _) = Log::open(Arc::new(StdVfs), &settings).unwrap();
    for number in 2..100 {
        log.persist(&[batch(number, 2, number..=number)]).unwrap();
    }
    let second = Log::open(Arc::new(StdVfs), &settings).map(|_| ()).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(log);
    let (_, recovered) = Log::open(Arc::new(StdVfs), &settings).unwrap();
    assert_eq!(recovered.entries.len(), 98);
    std::fs::remove_dir_all(directory).unwrap();
}
