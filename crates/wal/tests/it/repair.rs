//! Logs that are refused, and what a repair makes of them.

use std::collections::BTreeSet;

use sluice_wal::{Log, Sequence, SimulatedDisk, Survey, WalError, inspect};

use crate::owner::{Promises, Step, body_of, config, play};

/// Frames of one and of several records, over three segments, with a checkpoint that covers the
/// first of them.
const STEPS: &[Step] = &[
    Step::Append(300),
    Step::Sync,
    Step::Checkpoint,
    Step::Append(400),
    Step::Append(500),
    Step::Sync,
    Step::Append(31_000),
    Step::Sync,
    Step::Append(31_500),
    Step::Append(700),
    Step::Sync,
    Step::Append(31_500),
    Step::Append(31_500),
    Step::Append(900),
    Step::Sync,
    Step::Append(100),
    Step::Sync,
    Step::Mark,
];
/// The records of it, the one that a start appends included.
const LAST: u64 = 11;
/// Records that the checkpoint covers.
const COVERED: u64 = 2;

fn log() -> SimulatedDisk {
    let disk = SimulatedDisk::with_faults(1);
    assert!(play(&disk, STEPS, &mut Promises::default()).is_none());
    disk.crash_process();
    disk
}

/// Starts, and gives the records behind the checkpoint, each checked.
fn start(disk: &SimulatedDisk) -> Result<BTreeSet<u64>, WalError> {
    let opened = Log::scan(disk.clone(), config(), 7)?.open(1)?;
    let reader = opened.log.reader();
    let mut found = BTreeSet::new();
    opened.replay(|record| {
        let sequence = record.sequence.0;
        if record.body.len > 0 {
            let body = reader.read(record.body, record.sequence).unwrap();
            assert!(body == body_of(sequence, 1, body.len()), "record {sequence}");
        }
        found.insert(sequence);
        Ok(())
    })?;
    Ok(found)
}

/// Repairs what a start refused; gives the records that it said are lost.
fn repair(disk: &SimulatedDisk) -> BTreeSet<u64> {
    let survey = Survey::take(disk.clone()).unwrap().expect("something to repair");
    let lost = survey.lost().iter().flat_map(|lost| lost.first.0..=lost.last.0).collect();
    let touched = survey.touched();
    let before: Vec<_> = touched.iter().map(|name| disk.bytes(name)).collect();
    let repaired = survey.repair().unwrap();
    let copies: Vec<_> = repaired.quarantined.iter().map(|name| disk.bytes(name)).collect();
    assert!(copies == before, "every byte is kept");
    let behind_headers = |bytes: &[u8]| bytes[512..].to_vec();
    assert!(
        touched
            .iter()
            .zip(&before)
            .all(|(name, bytes)| { behind_headers(&disk.bytes(name)) == behind_headers(bytes) })
    );
    disk.crash_power();
    lost
}

/// The header of a segment, with whatever a crash of the disk left there.
fn wreck_header(disk: &SimulatedDisk, segment: &str) {
    disk.overwrite(segment, 0, &[0xee; 512]);
}

#[test]
fn a_damaged_header_is_told_from_what_is_around_it() {
    let snapshot = log().snapshot();
    for segment in segments() {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        wreck_header(&disk, &segment);
        assert!(matches!(start(&disk), Err(WalError::Corrupt(_))));
        disk.crash_process();
        assert!(repair(&disk).is_empty());
        let kept = start(&disk).unwrap();
        assert_eq!(kept, (COVERED + 1..=LAST).collect(), "{segment}");
    }
}

#[test]
fn all_headers_may_be_damaged_where_a_checkpoint_names_the_log() {
    let disk = log();
    segments().for_each(|segment| wreck_header(&disk, &segment));
    assert!(matches!(start(&disk), Err(WalError::Corrupt(_))));
    disk.crash_process();
    assert!(repair(&disk).is_empty());
    assert_eq!(start(&disk).unwrap(), (COVERED + 1..=LAST).collect());
}

#[test]
fn the_header_of_a_recoverys_segment_is_told_with_its_cut() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let steps = [
        Step::Append(20_000),
        Step::Sync,
        Step::Append(400),
        Step::Write,
        // What is not proven goes on in the next segment, and is void here.
        Step::Restart,
        Step::Append(500),
        Step::Sync,
        Step::Mark,
    ];
    assert!(play(&disk, &steps, &mut promises).is_none());
    disk.crash_process();
    let before = inspect(SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap();
    wreck_header(&disk, "00000002.seg");
    assert!(matches!(Log::scan(disk.clone(), config(), 7), Err(WalError::Corrupt(_))));
    disk.crash_process();
    assert!(repair(&disk).is_empty());
    let after = inspect(SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap();
    assert_eq!(after.segments, before.segments);
    crate::owner::Owner::start(&disk, &mut promises).unwrap();
}

#[test]
fn a_header_that_is_damaged_with_what_is_behind_it_costs_only_that() {
    let disk = log();
    // A page of 4 KiB, as a disk may lose it.
    disk.overwrite("00000002.seg", 0, &[0xee; 4096]);
    assert!(matches!(start(&disk), Err(WalError::Corrupt(_))));
    disk.crash_process();
    let lost = repair(&disk);
    let kept = start(&disk).unwrap();
    assert!(!lost.is_empty() && kept.contains(&LAST) && kept.is_disjoint(&lost));
    assert_eq!(kept.union(&lost).copied().collect::<BTreeSet<_>>(), (COVERED + 1..=LAST).collect());
}

fn segments() -> impl Iterator<Item = String> {
    (1..=3).map(|number| format!("{number:08}.seg"))
}

#[test]
fn a_repair_loses_what_is_damaged_and_nothing_else() {
    let snapshot = log().snapshot();
    let (mut refused, mut single) = (0, 0);
    for segment in segments() {
        let bytes = SimulatedDisk::from_snapshot(&snapshot).bytes(&segment);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for byte in (512..used).step_by(531) {
            let disk = SimulatedDisk::from_snapshot(&snapshot);
            disk.flip_bit(&segment, byte as u64 * 8);
            let Err(WalError::Corrupt(damage)) = start(&disk) else { continue };
            disk.crash_process();
            refused += 1;
            let lost = repair(&disk);
            assert_eq!(damage.sequence.0, *lost.first().unwrap(), "{damage}");
            assert_eq!(damage.last, Some(Sequence(*lost.last().unwrap())), "{damage}");
            assert!(lost.len() <= 3, "no frame holds more: {lost:?}");
            single += usize::from(lost.len() == 1);
            for _ in 0..2 {
                let kept = start(&disk).unwrap();
                let all: BTreeSet<u64> = kept.union(&lost).copied().collect();
                assert!(kept.is_disjoint(&lost));
                assert_eq!(all, (COVERED + 1..=LAST).collect(), "{damage}");
                disk.crash_power();
            }
            let found = inspect(SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap();
            assert_eq!(found.last, Sequence(LAST));
        }
    }
    assert!(refused > 200 && single > 0, "{refused} refused, {single} with one record");
}

#[test]
fn damage_in_several_places_is_repaired_at_once() {
    let disk = log();
    disk.overwrite("00000001.seg", 1024, &[0; 512]);
    disk.overwrite("00000002.seg", 600, b"damaged");
    disk.overwrite("00000003.seg", 60_000, &[255; 4096]);
    assert!(matches!(start(&disk), Err(WalError::Corrupt(_))));
    disk.crash_process();
    let lost = repair(&disk);
    let kept = start(&disk).unwrap();
    assert!(kept.len() >= 3 && kept.is_disjoint(&lost), "{kept:?}, {lost:?}");
    assert_eq!(kept.union(&lost).copied().collect::<BTreeSet<_>>(), (COVERED + 1..=LAST).collect());
}

#[test]
fn a_segment_that_is_gone_costs_its_own_records_only() {
    let disk = log();
    let names: Vec<_> = segments().collect();
    disk.lose(&names[1]);
    assert!(matches!(start(&disk), Err(WalError::Corrupt(_))));
    disk.crash_process();
    let lost = repair(&disk);
    let kept = start(&disk).unwrap();
    assert_eq!(kept.union(&lost).copied().collect::<BTreeSet<_>>(), (COVERED + 1..=LAST).collect());
    assert!(kept.contains(&LAST));
}

#[test]
fn a_repair_that_dies_anywhere_leaves_the_refusal_or_the_repaired_log() {
    let disk = log();
    disk.flip_bit("00000001.seg", 1500 * 8);
    let snapshot = disk.snapshot();
    let (mut refused, mut repaired) = (0, 0);
    for operation in 1.. {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.reseed(operation);
        disk.crash_at_operation(disk.operations() + operation);
        let outcome = Survey::take(disk.clone()).and_then(|survey| survey.unwrap().repair());
        let died = disk.is_dead();
        assert!(died || outcome.is_ok());
        for crash in [SimulatedDisk::crash_process, SimulatedDisk::crash_power] {
            let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
            crash(&disk);
            let first = start(&disk);
            disk.crash_process();
            match first {
                Err(WalError::Corrupt(_)) => {
                    refused += 1;
                    repair(&disk);
                    assert_eq!(start(&disk).unwrap().len() as u64, LAST - COVERED - 2);
                }
                Ok(kept) => {
                    repaired += 1;
                    assert_eq!(kept.len() as u64, LAST - COVERED - 2);
                }
                Err(error) => panic!("operation {operation}: {error}"),
            }
        }
        if !died {
            break;
        }
    }
    assert!(refused > 10 && repaired > 2, "{refused} refused, {repaired} repaired");
}

#[test]
fn there_is_nothing_to_repair_in_a_log_that_starts() {
    assert!(Survey::take(log()).unwrap().is_none());
    assert!(Survey::take(SimulatedDisk::with_faults(1)).unwrap().is_none());
    let torn = log();
    torn.overwrite("00000003.seg", 65_000, &[1; 20]);
    assert!(Survey::take(torn).unwrap().is_none());
}

#[test]
fn an_error_at_any_operation_of_a_repair_changes_nothing_of_the_log() {
    let disk = log();
    disk.flip_bit("00000002.seg", 900 * 8);
    let snapshot = disk.snapshot();
    for operation in 1.. {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.fail_operations(disk.operations() + operation, 0);
        let outcome = Survey::take(disk.clone()).and_then(|survey| survey.unwrap().repair());
        let failed = outcome.is_err();
        disk.crash_power();
        if let Err(WalError::Corrupt(_)) = start(&disk) {
            disk.crash_process();
            repair(&disk);
        }
        disk.crash_process();
        assert!(start(&disk).is_ok(), "operation {operation}");
        if !failed {
            break;
        }
    }
}

#[test]
fn a_log_damaged_anyhow_starts_is_refused_or_is_repaired_and_starts() {
    let snapshot = log().snapshot();
    let paths = SimulatedDisk::from_snapshot(&snapshot).paths();
    let mut random = 1u64;
    let mut draw = |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut started, mut repaired, mut hopeless) = (0, 0, 0);
    for case in 0..700 {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        for _ in 0..=draw(3) {
            let path = &paths[draw(paths.len() as u64) as usize];
            let len = disk.bytes(path).len() as u64;
            let most = [8, 600, 9_000][draw(3) as usize];
            let (at, count) = (draw(len), 1 + draw(most));
            let fill = draw(3) as u8;
            let bytes: Vec<u8> = (0..count.min(len - at))
                .map(|_| if fill == 0 { 0 } else { draw(256) as u8 })
                .collect();
            disk.overwrite(path, at, &bytes);
        }
        let _ = inspect(SimulatedDisk::from_snapshot(&disk.snapshot()));
        let refused = start(&disk);
        disk.crash_process();
        match refused {
            Ok(_) => started += 1,
            Err(WalError::Corrupt(_)) => match Survey::take(disk.clone()) {
                Ok(None) => panic!("case {case} is refused, and there is nothing to repair"),
                Ok(Some(survey)) => {
                    survey.repair().unwrap();
                    disk.crash_process();
                    let kept = start(&disk);
                    assert!(kept.is_ok(), "case {case}: {kept:?}");
                    repaired += 1;
                }
                Err(WalError::Corrupt(_)) => hopeless += 1,
                Err(error) => panic!("case {case}: {error}"),
            },
            // A version may be what was damaged.
            Err(WalError::Version { .. }) => hopeless += 1,
            Err(error) => panic!("case {case}: {error}"),
        }
    }
    assert!(started > 20 && repaired > 400, "{started}, {repaired}, {hopeless}");
    assert!(hopeless < 60, "{started}, {repaired}, {hopeless}");
}
