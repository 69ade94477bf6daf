//! Lets a real broker's disk fail, one system call after another, and checks what it kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::bail;
use clap::Parser;
use sluice_bench::errors::{self, Figures, Options, Phase};

use crate::run::{again_in_release, is_slow, release_broker, target};

/// Kinds of calls that fail: syncs, and writes at a place in a file.
const CALLS: [&str; 2] = ["fdatasync,fsync", "pwrite64"];

#[derive(Debug, Parser)]
pub(crate) struct ErrorsArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Calls that fail, as strace names them; else syncs, then writes
    #[arg(long)]
    calls: Option<String>,
    /// Let only every so many-th call fail
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,
}

pub(crate) fn run(args: &ErrorsArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("strace is not installed; it is what lets calls fail");
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let kinds: Vec<&str> = args.calls.as_deref().map_or(CALLS.to_vec(), |calls| vec![calls]);
    for calls in kinds {
        for phase in Phase::ALL {
            fail_each(&program, calls, phase, args.step)?;
        }
    }
    Ok(())
}

/// Lets each call of a kind fail in a phase.
fn fail_each(program: &Path, calls: &str, phase: Phase, step: u64) -> anyhow::Result<()> {
    let dir = target().join(format!("errors-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let (program, calls) = (program.to_owned(), calls.to_owned());
    let options = Options { program, dir: dir.clone(), calls: calls.clone(), phase, step };
    let outcome = errors::run(&options, |figures| {
        if figures.failures % 50 == 0 {
            println!("{calls}, {phase:?}: {} failed so far", figures.failures);
        }
    });
    let figures = match outcome {
        Ok(figures) => figures,
        Err(error) => {
            bail!("{calls}, {phase:?}: {error}\nthe data and the log are kept in {}", dir.display())
        }
    };
    std::fs::remove_dir_all(&dir)?;
    let Figures { failures, ended, at_start, went_on, end_max, published, acked } = figures;
    println!(
        "{calls}, {phase:?}: {failures} runs with a failed call, {ended} ended with exit code 4 \
         ({at_start} of them before they were ready), {went_on} went on; gone within {} ms; \
         {published} confirmed publishes and {acked} confirmed acks, all kept",
        end_max.as_millis()
    );
    Ok(())
}
