//! Filled in next.

use clap::Parser;

#[derive(Debug, Parser)]
pub(crate) struct BenchArgs {}

pub(crate) fn run(_args: &BenchArgs) -> anyhow::Result<()> {
    Ok(())
}
