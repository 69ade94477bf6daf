//! The disk is full.

use sluice_wal::SimulatedDisk;

use crate::errors::LIFE;
use crate::owner::{Owner, Promises, Step, play};

const CAPACITY: u64 = 4 << 20;
const SEGMENT: u64 = 64 << 10;

fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::with_faults(seed);
    disk.set_capacity(Some(CAPACITY));
    disk
}

fn run(mut owner: Owner, disk: &SimulatedDisk, promises: &mut Promises, steps: &[Step]) -> Owner {
    for step in steps {
        owner = owner.run(*step, disk, promises).unwrap();
    }
    owner
}

#[test]
fn a_log_goes_on_from_the_reserve_then_waits_for_space_and_never_fails() {
    let (disk, mut promises) = (disk(1), Promises::default());
    let owner = Owner::start(&disk, &mut promises).unwrap();
    // Two for settlements, one for moves, one for what is in flight; and what is left of its own.
    let segments = (owner.log().runway() - 1) / SEGMENT;
    assert_eq!(segments, 4);
    let mut owner = run(owner, &disk, &mut promises, &[Step::Fill]);
    let mut appended = 0;
    while !owner.log().is_stalled() {
        let runway = owner.log().runway();
        owner = run(owner, &disk, &mut promises, &[Step::Append(30_000), Step::Sync]);
        assert!(runway < 40_000 || !owner.log().is_stalled(), "{runway} bytes were assured");
        appended += 1;
    }
    assert!((8..=11).contains(&appended), "{appended} records of half a segment in 5 segments");
    let synced = owner.log().synced();
    assert!(synced < owner.log().last());
    let owner = run(owner, &disk, &mut promises, &[Step::Append(9), Step::Sync]);
    assert_eq!(owner.log().synced(), synced);
    assert!(owner.log().waiting_bytes() > 30_000);
    let owner = run(owner, &disk, &mut promises, &[Step::Free, Step::Sync]);
    assert_eq!(owner.log().synced(), owner.log().last());
    assert_eq!(owner.log().waiting_bytes(), 0);
    run(owner, &disk, &mut promises, &[Step::Restart, Step::Prepare]);
}

#[test]
fn what_waits_for_space_was_not_acknowledged_and_may_be_lost() {
    for power in [false, true] {
        let (disk, mut promises) = (disk(2), Promises::default());
        let owner = Owner::start(&disk, &mut promises).unwrap();
        let mut owner = run(owner, &disk, &mut promises, &[Step::Fill]);
        while !owner.log().is_stalled() {
            owner = run(owner, &disk, &mut promises, &[Step::Append(30_000), Step::Sync]);
        }
        drop(owner);
        if power {
            disk.crash_power()
        } else {
            disk.crash_process()
        }
        // The start has the recovery's part, and the one after it what the first has given back.
        for _ in 0..3 {
            drop(Owner::start(&disk, &mut promises).unwrap());
            disk.crash_process();
        }
    }
}

#[test]
fn checkpoints_are_written_to_the_reserve_one_after_the_other() {
    let (disk, mut promises) = (disk(3), Promises::default());
    let owner = Owner::start(&disk, &mut promises).unwrap();
    let load = [Step::Append(30_000), Step::Append(30_000), Step::Append(30_000), Step::Sync];
    let owner = run(owner, &disk, &mut promises, &load);
    let mut owner = run(owner, &disk, &mut promises, &[Step::Fill]);
    let manifests = |disk: &SimulatedDisk| {
        let newest = disk.paths().into_iter().rfind(|path| path.ends_with(".manifest"));
        newest.and_then(|path| path.split(['/', '.']).nth(1)?.parse::<u32>().ok())
    };
    for round in 1..=4 {
        let steps = [Step::Append(5), Step::Sync, Step::Mark, Step::Checkpoint, Step::Prepare];
        owner = run(owner, &disk, &mut promises, &steps);
        assert_eq!(manifests(&disk), Some(round), "{:?}", disk.paths());
    }
    drop(owner);
    disk.crash_power();
    drop(Owner::start(&disk, &mut promises).unwrap());
}

#[test]
fn a_disk_that_fills_up_at_any_step_of_a_life_ends_no_process_and_loses_nothing() {
    for at in 0..=LIFE.len() {
        for frees in [3, LIFE.len()] {
            let mut steps = LIFE.to_vec();
            steps.insert(at, Step::Fill);
            steps.insert((at + 1 + frees).min(steps.len()), Step::Free);
            let (disk, mut promises) = (disk(at as u64), Promises::default());
            let ended = play(&disk, &steps, &mut promises);
            assert!(ended.is_none(), "filled at step {at}: {ended:?}");
            let snapshot = disk.snapshot();
            for seed in 0..4 {
                let disk = SimulatedDisk::from_snapshot(&snapshot);
                disk.reseed(seed);
                disk.fill(0);
                for start in 0..3 {
                    if seed == 0 {
                        disk.crash_process()
                    } else {
                        disk.crash_power()
                    }
                    let mut promises = promises.clone();
                    let started = Owner::start(&disk, &mut promises);
                    let started = started.map(drop);
                    assert!(started.is_ok(), "step {at}, seed {seed}, {start}: {started:?}");
                }
            }
        }
    }
}

#[test]
fn starts_on_a_full_disk_that_die_anywhere_lose_nothing() {
    let (disk, mut promises) = (disk(5), Promises::default());
    let steps = [Step::Append(20_000), Step::Sync, Step::Append(30_000), Step::Write, Step::Fill];
    assert!(play(&disk, &steps, &mut promises).is_none());
    disk.crash_process();
    let (before, first) = (disk.snapshot(), disk.operations());
    drop(Owner::start(&disk, &mut promises.clone()).unwrap());
    for operation in first + 1..=disk.operations() {
        for seed in 0..6 {
            let disk = SimulatedDisk::from_snapshot(&before);
            disk.reseed(seed);
            disk.crash_at_operation(operation);
            let _ = Owner::start(&disk, &mut promises.clone());
            if seed == 0 {
                disk.crash_process()
            } else {
                disk.crash_power()
            }
            let started = Owner::start(&disk, &mut promises.clone()).map(drop);
            assert!(started.is_ok(), "operation {operation}, seed {seed}: {started:?}");
        }
    }
}
