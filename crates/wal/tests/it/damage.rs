//! Every way in which a small log can be damaged: nothing is silent, nothing is wrong.

use bytes::BufMut;
use sluice_wal::{BodyRef, Config, Log, Opened, ReadError, Sequence, SimulatedDisk, WalError};

const SEGMENT: &str = "00000001.seg";
const SECTOR: u64 = 512;
/// KiB of log whose every bit is flipped; larger runs are for outside CI.
const FLIP_KIB: &str = "SLUICE_FLIP_KIB";

fn config() -> Config {
    let segment_bytes = flip_kib().max(16) as u64 * 2048;
    Config { segment_bytes, record_max: 16 << 10, resident_bytes: 0, ..Config::default() }
}

fn flip_kib() -> usize {
    std::env::var(FLIP_KIB).ok().and_then(|text| text.parse().ok()).unwrap_or(16)
}

fn open(disk: &SimulatedDisk) -> Result<Opened<SimulatedDisk>, WalError> {
    Log::scan(disk.clone(), config(), 7)?.open(1)
}

fn body_of(sequence: u64) -> Vec<u8> {
    // Never zero: a sector of zeros would look as if it had not been written.
    (0..20 + sequence * 37 % 700).map(|at| (1 + (sequence * 31 + at) % 255) as u8).collect()
}

fn append(log: &mut Log<SimulatedDisk>, records: u64) {
    for _ in 0..records {
        let next = log.last().0 + 1;
        log.append(|head| head.put_u64_le(next), &[&body_of(next)]);
    }
}

fn commit(log: &mut Log<SimulatedDisk>, sync: bool) {
    let done = log.take_commit(sync, 1).unwrap().run();
    log.finish(done).unwrap();
}

/// A log of about `bytes` whose every frame but the last is proven safe by the next.
fn log_of(bytes: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::with_faults(1);
    let mut opened = open(&disk).unwrap();
    while opened.log.appended_bytes() < bytes {
        append(&mut opened.log, 3);
        commit(&mut opened.log, true);
    }
    disk.crash_process();
    disk
}

/// How many records a start keeps, each checked to be what was written; or its refusal.
fn kept(disk: &SimulatedDisk) -> Result<(u64, bool), WalError> {
    let opened = open(disk)?;
    let mut last = 0;
    let reader = opened.log.reader();
    opened.replay(|record| {
        assert_eq!(record.sequence.0, last + 1, "sequences are dense");
        assert_eq!(record.head, (last + 1).to_le_bytes());
        let body = reader.read(record.body, Sequence(last + 1)).unwrap();
        assert_eq!(body, body_of(last + 1));
        last += 1;
        Ok(())
    })?;
    let told = opened.report.torn_bytes > 0 || opened.report.damaged_checkpoints > 0;
    Ok((last, told))
}

/// Where every body lies, and the log itself.
fn bodies(disk: &SimulatedDisk) -> (Vec<(Sequence, BodyRef)>, Log<SimulatedDisk>) {
    let opened = open(disk).unwrap();
    let (mut places, mut sequence) = (Vec::new(), 0);
    opened
        .replay(|record| {
            sequence += 1;
            places.push((Sequence(sequence), record.body));
            Ok(())
        })
        .unwrap();
    (places, opened.log)
}

#[test]
fn bodies_read_at_once_are_those_read_one_by_one_in_any_order() {
    let disk = log_of(12 << 10);
    let (mut places, log) = bodies(&disk);
    let reader = log.reader();
    let check = |places: &[(Sequence, BodyRef)]| {
        let all = reader.read_many(places);
        assert_eq!(all.len(), places.len());
        for ((sequence, _), read) in places.iter().zip(all) {
            assert_eq!(read.unwrap(), body_of(sequence.0));
        }
    };
    assert!(places.len() > 20);
    check(&places);
    check(&[]);
    check(&places[3..4]);
    let some: Vec<_> = places.iter().copied().step_by(3).collect();
    check(&some);
    places.reverse();
    check(&places);
}

#[test]
fn a_damaged_body_takes_none_of_its_neighbours_with_it() {
    let disk = log_of(12 << 10);
    let (mut places, log) = bodies(&disk);
    let reader = log.reader();
    let (_, bad) = places[5];
    disk.flip_bit(SEGMENT, 8 * (u64::from(bad.offset) + 10));
    places[7].1.segment = 99;
    let all = reader.read_many(&places);
    for (at, ((sequence, _), read)) in places.iter().zip(all).enumerate() {
        match at {
            5 => assert!(matches!(read, Err(ReadError::Damaged { .. })), "{at}: {read:?}"),
            7 => assert!(matches!(read, Err(ReadError::Gone(99))), "{read:?}"),
            _ => assert_eq!(read.unwrap(), body_of(sequence.0), "{at}"),
        }
    }
    disk.fail_reads_of(Some(".seg"));
    let failed = reader.read_many(&places[..3]);
    assert!(failed.iter().all(|read| matches!(read, Err(ReadError::Io { .. }))), "{failed:?}");
}

fn used(disk: &SimulatedDisk) -> u64 {
    disk.bytes(SEGMENT).iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

#[test]
fn a_log_cut_at_any_byte_keeps_a_prefix_or_refuses() {
    let disk = log_of(4 << 10);
    let whole = kept(&SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap().0;
    let snapshot = disk.snapshot();
    for len in 512..used(&disk) {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.truncate(SEGMENT, len);
        let (records, _) = kept(&disk).unwrap();
        assert!(records < whole, "cut at {len}");
        disk.crash_process();
        assert_eq!(kept(&disk).unwrap().0, records, "a second start after a cut at {len}");
    }
}

#[test]
fn any_subset_of_the_last_frames_sectors_leaves_all_of_it_or_nothing() {
    for records in [1, 6, 11] {
        let disk = SimulatedDisk::with_faults(1);
        let mut opened = open(&disk).unwrap();
        append(&mut opened.log, 5);
        commit(&mut opened.log, true);
        append(&mut opened.log, records);
        commit(&mut opened.log, false);
        let dirty = disk.dirty_sectors(SEGMENT);
        assert!((1..=12).contains(&dirty.len()), "{} sectors", dirty.len());
        let snapshot = disk.snapshot();
        for subset in 0..1u32 << dirty.len() {
            let disk = SimulatedDisk::from_snapshot(&snapshot);
            disk.crash_power_with(|_, sector| {
                let at = dirty.iter().position(|dirty| *dirty == sector);
                at.is_some_and(|at| subset >> at & 1 == 1)
            });
            let all = subset + 1 == 1 << dirty.len();
            // The start gathers what is in the segment, and removes it.
            let first = dirty[0] * SECTOR;
            let nothing = disk.bytes(SEGMENT)[first as usize..].iter().all(|byte| *byte == 0);
            let (kept, torn) = kept(&disk).unwrap();
            assert_eq!(kept, if all { 5 + records } else { 5 }, "subset {subset:b}");
            assert!(all || torn || nothing || subset == 0, "subset {subset:b} was silent");
        }
    }
}

#[test]
fn no_flipped_bit_is_silent() {
    let disk = log_of(flip_kib() as u64 * 1000);
    let whole = kept(&SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap().0;
    let snapshot = disk.snapshot();
    let (mut refused, mut told) = (0, 0);
    for bit in 0..used(&disk) * 8 {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.flip_bit(SEGMENT, bit);
        match kept(&disk) {
            Err(WalError::Corrupt(_) | WalError::Version { .. }) => refused += 1,
            Err(error) => panic!("bit {bit}: {error}"),
            Ok((records, true)) => {
                assert!(records < whole, "bit {bit}");
                told += 1;
            }
            Ok((records, false)) => assert_eq!(records, whole, "bit {bit} was silent"),
        }
    }
    assert!(refused > told, "{refused} refused, {told} set aside");
}

#[test]
fn a_failed_sync_ends_the_log_and_leaves_each_record_whole_or_absent() {
    for seed in 0..40 {
        let disk = SimulatedDisk::with_faults(seed);
        let mut opened = open(&disk).unwrap();
        append(&mut opened.log, 4);
        commit(&mut opened.log, true);
        append(&mut opened.log, 4);
        disk.set_faults(sluice_wal::Faults { sync: 10_000, ..Default::default() });
        let done = opened.log.take_commit(true, 1).unwrap().run();
        assert!(opened.log.finish(done).is_err());
        append(&mut opened.log, 1);
        assert!(opened.log.take_commit(true, 1).is_none(), "a failed log takes no more");
        disk.set_faults(sluice_wal::Faults::default());
        disk.crash_power();
        assert_eq!(kept(&disk).unwrap().0, 4, "the failed sync lost its pages");
    }
}

#[test]
fn a_later_version_is_refused_and_nothing_is_touched() {
    let disk = log_of(1 << 10);
    disk.flip_bit(SEGMENT, 8 * 8 + 1);
    let before = disk.bytes(SEGMENT);
    assert!(matches!(kept(&disk), Err(WalError::Version { found: 3, .. })));
    assert_eq!((disk.bytes(SEGMENT), disk.paths()), (before, vec![SEGMENT.to_owned()]));
}

#[test]
fn a_start_that_dies_anywhere_changes_nothing() {
    let disk = SimulatedDisk::with_faults(3);
    let mut opened = open(&disk).unwrap();
    append(&mut opened.log, 5);
    commit(&mut opened.log, true);
    append(&mut opened.log, 6);
    commit(&mut opened.log, false);
    append(&mut opened.log, 9);
    commit(&mut opened.log, false);
    let dirty = disk.dirty_sectors(SEGMENT);
    // All of the first unsynced frame, and of the second one all but its last sector.
    disk.crash_power_with(|_, sector| Some(&sector) != dirty.last());
    let snapshot = disk.snapshot();
    let expected = kept(&SimulatedDisk::from_snapshot(&snapshot)).unwrap().0;
    assert_eq!(expected, 11);
    for operation in 1.. {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.crash_at_operation(disk.operations() + operation);
        let outcome = open(&disk);
        let died = disk.is_dead();
        drop(outcome);
        for crash in [SimulatedDisk::crash_process, SimulatedDisk::crash_power] {
            let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
            crash(&disk);
            assert_eq!(kept(&disk).unwrap().0, expected, "died at operation {operation}");
        }
        if !died {
            break;
        }
    }
}
