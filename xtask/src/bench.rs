//! Measures the broker beside its peers and the limits of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use sluice_bench::compare::{self, Case, Cell, Fault, Plan, Report, Scale, WORKLOADS, table};
use sluice_bench::machine::Machine;
use sluice_bench::targets::{self, PEERS, Side, Target};

use crate::run::{again_in_release, is_slow, release_broker, root, target};

pub(crate) mod interrupt;
mod progress;
mod report;

pub(crate) use report::Marks;
use report::Measured;

/// The document that has a table of figures in it.
const DOCUMENT: &str = "docs/performance.md";
/// Where the plots go that it shows, and which these are.
const PLOTS: &str = "docs/plots";
const SHOWN: [&str; 6] = [
    "a-pass-128-b-msgs-s.svg",
    "b-confirm-synced-1-x-256-msgs-s.svg",
    "b-confirm-synced-1-x-256-latency.svg",
    "c-queue-level-os-take-100-takes-s.svg",
    "d-cycle-synced-latency.svg",
    "e-get-level-os-pipeline-16-msgs-s.svg",
];
/// Where it is in there.
const MARKS: Marks = Marks { begin: "<!-- figures: begin -->\n", end: "<!-- figures: end -->\n" };

#[derive(Debug, Parser)]
pub(crate) struct BenchArgs {
    /// Which peers: all, none, or some of nats, redis, mosquitto, beanstalkd
    #[arg(long, value_delimiter = ',', default_value = "none", value_parser = peer)]
    peers: Vec<String>,
    /// Which workloads, as A,B,C; F is the processor time in A and C
    #[arg(long, value_delimiter = ',', default_values_t = WORKLOADS, value_parser = workload)]
    workloads: Vec<char>,
    /// Only cases with this in their names, as "synced, 1 x 256"; may be repeated
    #[arg(long, value_name = "TEXT")]
    case: Vec<String>,
    /// Shorter and smaller, to see that all works; its figures are not to be quoted
    #[arg(long)]
    quick: bool,
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Where data is written, on the file system to measure; else the target directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Repetitions of each case and target
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,
    /// Seconds of each repetition
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of each repetition into files that grow
    #[arg(long, default_value_t = 60.0)]
    growing: f64,
    /// Leave out the runs that check every byte
    #[arg(long)]
    no_content: bool,
    /// Write everything there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write all of it there: figures.json, figures.csv, plots, and index.html, which shows them
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Run nothing: put the table of a report's figures.json into docs/performance.md
    #[arg(long, value_name = "FIGURES", exclusive = true)]
    write_doc: Option<PathBuf>,
    /// Write every figure of every run there as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

fn peer(text: &str) -> Result<String, String> {
    let is_known = ["all", "none"].contains(&text) || PEERS.contains(&text);
    let names = PEERS.join(", ");
    is_known.then(|| text.to_owned()).ok_or_else(|| format!("not all, none or of {names}"))
}

fn workload(text: &str) -> Result<char, String> {
    let letter = text.chars().next().filter(|_| text.len() == 1).map(|it| it.to_ascii_uppercase());
    letter
        .filter(|letter| WORKLOADS.contains(letter))
        .ok_or_else(|| format!("not one of {}", WORKLOADS.map(String::from).join(", ")))
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if let Some(figures) = &args.write_doc {
        write_doc(figures, &MARKS)?;
        return copy_plots(figures);
    }
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let mut plan = plan(args);
    let machine = Machine::read(&plan.dir).with_context(|| plan.dir.display().to_string())?;
    if machine.is_in_memory() {
        bail!(
            "{} is in memory, where a sync means nothing; give another --dir",
            plan.dir.display()
        );
    }
    println!("{}", machine.line());
    println!("{}", parameters(args, &plan));
    let (targets, versions) = there(args, program);
    let folder = tempfile::tempdir_in(&plan.dir)?;
    plan.dir = folder.path().to_owned();
    interrupt::watch(&plan.dir)?;
    let mut progress = progress::Shown::new();
    let report = compare::run(&plan, &targets, &mut progress)?;
    drop(progress);
    print_settings(&report);
    print!("{}", table::figures(&report));
    let judged = compare::judge(&report);
    println!("\nmedians (ranges) of {} repetitions\n{}", args.repetitions, table::goals(&judged));
    let parameters = parameters(args, &plan);
    let measured = Measured { report, judged, machine, parameters, versions };
    write(args, &measured)?;
    check(&measured.report)
}

/// Writes the files that were asked for.
fn write(args: &BenchArgs, measured: &Measured) -> anyhow::Result<()> {
    let write = |path: &Option<PathBuf>, text: String| match path {
        Some(path) => fs::write(path, text).with_context(|| path.display().to_string()),
        None => Ok(()),
    };
    write(&args.json, format!("{:#}\n", measured.to_json()))?;
    write(&args.csv, table::to_csv(&measured.report))?;
    if let Some(dir) = &args.report {
        report::write(dir, measured)?;
        println!("{}", dir.join("index.html").display());
    }
    Ok(())
}

/// Puts the table of a file of figures between marks of the document.
pub(crate) fn write_doc(figures: &Path, marks: &Marks) -> anyhow::Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let figures = serde_json::from_str(&read(figures)?).context("no figures.json of a report")?;
    let path = root().join(DOCUMENT);
    let document = report::fill(&read(&path)?, marks, &figures)?;
    fs::write(&path, document).with_context(|| path.display().to_string())
}

/// Puts those plots of a report that the document shows beside it.
fn copy_plots(figures: &Path) -> anyhow::Result<()> {
    let (report, folder) = (figures.parent().unwrap_or(Path::new("")), root().join(PLOTS));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for name in SHOWN {
        let plot = report.join(name);
        fs::copy(&plot, folder.join(name)).with_context(|| plot.display().to_string())?;
    }
    Ok(())
}

/// Fails if anything went wrong, and says first where a target did not keep what it promised.
fn check(report: &Report) -> anyhow::Result<()> {
    let line = |(cell, fault): (&Cell, &Fault)| format!("{}, {}: {fault}", cell.case, cell.target);
    let (broken, failed): (Vec<_>, Vec<_>) =
        report.faults().partition(|(_, fault)| matches!(fault, Fault::Messages(_)));
    let lines: Vec<String> = broken.iter().chain(&failed).map(|it| line(*it)).collect();
    match (broken.len(), failed.len()) {
        (0, 0) => Ok(()),
        (0, failed) => bail!("{failed} could not be measured\n{}", lines.join("\n")),
        (broken, 0) => bail!("{broken} lost, doubled or changed messages\n{}", lines.join("\n")),
        (broken, failed) => bail!(
            "{broken} lost, doubled or changed messages, {failed} could not be measured\n{}",
            lines.join("\n")
        ),
    }
}

fn plan(args: &BenchArgs) -> Plan {
    let is_wanted = |case: &Case| {
        args.case.is_empty() || args.case.iter().any(|part| case.to_string().contains(part))
    };
    let (seconds, growing, scale) = match args.quick {
        true => (0.3, 1.0, Scale { queued: 20_000, waiting: 50_000, connections: 500 }),
        false => {
            let scale = Scale { queued: 200_000, waiting: 1_000_000, connections: 10_000 };
            (args.seconds, args.growing, scale)
        }
    };
    Plan {
        dir: args.dir.clone().unwrap_or_else(target),
        cases: compare::cases(&args.workloads).into_iter().filter(is_wanted).collect(),
        repetitions: args.repetitions.into(),
        duration: Duration::from_secs_f64(seconds),
        growing: Duration::from_secs_f64(growing),
        scale,
        content: !args.no_content,
    }
}

fn parameters(args: &BenchArgs, plan: &Plan) -> String {
    let Scale { queued, waiting, connections } = plan.scale;
    let allowed = sluice_bench::usage::descriptors_max();
    format!(
        "{}release build, {} repetitions in alternation (there and back), {} s each; \
         {queued} messages queued in C, {waiting} waiting in H; {connections} connections in G as \
         far as {allowed} descriptors allow; client and broker share the machine",
        if args.quick { "QUICK, not to be quoted; " } else { "" },
        plan.repetitions,
        plan.duration.as_secs_f64(),
    )
}

/// What is wanted and installed, and the versions of it. Says what is not.
fn there(args: &BenchArgs, program: PathBuf) -> (Vec<Box<dyn Target>>, Vec<String>) {
    let is_wanted = |side| match side {
        Side::Peer(name) => args.peers.iter().any(|wanted| wanted == "all" || wanted == name),
        Side::Ours | Side::Limit => true,
    };
    let mut versions = Vec::new();
    let mut targets = targets::all(program);
    targets.retain(|target| {
        if !is_wanted(target.side()) {
            return false;
        }
        let version = target.version();
        let line = match &version {
            Ok(version) => format!("{}: {version}", target.name()),
            Err(error) => format!("{}: skipped, {error}", target.name()),
        };
        println!("{line}");
        versions.push(line);
        version.is_ok()
    });
    (targets, versions)
}

/// Settings of every target, once where cases share them.
fn print_settings(report: &Report) {
    println!("\nsettings");
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for cell in &report.cells {
        let one = (cell.target, cell.settings.as_str());
        if !shown.contains(&one) {
            println!("  {:<15}{}", one.0, one.1);
            shown.push(one);
        }
    }
}
