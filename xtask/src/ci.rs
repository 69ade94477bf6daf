//! Everything that CI checks, each step timed.

use std::time::Instant;

use crate::run::{cargo, cargo_output};
use crate::{purity, sim, tidy};

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 8] = [
    ("format", || cargo(&["fmt", "--all", "--check"], &[])),
    ("tidy", tidy::run),
    ("purity", purity::run),
    ("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], &[])
    }),
    ("docs", || {
        cargo(&["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "-D warnings")])
    }),
    ("deny", deny),
    ("tests", || cargo(&["test", "--workspace"], &[])),
    ("simulation", sim::bounded),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let mut times = Vec::new();
    for (name, step) in STEPS {
        println!("--- {name}");
        let started = Instant::now();
        step()?;
        times.push((name, started.elapsed()));
    }
    println!("--- all steps passed");
    for (name, time) in times {
        println!("{name:<12}{:>8.1} s", time.as_secs_f64());
    }
    Ok(())
}

/// Licences, advisories and bans, where the tool for it is installed.
fn deny() -> anyhow::Result<()> {
    if !cargo_output(&["deny", "--version"])?.0 {
        println!("cargo-deny is not installed, skipped");
        return Ok(());
    }
    cargo(&["deny", "check", "bans", "licenses", "sources"], &[])
}
