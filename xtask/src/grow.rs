//! Measures how the cost of a message grows with queues, with what waits, and with connections.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Parser;
use serde_json::{Value, json};
use sluice_bench::compare::Fault;
use sluice_bench::grow::{self, Cell, DIMENSIONS, Dimension, Plan, Scale, table};
use sluice_bench::machine::Machine;

use crate::bench::{Marks, interrupt, write_doc};
use crate::run::{again_in_release, is_slow, release_broker, target};

/// The table's place in the document.
const MARKS: Marks = Marks { begin: "<!-- growth: begin -->\n", end: "<!-- growth: end -->\n" };

#[derive(Debug, Parser)]
pub(crate) struct GrowArgs {
    /// What grows: queues, backlog, connections
    #[arg(long, value_delimiter = ',', value_parser = dimension)]
    only: Vec<Dimension>,
    /// Smaller, to see that all works; its figures are not to be quoted
    #[arg(long)]
    quick: bool,
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Where data is written, on the file system to measure; else the target directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Rounds that count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,
    /// Write everything there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run nothing: put the table of such a file into docs/performance.md
    #[arg(long, value_name = "FIGURES", exclusive = true)]
    write_doc: Option<PathBuf>,
}

fn dimension(text: &str) -> Result<Dimension, String> {
    match text {
        "queues" => Ok(Dimension::Queues),
        "backlog" => Ok(Dimension::Backlog),
        "connections" => Ok(Dimension::Connections),
        _ => Err("not one of queues, backlog, connections".into()),
    }
}

pub(crate) fn run(args: &GrowArgs) -> anyhow::Result<()> {
    if let Some(figures) = &args.write_doc {
        return write_doc(figures, &MARKS);
    }
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let dir = args.dir.clone().unwrap_or_else(target);
    let machine = Machine::read(&dir).with_context(|| dir.display().to_string())?;
    let folder = tempfile::tempdir_in(&dir)?;
    interrupt::watch(folder.path())?;
    let plan = Plan {
        program,
        dir: folder.path().to_owned(),
        dimensions: if args.only.is_empty() { DIMENSIONS.to_vec() } else { args.only.clone() },
        scale: if args.quick { Scale::quick() } else { Scale::full() },
        repetitions: args.repetitions.into(),
    };
    let parameters = parameters(args, &plan);
    println!("{}\n{parameters}", machine.line());
    let cells = grow::run(&plan, &mut |what| println!("{what}"))?;
    let grown = table::grown(&cells);
    print!("\nmedians (ranges) of {} rounds\n{}", args.repetitions, table::text(&grown));
    if let Some(path) = &args.json {
        let mut json = table::to_json(&cells, &grown);
        json["machine"] = machine.to_json();
        json["parameters"] = json!(parameters);
        json["version"] = json!(env!("CARGO_PKG_VERSION"));
        write(path, &json)?;
    }
    check(&cells)
}

fn write(path: &Path, json: &Value) -> anyhow::Result<()> {
    fs::write(path, format!("{json:#}\n")).with_context(|| path.display().to_string())
}

fn parameters(args: &GrowArgs, plan: &Plan) -> String {
    let Scale { singles, batched, .. } = plan.scale;
    format!(
        "{}release build, level os, 128 B, {} rounds there and back; {singles} messages a round one \
         by one over queues, {batched} in batches of 100 elsewhere; {} descriptors allowed",
        if args.quick { "QUICK, not to be quoted; " } else { "" },
        plan.repetitions,
        sluice_bench::usage::descriptors_max(),
    )
}

/// Fails if anything went wrong, and says where messages were lost or doubled.
fn check(cells: &[Cell]) -> anyhow::Result<()> {
    let faults = cells.iter().filter_map(|cell| Some((cell, cell.fault.as_ref()?)));
    let lines: Vec<String> =
        faults.map(|(cell, fault): (&Cell, &Fault)| format!("{}: {fault}", cell.point)).collect();
    if lines.is_empty() { Ok(()) } else { bail!("{}", lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use sluice_bench::grow::Point;

    use super::*;

    #[test]
    fn a_message_that_is_lost_fails_the_run() {
        let point = Point { dimension: Dimension::Queues, size: 10 };
        let cell = |fault| Cell { point, runs: Vec::new(), starts: Vec::new(), fault };
        assert!(check(&[cell(None)]).is_ok());
        let lost = Fault::Messages("1 lost".into());
        let error = check(&[cell(None), cell(Some(lost))]).unwrap_err().to_string();
        assert_eq!(error, "10 queues: messages lost, doubled or changed: 1 lost");
    }

    #[test]
    fn the_projects_document_has_a_place_for_the_table() {
        let document = fs::read_to_string(crate::run::root().join("docs/performance.md")).unwrap();
        assert!(document.contains(MARKS.begin) && document.contains(MARKS.end));
    }
}
