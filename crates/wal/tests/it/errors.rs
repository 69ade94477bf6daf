//! Every single operation of a log's life fails, and then the machine dies.

use sluice_wal::{SimulatedDisk, WalError};

use crate::owner::{Owner, Promises, Step, play};

/// A life with everything in it: commits of one frame and of several, segments begun on the spot
/// and prepared ones, marks, checkpoints, segments that are given up, starts of every kind.
pub(crate) const LIFE: &[Step] = &[
    Step::Append(300),
    Step::Append(700),
    Step::Sync,
    Step::Prepare,
    Step::Prepare,
    Step::Append(12_000),
    Step::Write,
    Step::Append(28_000),
    Step::Append(28_000),
    Step::Sync,
    Step::Mark,
    Step::Checkpoint,
    Step::Append(50),
    Step::Sync,
    Step::Restart,
    Step::Append(30_000),
    Step::End(5),
    Step::Append(30_000),
    Step::Sync,
    Step::Checkpoint,
    Step::Prepare,
    Step::Append(20_000),
    Step::Append(900),
    Step::Sync,
    Step::Checkpoint,
    Step::Retire,
    Step::Prepare,
    Step::Prepare,
    Step::Prepare,
    Step::Append(100),
    Step::Write,
    Step::Restart,
    Step::Append(2_000),
    Step::Sync,
    Step::Close,
    Step::Restart,
    Step::Checkpoint,
    Step::Append(10),
    Step::Write,
];

/// Crashes tried after each operation; larger runs are for outside CI.
const CRASH_SEEDS: &str = "SLUICE_CRASH_SEEDS";

fn seeds() -> u64 {
    std::env::var(CRASH_SEEDS).ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Starts twice, with a crash of the machine between that takes what it can.
#[track_caller]
fn must_start(disk: &SimulatedDisk, promises: &Promises, what: &str) {
    let mut promises = promises.clone();
    for round in 0..2 {
        match Owner::start(disk, &mut promises) {
            Ok(owner) => drop(owner),
            Err(error) => panic!("{what}, start {round}: {error}"),
        }
        disk.crash_power();
    }
}

fn operations_of(steps: &[Step]) -> u64 {
    let disk = SimulatedDisk::with_faults(1);
    assert!(play(&disk, steps, &mut Promises::default()).is_none());
    disk.operations()
}

#[test]
fn an_error_at_any_operation_and_a_crash_after_it_lose_nothing_that_was_acknowledged() {
    let operations = operations_of(LIFE);
    let mut refused = 0;
    for operation in 1..=operations {
        let disk = SimulatedDisk::with_faults(operation);
        let mut promises = Promises::default();
        disk.fail_operations(operation, 0);
        match play(&disk, LIFE, &mut promises) {
            Some(WalError::Io { .. }) => refused += 1,
            Some(error) => panic!("operation {operation}: {error}"),
            None => {}
        }
        let snapshot = disk.snapshot();
        for seed in 0..seeds() + 2 {
            let disk = SimulatedDisk::from_snapshot(&snapshot);
            disk.reseed(seed);
            if seed == 0 {
                disk.crash_process()
            } else {
                disk.crash_power()
            }
            must_start(&disk, &promises, &format!("operation {operation}, seed {seed}"));
        }
    }
    assert!(refused > operations / 4, "{refused} of {operations} errors ended the process");
}

#[test]
fn crashes_at_any_operation_and_in_the_recoveries_after_it_lose_nothing() {
    for operation in 1..=operations_of(LIFE) {
        let disk = SimulatedDisk::with_faults(operation);
        let mut promises = Promises::default();
        disk.crash_at_operation(operation);
        play(&disk, LIFE, &mut promises);
        let snapshot = disk.snapshot();
        for seed in 0..seeds() {
            let disk = SimulatedDisk::from_snapshot(&snapshot);
            disk.reseed(seed);
            disk.crash_power();
            // Recoveries that die, each a bit further on.
            for further in [3 + seed * 5, 9 + operation % 23, 17] {
                disk.crash_at_operation(disk.operations() + further);
                let _ = Owner::start(&disk, &mut promises.clone());
                if further % 3 == 0 { disk.crash_process() } else { disk.crash_power() }
            }
            must_start(&disk, &promises, &format!("operation {operation}, seed {seed}"));
        }
    }
}

#[test]
fn errors_in_a_row_and_errors_in_the_starts_after_them_lose_nothing() {
    let operations = operations_of(LIFE);
    for operation in 1..=operations {
        let disk = SimulatedDisk::with_faults(operation);
        let mut promises = Promises::default();
        disk.fail_operations(operation, 1 + operation % 9);
        play(&disk, LIFE, &mut promises);
        let snapshot = disk.snapshot();
        for seed in 0..seeds() {
            let disk = SimulatedDisk::from_snapshot(&snapshot);
            disk.reseed(seed);
            for further in [1 + (seed * 7 + operation) % 29, 1 + (seed * 13 + operation) % 37] {
                // The page cache outlives the process, and then the machine dies or it does not.
                if further % 2 == 0 {
                    disk.crash_process()
                } else {
                    disk.crash_power()
                }
                disk.fail_operations(disk.operations() + further, seed % 3);
                match Owner::start(&disk, &mut promises.clone()) {
                    Ok(_) | Err(WalError::Io { .. }) => {}
                    Err(error) => panic!("operation {operation}, seed {seed}: {error}"),
                }
            }
            disk.fail_operations(0, 0);
            disk.crash_power();
            must_start(&disk, &promises, &format!("operation {operation}, seed {seed}"));
        }
    }
}
