//! Backups of a log that goes on, and the logs that are made of them.

use sluice_wal::{
    Backup, BackupError, BackupManifest, BackupStep, Log, NewLife, Sequence, Shelf, SimulatedDisk,
    Verified, WalError,
};

use crate::owner::{Owner, Promises, Step, config};

const NEW_ID: u64 = 0x5eed;

/// What happens before a backup: several segments, recoveries with their cuts, segments that are
/// gone, checkpoints of which one is old.
const BEFORE: &[Step] = &[
    Step::Append(300),
    Step::Sync,
    Step::Checkpoint,
    Step::Append(31_000),
    Step::Append(31_000),
    Step::Write,
    Step::Restart,
    Step::Append(31_500),
    Step::Sync,
    Step::Mark,
    Step::Append(20_000),
    Step::End(2),
    Step::Sync,
    Step::Checkpoint,
    Step::Append(700),
    Step::Sync,
    Step::Checkpoint,
    Step::Retire,
    Step::Prepare,
    Step::Append(31_500),
    Step::Append(31_500),
    Step::Sync,
    Step::Mark,
    Step::Append(900),
    Step::Write,
];

/// What happens beside it, again and again: the segments and images that it copies become useless
/// and would be removed.
const BESIDE: &[Step] = &[
    Step::Append(31_000),
    Step::End(9),
    Step::Sync,
    Step::Checkpoint,
    Step::Retire,
    Step::Prepare,
    Step::Prepare,
    Step::Mark,
];

/// An owner that has done all that comes before.
fn owner(disk: &SimulatedDisk, promises: &mut Promises) -> Result<Owner, WalError> {
    let mut owner = Owner::start(disk, promises)?;
    for step in BEFORE {
        owner = owner.run(*step, disk, promises)?;
    }
    Ok(owner)
}

/// Goes on until the backup is done.
fn complete(backup: &mut Backup<SimulatedDisk>) -> Result<BackupManifest, BackupError> {
    loop {
        if let BackupStep::Done(manifest) = backup.step()? {
            return Ok(manifest);
        }
    }
}

/// A disk with a log, a disk with a backup of it, and what has to be in it. Beside every step of
/// the backup the log goes on.
fn backed_up() -> (SimulatedDisk, SimulatedDisk, Promises, BackupManifest) {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let mut promises = Promises::default();
    let mut owner = owner(&disk, &mut promises).unwrap();
    let mut backup = owner.back_up(&shelf, &mut promises).unwrap();
    let then = promises.clone();
    assert_eq!(then.len(), owner.len(), "all that was appended is safe");
    let mut beside = BESIDE.iter().cycle();
    let manifest = loop {
        match backup.step().unwrap() {
            BackupStep::Done(manifest) => break manifest,
            BackupStep::Damaged(gap) => panic!("{gap}"),
            BackupStep::More => {
                owner = owner.run(*beside.next().unwrap(), &disk, &mut promises).unwrap();
            }
        }
    };
    assert!(owner.len() > then.len());
    (disk, shelf, then, manifest)
}

fn verify(shelf: &SimulatedDisk, name: &str) -> Result<Verified<SimulatedDisk>, BackupError> {
    Verified::read(shelf.folder(name), |_, _| ())
}

fn restore(verified: &Verified<SimulatedDisk>, parent: &SimulatedDisk) -> Result<(), BackupError> {
    let heads = Owner::new_life(verified.manifest().last());
    let life = NewLife { log_id: NEW_ID, heads, time_ms: 1 };
    verified.restore(parent, "data", &life, |_| ())
}

/// The restored log starts, twice, and holds what was promised and nothing that came later.
fn check_restored(parent: &SimulatedDisk, then: &Promises) {
    let data = parent.folder("data");
    let mut promises = then.clone();
    let opened = Log::scan(data.clone(), config(), 7).unwrap().open(1).unwrap();
    assert_eq!((opened.report.torn_bytes, opened.report.rewritten), (0, 0));
    drop(opened);
    data.crash_process();
    let mut owner = Owner::start(&data, &mut promises).unwrap();
    assert_eq!(owner.len(), then.len() + 2, "the record of the new life, and that of this start");
    for step in [Step::Append(31_000), Step::Sync, Step::Checkpoint, Step::Retire] {
        owner = owner.run(step, &data, &mut promises).unwrap();
    }
    drop(owner);
    data.crash_power();
    Owner::start(&data, &mut promises).unwrap();
}

#[test]
fn a_backup_beside_a_busy_log_holds_what_was_there_when_it_was_begun() {
    let (_, shelf, then, manifest) = backed_up();
    let verified = verify(&shelf, &manifest.name).unwrap();
    assert_eq!(verified.manifest().last(), Sequence(then.len()));
    assert_eq!(manifest.name, format!("20261121T101500Z-{}", then.len()));
    let parent = SimulatedDisk::with_faults(3);
    restore(&verified, &parent).unwrap();
    parent.crash_power();
    check_restored(&parent, &then);
}

#[test]
fn nothing_of_the_old_log_is_valid_in_the_restored_one() {
    let (_, shelf, _, manifest) = backed_up();
    let parent = SimulatedDisk::with_faults(3);
    restore(&verify(&shelf, &manifest.name).unwrap(), &parent).unwrap();
    let last = format!("{:08}.seg", manifest.position.segment);
    let old = shelf.bytes(&format!("{}/{last}", manifest.name));
    assert_eq!(old.len(), parent.bytes(&format!("data/{last}")).len());
    parent.overwrite(&format!("data/{last}"), 512, &old[512..]);
    match Log::scan(parent.folder("data"), config(), 7) {
        Err(WalError::Corrupt(damage)) => assert_eq!(damage.file, last),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restored_log_is_backed_up_and_restored_again() {
    let (_, shelf, then, manifest) = backed_up();
    let parent = SimulatedDisk::with_faults(3);
    restore(&verify(&shelf, &manifest.name).unwrap(), &parent).unwrap();
    let data = parent.folder("data");
    let mut promises = then;
    let mut owner = Owner::start(&data, &mut promises).unwrap();
    let second = complete(&mut owner.back_up(&shelf, &mut promises).unwrap()).unwrap();
    assert_eq!(Shelf::new(shelf.clone()).names().unwrap(), [&*manifest.name, &*second.name]);
    let parent = SimulatedDisk::with_faults(4);
    restore(&verify(&shelf, &second.name).unwrap(), &parent).unwrap();
    check_restored(&parent, &promises);
}

#[test]
fn what_is_copied_is_not_removed_before_it_is_copied() {
    let (disk, shelf) = (SimulatedDisk::new(), SimulatedDisk::new());
    let mut promises = Promises::default();
    let mut owner = owner(&disk, &mut promises).unwrap();
    let mut backup = owner.back_up(&shelf, &mut promises).unwrap();
    let then = promises.clone();
    let before = disk.paths();
    // On this disk a file that is removed can't even be read by those who have it open.
    let manifest = loop {
        for step in BESIDE {
            owner = owner.run(*step, &disk, &mut promises).unwrap();
        }
        if let BackupStep::Done(manifest) = backup.step().unwrap() {
            break manifest;
        }
    };
    drop(backup);
    let parent = SimulatedDisk::with_faults(3);
    restore(&verify(&shelf, &manifest.name).unwrap(), &parent).unwrap();
    check_restored(&parent, &then);
    for step in BESIDE.iter().cycle().take(BESIDE.len() * 12) {
        owner = owner.run(*step, &disk, &mut promises).unwrap();
    }
    let gone: Vec<_> = before.iter().filter(|path| !disk.paths().contains(path)).cloned().collect();
    assert!(
        gone.iter().any(|path| path.ends_with(".seg")),
        "nothing is kept for a backup that is over: {gone:?}"
    );
}

/// A backup on the disk of the log itself, while that goes on.
fn back_up_beside(
    mut owner: Owner,
    disk: &SimulatedDisk,
    promises: &mut Promises,
) -> Result<(), BackupError> {
    let mut backup = owner.back_up(disk, promises)?;
    for step in BESIDE.iter().cycle() {
        if let BackupStep::Done(_) = backup.step()? {
            break;
        }
        owner = owner.run(*step, disk, promises)?;
    }
    Ok(())
}

#[test]
fn a_crash_at_any_step_of_a_backup_leaves_the_log_and_a_whole_backup_or_none() {
    // Log and backups on one disk, as most have it.
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let made = owner(&disk, &mut promises).unwrap();
    drop(made);
    disk.crash_process();
    let snapshot = disk.snapshot();
    let (mut none, mut whole) = (0, 0);
    for operation in (1..).step_by(3) {
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.reseed(operation);
        let mut promises = promises.clone();
        let owner = Owner::start(&disk, &mut promises).unwrap();
        disk.crash_at_operation(disk.operations() + operation);
        let outcome = back_up_beside(owner, &disk, &mut promises);
        let died = disk.is_dead();
        assert!(died || outcome.is_ok(), "{outcome:?}");
        disk.crash_power();
        let shelf = Shelf::new(disk.clone());
        for name in shelf.names().unwrap() {
            verify(&disk, &name).unwrap();
            whole += 1;
        }
        none += u64::from(shelf.names().unwrap().is_empty());
        let mut owner = Owner::start(&disk, &mut promises).unwrap();
        let manifest = complete(&mut owner.back_up(&disk, &mut promises).unwrap()).unwrap();
        verify(&disk, &manifest.name).unwrap();
        assert!(!disk.paths().iter().any(|path| path.contains(".partial")), "{:?}", disk.paths());
        if !died {
            break;
        }
    }
    assert!(none > 10 && whole > 0, "{none} without, {whole} whole");
}

#[test]
fn an_error_at_any_operation_of_a_backup_is_told_and_does_not_touch_the_log() {
    let (disk, shelf) = (SimulatedDisk::with_faults(1), SimulatedDisk::with_faults(2));
    let mut promises = Promises::default();
    let mut owner = owner(&disk, &mut promises).unwrap();
    let mut failed = 0;
    for operation in 1.. {
        shelf.fail_operations(shelf.operations() + operation, 0);
        let begun = owner.back_up(&shelf, &mut promises);
        let outcome = begun.and_then(|mut backup| complete(&mut backup));
        shelf.fail_operations(u64::MAX - 1, 0);
        owner = owner.run(Step::Append(100), &disk, &mut promises).unwrap();
        owner = owner.run(Step::Sync, &disk, &mut promises).unwrap();
        match outcome {
            Ok(manifest) => {
                verify(&shelf, &manifest.name).unwrap();
                break;
            }
            Err(_) => failed += 1,
        }
    }
    assert!(failed > 20, "{failed}");
    drop(owner);
    disk.crash_power();
    Owner::start(&disk, &mut promises).unwrap();
}

#[test]
fn a_log_that_is_damaged_is_not_backed_up() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let mut owner = owner(&disk, &mut promises).unwrap();
    let mut refused = 0;
    for path in disk.paths().iter().filter(|path| path.ends_with(".seg")) {
        let Some(used) = disk.bytes(path).iter().rposition(|byte| *byte != 0) else { continue };
        if used < 512 {
            continue;
        }
        // Behind the header, in the middle, and in the last frame.
        for byte in [520, used / 2, used] {
            disk.flip_bit(path, byte as u64 * 8);
            let shelf = SimulatedDisk::new();
            let mut backup = owner.back_up(&shelf, &mut promises).unwrap();
            match complete(&mut backup) {
                Err(BackupError::Log(WalError::Corrupt(damage))) => {
                    assert_eq!(damage.file, *path);
                    refused += 1;
                }
                // Void, or behind the position.
                Ok(manifest) => drop(verify(&shelf, &manifest.name).unwrap()),
                Err(error) => panic!("{path} at {byte}: {error}"),
            }
            disk.flip_bit(path, byte as u64 * 8);
        }
    }
    assert!(refused >= 6, "{refused}");
}

#[test]
fn what_is_damaged_under_the_checkpoint_is_offered_to_be_skipped() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let mut owner = owner(&disk, &mut promises).unwrap();
    let (mut skipped, mut refused) = (0, 0);
    for path in disk.paths().iter().filter(|path| path.ends_with(".seg")) {
        let Some(used) = disk.bytes(path).iter().rposition(|byte| *byte != 0) else { continue };
        // In headers and payloads of first, middle and last frames.
        for byte in [513, 520, 700, used / 2, used].into_iter().filter(|byte| *byte <= used) {
            disk.flip_bit(path, byte as u64 * 8);
            let shelf = SimulatedDisk::new();
            let mut backup = owner.back_up(&shelf, &mut promises).unwrap();
            let outcome = loop {
                match backup.step() {
                    Ok(BackupStep::More) => {}
                    Ok(BackupStep::Damaged(gap)) => {
                        assert_eq!(format!("{:08}.seg", gap.segment), *path);
                        assert!((gap.offset..gap.end).contains(&(byte as u32)), "{byte}: {gap}");
                        backup.skip().unwrap();
                    }
                    Ok(BackupStep::Done(manifest)) => break Ok(manifest),
                    Err(error) => break Err(error),
                }
            };
            disk.flip_bit(path, byte as u64 * 8);
            let Ok(manifest) = outcome else {
                refused += 1;
                continue;
            };
            skipped += manifest.skipped.len();
            let verified = verify(&shelf, &manifest.name).unwrap();
            assert_eq!(verified.manifest(), &manifest);
            let parent = SimulatedDisk::with_faults(3);
            restore(&verified, &parent).unwrap();
            let inspection = sluice_wal::inspect(parent.folder("data")).unwrap();
            assert!(inspection.problem.is_none(), "{path}, {byte}: {:?}", inspection.problem);
            let lost: u64 = inspection.segments.iter().map(|segment| segment.lost).sum();
            assert_eq!(lost, manifest.skipped.iter().map(sluice_wal::Gap::records).sum::<u64>());
        }
    }
    assert!(skipped >= 5 && refused >= 2, "{skipped} skipped, {refused} refused");
}

#[test]
fn damage_anywhere_in_a_backup_is_found_and_its_file_named() {
    let (_, shelf, _, manifest) = backed_up();
    let whole = shelf.folder(&manifest.name);
    let snapshot = whole.snapshot();
    let mut refused = 0;
    for path in whole.paths() {
        let len = whole.bytes(&path).len();
        for byte in (0..len).step_by((len / 40).max(1)).chain([len - 1]) {
            let disk = SimulatedDisk::from_snapshot(&snapshot);
            disk.flip_bit(&path, byte as u64 * 8 + byte as u64 % 8);
            match Verified::read(disk, |_, _| ()) {
                Err(BackupError::Damaged { file, .. }) => assert_eq!(file, path, "byte {byte}"),
                Err(BackupError::Version { .. }) => assert_eq!(path, "manifest"),
                other => panic!("{path}, byte {byte}: {other:?}"),
            }
            refused += 1;
        }
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.truncate(&path, len as u64 / 2);
        assert!(Verified::read(disk, |_, _| ()).is_err(), "{path} cut short");
        let disk = SimulatedDisk::from_snapshot(&snapshot);
        disk.lose(&path);
        match Verified::read(disk, |_, _| ()) {
            Err(BackupError::Damaged { file, .. }) => assert_eq!(file, path),
            Err(BackupError::None) => assert_eq!(path, "manifest"),
            other => panic!("{path} is gone: {other:?}"),
        }
    }
    assert!(refused > 150, "{refused}");
}

#[test]
fn a_segment_that_does_not_belong_there_is_named() {
    let (_, shelf, _, manifest) = backed_up();
    let disk = shelf.folder(&manifest.name);
    let stranger = sluice_wal::Disk::create(&disk, "00000099.seg").unwrap();
    sluice_wal::DiskFile::write_at(&*stranger, 0, b"stranger").unwrap();
    match Verified::read(disk, |_, _| ()) {
        Err(BackupError::Damaged { file, .. }) => assert_eq!(file, "00000099.seg"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restore_that_dies_anywhere_leaves_the_whole_directory_or_none() {
    let (_, shelf, then, manifest) = backed_up();
    let verified = verify(&shelf, &manifest.name).unwrap();
    let (mut none, mut whole) = (0, 0);
    for operation in 1.. {
        let parent = SimulatedDisk::with_faults(operation);
        parent.crash_at_operation(operation);
        let outcome = restore(&verified, &parent);
        let died = parent.is_dead();
        assert!(died || outcome.is_ok());
        parent.crash_power();
        let names: Vec<_> =
            parent.paths().into_iter().filter(|path| path.starts_with("data/")).collect();
        if names.is_empty() {
            none += 1;
            restore(&verified, &parent).unwrap();
        } else {
            whole += 1;
        }
        check_restored(&parent, &then);
        if !died {
            break;
        }
    }
    assert!(none > 15 && whole > 0, "{none} without, {whole} whole");
}

#[test]
fn only_the_newest_are_kept_and_nothing_else_is_touched() {
    let disk = SimulatedDisk::with_faults(1);
    let mut promises = Promises::default();
    let mut owner = owner(&disk, &mut promises).unwrap();
    let store = SimulatedDisk::new();
    sluice_wal::Disk::create(&store, "mine/20261121T000000Z").unwrap();
    let mut made = Vec::new();
    for _ in 0..4 {
        let mut backup = owner.back_up(&store, &mut promises).unwrap();
        made.push(complete(&mut backup).unwrap().name);
        owner = owner.run(Step::Append(1), &disk, &mut promises).unwrap();
    }
    let shelf = Shelf::new(store.clone());
    assert_eq!(shelf.names().unwrap(), made);
    assert!(shelf.keep_newest(0).unwrap().is_empty());
    assert_eq!(shelf.keep_newest(3).unwrap(), made[..1]);
    assert_eq!(shelf.keep_newest(1).unwrap(), made[1..3]);
    assert_eq!(shelf.names().unwrap(), made[3..]);
    assert!(store.paths().contains(&"mine/20261121T000000Z".to_owned()));
    verify(&store, &made[3]).unwrap();
}
