//! What was measured, for people, as JSON and as CSV.

use std::fmt::Write;

use serde_json::{Value, json};
use sluice_bench::compare::table;
use sluice_bench::targets::TargetError;
use sluice_bench::workloads::{Done, Job, Work};

use super::ground::Ground;
use crate::args::{BenchArgs, Workload};

/// What came of a workload.
pub(super) struct Measured {
    pub(super) workload: Workload,
    pub(super) job: Job,
    pub(super) done: Result<Done, TargetError>,
}

impl Measured {
    /// Why the command fails, if it does.
    pub(super) fn failure(&self) -> Option<String> {
        let error = self.done.as_ref().err()?;
        let what = match error {
            TargetError::Messages(_) => "messages were lost, doubled or changed: ",
            _ => "",
        };
        Some(format!("{}: {what}{error}", name(self.workload)))
    }

    fn to_json(&self) -> Value {
        let figures = self.done.as_ref().map(|done| {
            let figures = done.figures.iter().map(|(it, value)| (it.name().into(), json!(value)));
            figures.collect::<serde_json::Map<_, _>>()
        });
        json!({
            "workload": name(self.workload),
            "parameters": parameters(self.job),
            "size": self.job.message.bytes,
            "messages": self.done.as_ref().map_or(0, |done| done.sent),
            "figures": figures.unwrap_or_default(),
            "failure": self.failure(),
        })
    }
}

/// Its name, as it is typed.
pub(super) fn name(workload: Workload) -> &'static str {
    match workload {
        Workload::Pass => "pass",
        Workload::Confirm => "confirm",
        Workload::Queue => "queue",
        Workload::Cycle => "cycle",
    }
}

fn parameters(job: Job) -> String {
    match job.work {
        Work::Pass { subscribers } => format!("to {subscribers}"),
        Work::Confirm { connections, in_flight } => {
            format!("{connections} x {in_flight} in flight")
        }
        Work::Pace { rate } => format!("{rate}/s due"),
        Work::Queue(queue) => {
            format!("{} in flight, then {} consumers", queue.in_flight, queue.consumers)
        }
        _ => "one after the other".to_owned(),
    }
}

/// All of it, as was asked.
pub(super) fn text(args: &BenchArgs, ground: &Ground, measured: &[Measured]) -> String {
    match (args.json, args.csv) {
        (true, _) => format!("{:#}\n", to_json(args, ground, measured)),
        (_, true) => to_csv(measured),
        _ => lines(args, ground, measured),
    }
}

fn to_json(args: &BenchArgs, ground: &Ground, measured: &[Measured]) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "broker": ground.broker(),
        "machine": ground.machine.as_ref().map(sluice_bench::machine::Machine::to_json),
        "level": args.level.word(),
        "duration_ms": u64::try_from(args.duration.as_millis()).unwrap_or(u64::MAX),
        "workloads": measured.iter().map(Measured::to_json).collect::<Vec<_>>(),
    })
}

fn to_csv(measured: &[Measured]) -> String {
    let mut out = String::from("workload,parameters,size,figure,value\n");
    for one in measured {
        let (name, parameters) = (name(one.workload), parameters(one.job));
        for (figure, value) in one.done.iter().flat_map(|done| &done.figures) {
            let (size, figure) = (one.job.message.bytes, figure.name());
            // Writing to a string can't fail.
            let _ = writeln!(out, "{name},\"{parameters}\",{size},{figure},{value}");
        }
    }
    out
}

fn lines(args: &BenchArgs, ground: &Ground, measured: &[Measured]) -> String {
    let mut out = format!("{}; sluice {}", ground.broker(), env!("CARGO_PKG_VERSION"));
    if let Some(machine) = &ground.machine {
        let _ = write!(out, "; {}", machine.line());
        if machine.is_in_memory() {
            out += ", in memory, where a sync means nothing: --dir names another place";
        }
    }
    out.push('\n');
    for one in measured {
        let (name, parameters) = (name(one.workload), parameters(one.job));
        let level = match one.job.work {
            Work::Pass { .. } => "at most once".to_owned(),
            _ => format!("level {}", args.level.word()),
        };
        let _ = writeln!(out, "\n{name}: {} B, {parameters}, {level}", one.job.message.bytes);
        for (figure, value) in one.done.iter().flat_map(|done| &done.figures) {
            let _ = writeln!(out, "  {:<12}{:>9}", figure.name(), table::short(*value));
        }
    }
    out
}
