//! A disk that can't be read for a while: a start fails, names the file, and leaves everything.

use sluice_wal::{Log, Opened, SimulatedDisk, WalError};

use crate::owner::{Owner, Promises, Step, config, play};

/// A log with checkpoints, several segments, frames that are not proven and a torn tail.
fn log_to_recover() -> (SimulatedDisk, Promises) {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let steps = [
        Step::Append(31_000),
        Step::Append(31_000),
        Step::Append(900),
        Step::Sync,
        Step::Checkpoint,
        Step::Append(700),
        Step::Sync,
        Step::Checkpoint,
        Step::Append(800),
        Step::Write,
        Step::Append(3_000),
        Step::Write,
    ];
    assert!(play(&disk, &steps, &mut promises).is_none());
    let torn = disk.dirty_sectors("00000002.seg").last().copied();
    disk.crash_power_with(|_, sector| Some(sector) != torn);
    (disk, promises)
}

fn files(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    disk.paths().into_iter().map(|path| (path.clone(), disk.bytes(&path))).collect()
}

fn open(disk: &SimulatedDisk) -> Result<Opened<SimulatedDisk>, WalError> {
    Log::scan(disk.clone(), config(), 7)?.open(1)
}

#[test]
fn a_start_that_meets_a_read_error_names_the_file_and_touches_nothing() {
    let (disk, promises) = log_to_recover();
    let (snapshot, before) = (disk.snapshot(), files(&disk));
    let report = open(&SimulatedDisk::from_snapshot(&snapshot)).unwrap().report;
    assert!(report.torn_bytes > 0 && report.rewritten > 0, "{report:?}");
    let mut failed = 0;
    for operation in 1.. {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        let reads = disk.counters().failed_reads;
        disk.fail_operations(disk.operations() + operation, 0);
        let outcome = open(&disk);
        if outcome.is_ok() {
            break;
        }
        if disk.counters().failed_reads == reads {
            continue;
        }
        failed += 1;
        let Err(WalError::Io { action: "read", path, .. }) = &outcome else {
            panic!("operation {operation}: {outcome:?}");
        };
        assert!(before.iter().any(|(name, _)| name == path), "{path}");
        assert!(files(&disk) == before, "operation {operation} changed something");
        drop(outcome);
        disk.crash_process();
        Owner::start(&disk, &mut promises.clone()).unwrap();
    }
    assert!(failed >= 10, "{failed}");
}

#[test]
fn a_file_that_can_not_be_read_is_not_given_up() {
    let (disk, promises) = log_to_recover();
    let (snapshot, before) = (disk.snapshot(), files(&disk));
    for (name, _) in &before {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.fail_reads_of(Some(name));
        // The older checkpoint's image holds nothing that the newer one needs.
        let needed = name != "checkpoints/00000001.image";
        let outcome = open(&disk);
        if needed {
            let error = outcome.expect_err(name).to_string();
            assert!(error.contains(name.as_str()), "{error}");
            assert!(files(&disk) == before, "{name}");
        }
        disk.fail_reads_of(None);
        disk.crash_process();
        Owner::start(&disk, &mut promises.clone()).unwrap();
    }
    assert_eq!(before.len(), 6);
}

#[test]
fn bodies_that_can_not_be_read_come_back_with_the_disk() {
    let (disk, mut promises) = log_to_recover();
    let opened = open(&disk).unwrap();
    let mut places = Vec::new();
    opened
        .replay(|record| {
            places.push((record.body, record.sequence));
            Ok(())
        })
        .unwrap();
    let reader = opened.log.reader();
    let (at, sequence) = places[0];
    disk.fail_reads_of(Some(".seg"));
    assert!(matches!(reader.read(at, sequence), Err(sluice_wal::ReadError::Io { .. })));
    disk.fail_reads_of(None);
    reader.read(at, sequence).unwrap();
    drop((opened, reader));
    disk.crash_process();
    Owner::start(&disk, &mut promises).unwrap();
}
