//! Starts in a row: each begins a segment, and none may leave it behind.

use sluice_wal::SimulatedDisk;

use crate::owner::{Owner, Promises, Step};

const STARTS: usize = 50;

fn segment_files(disk: &SimulatedDisk) -> usize {
    disk.paths().iter().filter(|path| path.ends_with(".seg")).count()
}

/// Starts that die right after opening; `before` is what the first process has done.
fn start_again_and_again(power: bool, before: &[Step]) -> usize {
    let disk = SimulatedDisk::with_faults(STARTS as u64);
    let mut promises = Promises::default();
    let mut owner = Owner::start(&disk, &mut promises).unwrap();
    for step in before {
        owner = owner.run(*step, &disk, &mut promises).unwrap();
    }
    let at_first = segment_files(&disk);
    drop(owner);
    let mut most = 0;
    for _ in 0..STARTS {
        if power {
            disk.crash_power()
        } else {
            disk.crash_process()
        }
        let owner = Owner::start(&disk, &mut promises).unwrap();
        // The next segment may be prepared before the process dies.
        drop(owner.run(Step::Prepare, &disk, &mut promises).unwrap());
        most = most.max(segment_files(&disk));
    }
    most.saturating_sub(at_first)
}

#[test]
fn starts_that_die_right_after_opening_leave_a_handful_of_segments() {
    let load = [Step::Append(30_000), Step::Append(30_000), Step::Append(30_000), Step::Sync];
    let with_checkpoint = [&load[..], &[Step::Checkpoint]].concat();
    for before in [&[][..], &load, &with_checkpoint] {
        for power in [false, true] {
            let more = start_again_and_again(power, before);
            assert!(more <= 3, "{more} segments more after {before:?}");
        }
    }
}

#[test]
fn a_start_that_dies_while_it_gathers_segments_loses_nothing() {
    let disk = SimulatedDisk::with_faults(5);
    let mut promises = Promises::default();
    for _ in 0..3 {
        drop(Owner::start(&disk, &mut promises).unwrap());
        disk.crash_process();
    }
    let (before, first) = (disk.snapshot(), disk.operations());
    drop(Owner::start(&disk, &mut promises.clone()).unwrap());
    for operation in first + 1..=disk.operations() {
        for power in [false, true] {
            let disk = SimulatedDisk::from_snapshot(&before);
            disk.crash_at_operation(operation);
            let _ = Owner::start(&disk, &mut promises.clone());
            if power {
                disk.crash_power()
            } else {
                disk.crash_process()
            }
            drop(Owner::start(&disk, &mut promises.clone()).unwrap());
        }
    }
}
