//! Kills a real broker under load and checks what it kept.

use clap::Parser;
use sluice_bench::kill::{Plan, run as run_plan};

use crate::run::{release_broker, root};

#[derive(Debug, Parser)]
pub(crate) struct KillArgs {
    /// How often
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Publishes in all, at least
    #[arg(long, default_value_t = 1_000_000)]
    publishes: u64,
    /// Connections that publish
    #[arg(long, default_value_t = 3)]
    publishers: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Decides when the kills come
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &KillArgs) -> anyhow::Result<()> {
    let program = release_broker()?;
    let folder = root().join("target").join("kill");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let plan = Plan {
        kills: args.kills,
        publishes: args.publishes,
        publishers: args.publishers,
        message_bytes: args.size,
        seed: args.seed,
        args: Vec::new(),
    };
    let report = run_plan(&program, &folder, &plan)?;
    std::fs::remove_dir_all(&folder)?;
    println!("{report:#?}");
    println!("no confirmed publish is missing, no confirmed ack came back, order was kept");
    Ok(())
}
