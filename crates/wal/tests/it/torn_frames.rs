//! Where a log can end, and what a crash or a fault can make of its last frame there.

use sluice_wal::{Log, SimulatedDisk, WalError};

use crate::owner::{Promises, Step, config, play};

const SECTOR: u64 = 512;

/// A log after `steps`, nothing of it lost.
fn log_of(steps: &[Step]) -> (SimulatedDisk, Promises) {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    assert!(play(&disk, steps, &mut promises).is_none());
    disk.crash_process();
    (disk, promises)
}

/// What a start makes of it: the last record and the bytes set aside, or a refusal.
fn start(disk: &SimulatedDisk) -> Result<(u64, u64), WalError> {
    let scanned = Log::scan(disk.clone(), config(), 7)?;
    let last = scanned.last().0;
    let opened = scanned.open(1)?;
    assert_eq!(opened.report.torn_bytes > 0, !opened.report.quarantined.is_empty());
    Ok((last, opened.report.torn_bytes))
}

/// Where the last frame begins and where it ends.
fn used(disk: &SimulatedDisk, segment: &str) -> u64 {
    disk.bytes(segment).iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

/// Three records in one segment; a fourth one fits only in the next.
const TWO_SEGMENTS: &[Step] = &[
    Step::Append(31_500),
    Step::Sync,
    Step::Append(31_500),
    Step::Sync,
    Step::Append(3_000),
    Step::Sync,
];

#[test]
fn no_flipped_bit_in_the_first_frame_of_a_segment_is_silent() {
    let (disk, _) = log_of(TWO_SEGMENTS);
    let last = "00000002.seg";
    let snapshot = disk.snapshot();
    let (mut refused, mut told) = (0, 0);
    for byte in 512..used(&disk, last) {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.flip_bit(last, byte * 8 + byte % 8);
        match start(&disk) {
            Err(WalError::Corrupt(damage)) => {
                assert_eq!((damage.file.as_str(), damage.offset), (last, 512));
                refused += 1;
            }
            Err(error) => panic!("byte {byte}: {error}"),
            Ok((_, torn)) => {
                assert!(torn > 0, "a flip in byte {byte} was silent");
                told += 1;
            }
        }
    }
    assert!(refused > 40 * told, "{refused} refused, {told} set aside");
}

#[test]
fn a_torn_first_frame_of_a_segment_is_set_aside_and_counted() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let (safe, unsafe_) = TWO_SEGMENTS.split_at(4);
    let unsafe_: Vec<Step> = unsafe_
        .iter()
        .map(|step| if matches!(step, Step::Sync) { Step::Write } else { *step })
        .collect();
    let steps = [safe, &unsafe_].concat();
    assert!(play(&disk, &steps, &mut promises).is_none());
    let dirty = disk.dirty_sectors("00000002.seg");
    assert_eq!(dirty.len(), 7);
    let snapshot = disk.snapshot();
    for subset in 0..1u32 << dirty.len() {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        let keeps = |sector| dirty.iter().position(|dirty| *dirty == sector);
        disk.crash_power_with(|_, sector| keeps(sector).is_some_and(|at| subset >> at & 1 == 1));
        let all = subset + 1 == 1 << dirty.len();
        let (last, torn) = start(&disk).unwrap();
        assert_eq!(last, if all { 4 } else { 3 }, "subset {subset:b}");
        assert_eq!(torn > 0, !all && subset != 0, "subset {subset:b}");
    }
}

#[test]
fn damage_at_a_segments_end_is_corruption_once_the_next_one_was_begun() {
    let (disk, _) = log_of(TWO_SEGMENTS);
    // Of the next segment's only frame one sector is left, which is no valid frame.
    disk.overwrite("00000002.seg", 512, &[0; 1024]);
    assert_eq!(start(&SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap().0, 3);
    // The last frame before it has lost a sector; it was synced before the next was written.
    let lost = used(&disk, "00000001.seg") / SECTOR * SECTOR - 4 * SECTOR;
    disk.overwrite("00000001.seg", lost, &[0; SECTOR as usize]);
    let outcome = start(&disk);
    assert!(matches!(outcome, Err(WalError::Corrupt(_))), "{outcome:?}");
}

/// Frames whose ends fall on every place of a sector around its boundaries.
#[test]
fn no_crash_that_tears_a_last_frame_of_any_length_refuses_the_start() {
    for len in (400..540).chain(960..1040) {
        let disk = SimulatedDisk::with_faults(1);
        let steps = [Step::Append(77), Step::Sync, Step::Append(len), Step::Write];
        assert!(play(&disk, &steps, &mut Promises::default()).is_none());
        let dirty = disk.dirty_sectors("00000001.seg");
        let snapshot = disk.snapshot();
        for subset in 0..1u32 << dirty.len() {
            let disk = SimulatedDisk::from_snapshot(&snapshot);
            let keeps = |sector| dirty.iter().position(|dirty| *dirty == sector);
            disk.crash_power_with(|_, sector| {
                keeps(sector).is_some_and(|at| subset >> at & 1 == 1)
            });
            let (last, _) =
                start(&disk).unwrap_or_else(|error| panic!("{len}, {subset:b}: {error}"));
            assert_eq!(
                last,
                if subset + 1 == 1 << dirty.len() { 3 } else { 2 },
                "{len}, {subset:b}"
            );
        }
    }
}

#[test]
fn a_last_write_cut_at_any_byte_is_a_torn_tail() {
    let (disk, _) = log_of(&[Step::Append(77), Step::Sync, Step::Append(1500), Step::Write]);
    let end = used(&disk, "00000001.seg");
    let bytes = disk.bytes("00000001.seg");
    for cut in end - 1583..end {
        let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
        disk.overwrite("00000001.seg", cut, &vec![0; bytes.len() - cut as usize]);
        let (last, _) = start(&disk).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(last, 2, "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_in_a_frame_with_later_evidence_is_never_a_torn_tail() {
    // A frame, a mark, the end of the log.
    for evidence in [Step::Append(5), Step::Mark, Step::Close] {
        let steps = [Step::Append(900), Step::Sync, evidence, Step::Sync];
        let (disk, _) = log_of(&steps);
        for sector in [1, 2] {
            let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
            // A whole sector that looks as if it had never been written.
            disk.overwrite("00000001.seg", sector * SECTOR, &[0; SECTOR as usize]);
            let kept = start(&disk);
            assert!(matches!(kept, Err(WalError::Corrupt(_))), "{evidence:?}: {kept:?}");
        }
    }
}

#[test]
fn what_a_recovery_wrote_anew_is_safe_without_later_evidence() {
    let disk = SimulatedDisk::with_faults(1);
    let steps = [Step::Append(77), Step::Sync, Step::Append(1500), Step::Write];
    assert!(play(&disk, &steps, &mut Promises::default()).is_none());
    disk.crash_process();
    // A start that gets no further than to its new segment.
    drop(Log::scan(disk.clone(), config(), 7).unwrap().open(1).unwrap());
    disk.crash_power();
    assert_eq!(start(&SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap(), (3, 0));
    disk.overwrite("00000002.seg", 2 * SECTOR, &[0; SECTOR as usize]);
    let outcome = start(&disk);
    assert!(matches!(outcome, Err(WalError::Corrupt(_))), "{outcome:?}");
}
