//! What a crash takes, and what it leaves.

use std::collections::BTreeSet;

use super::pages::SECTOR;
use super::*;
use crate::disk::DiskFile;

fn disk_with(bytes: &[u8]) -> (SimulatedDisk, Arc<SimulatedFile>) {
    let disk = SimulatedDisk::with_faults(7);
    let file = disk.create("a").unwrap();
    disk.sync_folder("").unwrap();
    file.allocate(8192).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    (disk, file)
}

#[test]
fn a_crash_of_the_machine_takes_or_leaves_whole_unsynced_sectors() {
    let (disk, file) = disk_with(&[1; 8192]);
    file.write_at(0, &[2; 8192]).unwrap();
    disk.crash_power();
    assert!(file.sync().is_err(), "a handle from before the crash is dead");
    let bytes = disk.bytes("a");
    let sectors: Vec<u8> = bytes.chunks(SECTOR).map(|sector| sector[0]).collect();
    assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
    assert!(sectors.contains(&1) && sectors.contains(&2));
    let counters = disk.counters();
    assert_eq!(counters.sectors_kept + counters.sectors_lost, 16);
}

#[test]
fn a_crash_of_the_process_takes_nothing() {
    let (disk, file) = disk_with(b"synced");
    file.write_at(6, b" and not").unwrap();
    disk.create("b").unwrap();
    disk.crash_process();
    assert!(disk.bytes("a").starts_with(b"synced and not"));
    assert_eq!(disk.paths(), ["a", "b"]);
}

#[test]
fn a_failed_sync_shows_new_bytes_until_the_machine_crashes_and_old_ones_after() {
    let (disk, file) = disk_with(b"old");
    file.write_at(0, b"new").unwrap();
    disk.set_faults(Faults { sync: 10_000, ..Faults::default() });
    assert!(file.sync().is_err());
    disk.set_faults(Faults::default());
    file.sync().unwrap();
    assert!(disk.bytes("a").starts_with(b"new"));
    disk.crash_power();
    assert!(disk.bytes("a").starts_with(b"old"));
}

#[test]
fn names_survive_once_their_folder_is_synced() {
    let disk = SimulatedDisk::with_faults(1);
    disk.create("x/kept").unwrap();
    disk.sync_folder("x").unwrap();
    let mut seen = BTreeSet::new();
    let before = disk.snapshot();
    for seed in 0..20 {
        let disk = SimulatedDisk::from_snapshot(&before);
        disk.state.lock().random = seed;
        disk.create("x/new.tmp").unwrap();
        disk.rename("x/new.tmp", "x/new").unwrap();
        disk.crash_power();
        let names = disk.list("x").unwrap();
        assert!(names.contains(&"kept".to_owned()));
        seen.insert(names);
    }
    assert_eq!(seen.len(), 3, "none, the temporary name, the last name: {seen:?}");
}

#[test]
fn the_process_dies_in_the_middle_of_the_operation_asked_for() {
    let (disk, file) = disk_with(b"");
    disk.crash_at_operation(disk.operations() + 2);
    file.write_at(0, b"first").unwrap();
    assert!(file.write_at(5, b"second").is_err());
    assert!(file.write_at(0, b"third").is_err());
    disk.crash_process();
    assert!(disk.bytes("a").starts_with(b"first"));
}
