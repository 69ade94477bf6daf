//! Names made, changed and removed: a crash after any operation keeps any of them that were not
//! synced, in any combination, and what then is there is a log.

use sluice_wal::{Log, SimulatedDisk, WalError, inspect};

use crate::errors::LIFE;
use crate::owner::{Owner, Promises, Step, config, play};

/// Up to so many unsynced changes all combinations are tried.
const ALL_UP_TO: usize = 4;

fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

#[test]
fn whatever_names_survive_a_crash_all_that_was_acknowledged_is_there() {
    let disk = SimulatedDisk::with_faults(1);
    assert!(play(&disk, LIFE, &mut Promises::default()).is_none());
    let mut most = 0;
    for operation in 1..=disk.operations() {
        let disk = SimulatedDisk::with_faults(1);
        let mut promises = Promises::default();
        disk.crash_at_operation(operation);
        play(&disk, LIFE, &mut promises);
        let names = disk.unsynced_names();
        most = most.max(names);
        let subsets = if names <= ALL_UP_TO { 1 << names } else { 1 << ALL_UP_TO };
        for number in 0..subsets {
            let subset = if names <= ALL_UP_TO { number } else { mix(number + operation) };
            for sectors in 0..3 {
                let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
                let keeps = |_: &str, sector| match sectors {
                    0 => false,
                    1 => true,
                    _ => mix(sector ^ operation << 8 ^ number) >> 7 & 1 == 1,
                };
                disk.crash_power_keeping(keeps, |at| subset >> at & 1 == 1);
                let what = format!("operation {operation}, names {subset:b}, sectors {sectors}");
                let mut promises = promises.clone();
                if sectors == 0 {
                    // Whatever a crash leaves, one generation more can be lost.
                    promises.damaged = damage_newest_image(&disk);
                }
                for _ in 0..2 {
                    let owner = Owner::start(&disk, &mut promises);
                    drop(owner.unwrap_or_else(|error| panic!("{what}: {error}")));
                    disk.crash_process();
                }
            }
        }
    }
    assert!(most >= 2, "{most}");
}

/// Damages what the newest manifest names; false where there is none.
fn damage_newest_image(disk: &SimulatedDisk) -> bool {
    let paths = disk.paths();
    let newest = paths.iter().rev().find_map(|path| path.strip_suffix(".manifest"));
    if let Some(newest) = newest {
        disk.flip_bit(&format!("{newest}.image"), 8 * 16);
    }
    newest.is_some()
}

/// Bodies of the first segment stay needed; a recovery cuts its tail, and the segment that says
/// so empties.
const CUT: &[Step] = &[
    Step::Append(20_000),
    Step::Sync,
    Step::Append(600),
    Step::Write,
    Step::Restart,
    Step::Append(31_500),
    Step::Append(31_500),
    Step::Sync,
    Step::Append(2_700),
    Step::Sync,
];

#[test]
fn a_segment_that_makes_bytes_void_outlives_them() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    assert!(play(&disk, &CUT[..4], &mut promises).is_none());
    // The frame that nothing proves is written anew, and void where it stood.
    disk.crash_process();
    let mut owner = Owner::start(&disk, &mut promises).unwrap();
    let later = [
        &CUT[5..],
        &[Step::Checkpoint, Step::Append(9), Step::Sync, Step::Checkpoint],
        &[Step::Prepare; 4],
    ];
    for step in later.concat() {
        owner = owner.run(step, &disk, &mut promises).unwrap();
    }
    owner.retire_segment(2);
    for _ in 0..4 {
        owner = owner.run(Step::Prepare, &disk, &mut promises).unwrap();
    }
    assert!(disk.paths().contains(&"00000002.seg".to_owned()), "its cut is needed");
    let void_from = |disk: &SimulatedDisk| {
        let found = inspect(SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap();
        assert!(found.problem.is_none(), "{:?}", found.problem);
        found.segments[0].void_from
    };
    assert!(void_from(&disk).is_some());
    owner.retire_segment(1);
    for _ in 0..4 {
        owner = owner.run(Step::Prepare, &disk, &mut promises).unwrap();
    }
    drop(owner);
    for gone in ["00000001.seg", "00000002.seg"] {
        assert!(!disk.paths().contains(&gone.to_owned()), "{gone} is needed no more");
    }
}

#[test]
fn a_log_whose_beginning_is_gone_is_refused_without_its_checkpoints() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let steps = [
        Step::Append(31_500),
        Step::Append(31_500),
        Step::Append(2_900),
        Step::End(9),
        Step::Sync,
        Step::Checkpoint,
        Step::Append(5),
        Step::Sync,
        Step::Checkpoint,
        Step::Retire,
        Step::Prepare,
        Step::Prepare,
        Step::Restart,
    ];
    assert!(play(&disk, &steps, &mut promises).is_none());
    assert!(!disk.paths().contains(&"00000001.seg".to_owned()));
    disk.crash_process();
    let flip = |disk: &SimulatedDisk, kind: &str| {
        for path in disk.paths().iter().filter(|path| path.ends_with(kind)) {
            disk.flip_bit(path, 200);
        }
    };
    for kind in [".manifest", ".image"] {
        let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
        flip(&disk, kind);
        let outcome = Log::scan(disk.clone(), config(), 7);
        assert!(matches!(outcome, Err(WalError::Corrupt(_))), "{kind}: {outcome:?}");
    }
    // Either generation alone is enough.
    for kind in ["1.manifest", "2.manifest", "2.image"] {
        let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
        flip(&disk, kind);
        promises.damaged = true;
        Owner::start(&disk, &mut promises.clone()).unwrap();
    }
}

#[test]
fn a_generation_that_was_given_up_is_not_one_of_the_two() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let one = [Step::Append(900), Step::Sync, Step::Checkpoint];
    assert!(play(&disk, &[one, one].concat(), &mut promises).is_none());
    disk.crash_process();
    disk.flip_bit("checkpoints/00000002.image", 200);
    promises.damaged = true;
    let mut owner = Owner::start(&disk, &mut promises).unwrap();
    for step in one {
        owner = owner.run(step, &disk, &mut promises).unwrap();
    }
    drop(owner);
    disk.crash_process();
    // With the newest damaged too, the first one is still there to start from.
    disk.flip_bit("checkpoints/00000003.image", 200);
    let scanned = Log::scan(disk.clone(), config(), 7).unwrap();
    let opened = scanned.open(1).unwrap();
    assert_eq!(opened.report.damaged_checkpoints, 1);
    assert!(opened.checkpoints.position().is_some());
    drop(opened);
    disk.crash_process();
    Owner::start(&disk, &mut promises).unwrap();
}

#[test]
fn a_manifest_is_evidence_although_its_image_is_damaged() {
    let disk = SimulatedDisk::with_faults(1);
    let one = [Step::Append(900), Step::Sync, Step::Checkpoint];
    assert!(play(&disk, &[one, one].concat(), &mut Promises::default()).is_none());
    disk.crash_process();
    let bytes = disk.bytes("00000001.seg");
    let magics = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"SFrm");
    let frames: Vec<usize> = magics.map(|(at, _)| at).collect();
    // The last frame with a record, and the mark behind it, as if they had never been written.
    let [.., last, _] = frames[..] else { panic!("{frames:?}") };
    disk.overwrite("00000001.seg", last as u64, &vec![0; bytes.len() - last]);
    disk.flip_bit("checkpoints/00000002.image", 200);
    assert!(matches!(Log::scan(disk, config(), 7), Err(WalError::Corrupt(_))));
}
