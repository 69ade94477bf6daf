//! Simulated schedules: one by its seed, or many and what befell them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::bail;
use clap::Parser;
use sluice_sim::{Counters, Outcome, Violation, Workload, run as run_schedule, run_only};

/// Schedules that CI runs.
const BOUNDED: u64 = 300;

#[derive(Debug, Parser)]
pub(crate) struct SimArgs {
    /// Run this schedule twice and compare
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many schedules
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run only this part of each
    #[arg(long, value_parser = workload)]
    only: Option<Workload>,
}

fn workload(name: &str) -> Result<Workload, String> {
    let names = Workload::ALL.map(Workload::name);
    let found = Workload::ALL.into_iter().find(|workload| workload.name() == name);
    found.ok_or_else(|| format!("it is one of {}", names.join(", ")))
}

fn run_one(seed: u64, only: Option<Workload>) -> Result<Outcome, Violation> {
    match only {
        Some(workload) => run_only(seed, workload),
        None => run_schedule(seed),
    }
}

pub(crate) fn run(args: &SimArgs) -> anyhow::Result<()> {
    match args.seed {
        Some(seed) => {
            let (first, second) = (run_one(seed, args.only)?, run_one(seed, args.only)?);
            if first != second {
                bail!("seed {seed} gave two traces: {:x} and {:x}", first.trace, second.trace);
            }
            println!("seed {seed}: trace {:016x}\n{:#?}", first.trace, first.counters);
            Ok(())
        }
        None => many(args.from, args.seeds, args.only),
    }
}

/// What CI runs.
pub(crate) fn bounded() -> anyhow::Result<()> {
    many(1, BOUNDED, None)
}

fn many(from: u64, seeds: u64, only: Option<Workload>) -> anyhow::Result<()> {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let total = Mutex::new(Counters::default());
    let failed: Mutex<Vec<Violation>> = Mutex::new(Vec::new());
    let work = || {
        let mut sum = Counters::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                break;
            }
            match run_one(seed, only) {
                Ok(outcome) => sum.add(&outcome.counters),
                Err(violation) => failed.lock().map(|mut list| list.push(violation)).unwrap_or(()),
            }
        }
        if let Ok(mut total) = total.lock() {
            total.add(&sum);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap_or_default();
    println!("{seeds} schedules in {:.1} s\n{total:#?}", started.elapsed().as_secs_f64());
    let failed = failed.into_inner().unwrap_or_default();
    for violation in failed.iter().take(10) {
        println!("{violation}");
    }
    if !failed.is_empty() {
        bail!("{} of {seeds} schedules broke a promise", failed.len());
    }
    // A part by itself meets only what it is about.
    if only.is_some() {
        return Ok(());
    }
    if seeds >= BOUNDED
        && let Some(name) = total.never_hit()
    {
        bail!("no schedule ever hit {name}");
    }
    if !total.compares_enough() {
        bail!("only {} of {} deliveries were compared", total.compared, total.delivered);
    }
    Ok(())
}
