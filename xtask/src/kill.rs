//! Filled in next.

use clap::Parser;

#[derive(Debug, Parser)]
pub(crate) struct KillArgs {}

pub(crate) fn run(_args: &KillArgs) -> anyhow::Result<()> {
    Ok(())
}
