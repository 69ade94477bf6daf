//! `sluice bench`: the loads of the comparison, against one broker. What it makes there has names of
//! its own and is removed, also after Ctrl-C.

mod ground;
mod measured;
mod secured;

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sluice_bench::load::Message;
use sluice_bench::targets::{Attached, Place, TargetError};
use sluice_bench::workloads::{self, Job, Queue, Work};

use crate::args::{BenchArgs, Workload};
use crate::commands::client::{self, Interrupts};
use crate::commands::print;
use crate::failure::Failure;
use ground::Ground;
use measured::Measured;

const ALL: [Workload; 4] = [Workload::Pass, Workload::Confirm, Workload::Queue, Workload::Cycle];
const IN_FLIGHT: usize = 256;

pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let workloads = if args.workload.is_empty() { &ALL[..] } else { &args.workload };
    if args.rate.is_some() && workloads != [Workload::Confirm] {
        return Err(Failure::usage("--rate is for confirm alone: sluice bench confirm --rate N"));
    }
    if args.tls.tls_ca.is_some() && args.server.is_none() {
        return Err(Failure::usage("--tls-ca is for a broker that runs: --server HOST:PORT"));
    }
    // Its own broker ends with the thread that starts it, which is to be this one.
    let ground = Ground::find(args)?;
    let wanted: Vec<(Workload, Job)> =
        workloads.iter().map(|workload| (*workload, job(args, *workload))).collect();
    let measured = client::block_on(measure(args, &ground, wanted))?;
    print(&measured::text(args, &ground, &measured))?;
    match measured.iter().find_map(Measured::failure) {
        None => Ok(()),
        Some(failure) => Err(Failure::Other(failure)),
    }
}

fn job(args: &BenchArgs, workload: Workload) -> Job {
    let connections = |default| args.connections.map_or(default, |count| count as usize);
    let in_flight = args.in_flight.map_or(IN_FLIGHT, |count| count as usize);
    let work = match (workload, args.rate) {
        (Workload::Pass, _) => Work::Pass { subscribers: connections(1) },
        (Workload::Confirm, Some(rate)) => Work::Pace { rate },
        (Workload::Confirm, None) => Work::Confirm { connections: connections(1), in_flight },
        (Workload::Queue, _) => Work::Queue(Queue {
            messages: u64::MAX,
            fill_max: args.duration,
            in_flight,
            consumers: connections(Queue::COMPARED.consumers),
            take: Queue::COMPARED.take,
        }),
        (Workload::Cycle, _) => Work::Cycle,
    };
    let default = if workload == Workload::Confirm { 1024 } else { 128 };
    let message = Message { bytes: args.size.unwrap_or(default) as usize, content: false };
    Job { work, message, duration: args.duration }
}

/// Measures one after the other. Whatever ends it, nothing of it is left with the broker.
async fn measure(
    args: &BenchArgs,
    ground: &Ground,
    wanted: Vec<(Workload, Job)>,
) -> Result<Vec<Measured>, Failure> {
    let mut interrupts = Interrupts::new().map_err(Failure::other)?;
    let (attached, level, bar) = (ground.attached(), args.level, progress(args));
    let place = attached.place.clone();
    let mut loads = tokio::task::spawn_blocking(move || {
        let mut measured = Vec::new();
        for (workload, job) in wanted {
            bar.set_message(measured::name(workload));
            let done = one(&attached, job, level);
            let failed = done.is_err();
            measured.push(Measured { workload, job, done });
            // What broke one would break the next.
            if failed {
                break;
            }
        }
        bar.finish_and_clear();
        measured
    });
    tokio::select! {
        measured = &mut loads => measured.map_err(Failure::other),
        () = interrupts.next() => {
            // Whoever waits for the broker hears of it, and removes what it has made.
            place.cut();
            loads.await.map_err(Failure::other)?;
            Err(Failure::Other("interrupted".to_owned()))
        }
    }
}

/// One workload, with a queue that is there for it alone.
fn one(
    attached: &Attached,
    job: Job,
    level: sluice_bench::targets::Level,
) -> Result<workloads::Done, TargetError> {
    let mut service = attached.clone();
    if let Work::Pass { .. } = job.work {
        let done = workloads::run(job, &mut service);
        attached.place.release();
        return done;
    }
    let name = format!("{}.{}", attached.place.name(), ground::random());
    let place = attached.place.named(&name);
    place.declare(level)?;
    service.place = place.clone();
    let done = workloads::run(job, &mut service).and_then(|done| {
        check(&place, job.work, done.sent)?;
        Ok(done)
    });
    attached.place.release();
    let deleted = place.delete();
    // What went wrong first says more.
    let done = done?;
    deleted.map(|()| done)
}

/// What is confirmed must be there once, and what is acknowledged must not.
fn check(place: &Place, work: Work, sent: u64) -> Result<(), TargetError> {
    let due = if let Work::Confirm { .. } | Work::Pace { .. } = work { sent } else { 0 };
    let there = place.queued()?;
    if there == due {
        return Ok(());
    }
    let (lost, doubled) = (due.saturating_sub(there), there.saturating_sub(due));
    let fault = format!("{lost} lost, {doubled} doubled: {there} are in the queue, not {due}");
    Err(TargetError::Messages(fault))
}

fn progress(args: &BenchArgs) -> ProgressBar {
    if args.no_progress || args.json || args.csv || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    // Rarely, for it takes time from what is measured.
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
