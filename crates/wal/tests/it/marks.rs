//! Marks that live in the page cache only, and what is said to begin or to end behind them.

use sluice_wal::{SimulatedDisk, inspect};

use crate::owner::{Owner, Promises, Step, play};

const SEGMENT: &str = "00000001.seg";

/// Whether the offline tools agree that nothing is wrong.
#[track_caller]
fn verify(disk: &SimulatedDisk, what: &str) {
    let found = inspect(SimulatedDisk::from_snapshot(&disk.snapshot())).unwrap();
    assert!(found.problem.is_none(), "{what}: {:?}", found.problem);
}

/// Runs `steps`, whose last operation is the sync of a mark, and lets the machine die in it, with
/// each combination of the mark's sectors. Every start and every verification must be content.
fn tear_the_last_mark(steps: &[Step], what: &str) {
    let disk = SimulatedDisk::with_faults(1);
    assert!(play(&disk, steps, &mut Promises::default()).is_none());
    let last = disk.operations();
    for fails in [true, false] {
        let disk = SimulatedDisk::with_faults(1);
        let mut promises = Promises::default();
        if fails {
            disk.fail_operations(last, 0)
        } else {
            disk.crash_at_operation(last)
        }
        assert!(play(&disk, steps, &mut promises).is_some());
        for first_crash in [SimulatedDisk::crash_process, SimulatedDisk::crash_power] {
            let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
            first_crash(&disk);
            recover_again_and_again(&disk, &promises, what);
        }
        let dirty = disk.dirty_sectors(SEGMENT);
        for subset in 0..1u32 << dirty.len() {
            let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
            let keeps = |sector| dirty.iter().position(|dirty| *dirty == sector);
            let keeps = |_: &str, sector| keeps(sector).is_some_and(|at| subset >> at & 1 == 1);
            disk.crash_power_with(keeps);
            recover_again_and_again(&disk, &promises, what);
        }
    }
}

/// A recovery that dies at each of its operations, and a power crash behind each.
fn recover_again_and_again(disk: &SimulatedDisk, promises: &Promises, what: &str) {
    for operation in 1.. {
        let disk = SimulatedDisk::from_snapshot(&disk.snapshot());
        disk.reseed(operation);
        disk.crash_at_operation(disk.operations() + operation);
        let owner = Owner::start(&disk, &mut promises.clone());
        let died = disk.is_dead();
        drop(owner);
        disk.crash_power();
        verify(&disk, what);
        let mut promises = promises.clone();
        for _ in 0..2 {
            let owner = Owner::start(&disk, &mut promises);
            drop(owner.unwrap_or_else(|error| panic!("{what}, operation {operation}: {error}")));
            disk.crash_power();
            verify(&disk, what);
        }
        if !died {
            break;
        }
    }
}

/// Lengths that put a mark of 52 bytes at every interesting place around a sector's boundary.
fn lengths() -> impl Iterator<Item = usize> {
    (780..860).step_by(6)
}

#[test]
fn a_mark_whose_sync_failed_or_never_ended_changes_nothing() {
    for len in lengths() {
        for mark in [Step::Mark, Step::Close] {
            let steps = [Step::Append(len), Step::Sync, mark];
            tear_the_last_mark(&steps, &format!("{mark:?} behind {len} bytes"));
        }
    }
}

#[test]
fn a_checkpoint_may_begin_behind_a_mark_that_never_got_to_the_disk() {
    for len in lengths() {
        let steps = [Step::Append(len), Step::Sync, Step::Checkpoint];
        tear_the_last_mark(&steps, &format!("a checkpoint behind {len} bytes and a mark"));
    }
}
