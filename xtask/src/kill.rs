//! Kills a real broker under load, again and again, and checks what it kept.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser;
use sluice_bench::kill::limits::{self, LimitFigures, LimitOptions};
use sluice_bench::kill::{self, Figures, Options};

use crate::run::{again_in_release, is_slow, release_broker, target};

#[derive(Debug, Parser)]
pub(crate) struct KillArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Where its data goes, an empty directory; else one in the target directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What batches, sizes and moments follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Times that it is killed
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Publishes in all, at least
    #[arg(long, default_value_t = 1_000_000)]
    publishes: u64,
    /// Publishers, a connection each
    #[arg(long, default_value_t = 4)]
    publishers: u32,
    /// Topics, a consumer each, beside one consumer for them all
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    topics: u64,
    /// Times that a broker with limits is killed, before all of this; 0 to leave that out
    #[arg(long, default_value_t = 100)]
    limit_kills: u64,
    /// Writers of keys, a connection each
    #[arg(long, default_value_t = 2)]
    key_writers: u32,
}

pub(crate) fn run(args: &KillArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let dir = args.dir.clone().unwrap_or_else(|| target().join(format!("kill-{}", args.seed)));
    if dir.exists() {
        bail!("{} is there already; what it holds may be what an earlier run found", dir.display());
    }
    std::fs::create_dir_all(&dir)?;
    let KillArgs { seed, kills, publishes, publishers, topics, key_writers, .. } = *args;
    if args.limit_kills > 0 {
        let dir = dir.join("limits");
        std::fs::create_dir_all(&dir)?;
        with_limits(&LimitOptions {
            program: program.clone(),
            dir: dir.clone(),
            seed,
            kills: args.limit_kills,
            consumers: 4,
        })?;
        std::fs::remove_dir_all(dir)?;
    }
    if kills == 0 {
        std::fs::remove_dir_all(&dir)?;
        return Ok(());
    }
    let options = Options {
        program,
        dir: dir.clone(),
        seed,
        kills,
        publishes,
        publishers,
        topics,
        key_writers,
    };
    println!("seed {seed}, {publishers} publishers, {topics} topics, data in {}", dir.display());
    let started = Instant::now();
    let outcome = kill::run(&options, |figures| {
        if figures.kills % 20 == 0 {
            println!("{:>4} kills, {} published", figures.kills, figures.published);
        }
    });
    let figures = match outcome {
        Ok(figures) => figures,
        Err(error) => bail!("{error}\nthe data and the log are kept in {}", dir.display()),
    };
    std::fs::remove_dir_all(&dir)?;
    print(&figures, started.elapsed());
    if figures.kills_in_flight * 2 < figures.kills {
        bail!("fewer than half of the kills met unconfirmed publishes: too gentle to tell");
    }
    Ok(())
}

/// The same with limits, which are judged from outside.
fn with_limits(options: &LimitOptions) -> anyhow::Result<()> {
    let LimitOptions { dir, seed, consumers, .. } = options;
    println!("limits: seed {seed}, {consumers} consumers, data in {}", dir.display());
    let started = Instant::now();
    let outcome = limits::run(options, |figures| {
        if figures.kills % 20 == 0 {
            println!("{:>4} kills, {} leases", figures.kills, figures.leases);
        }
    });
    let figures = match outcome {
        Ok(figures) => figures,
        Err(error) => bail!("{error}\nthe data and the log are kept in {}", dir.display()),
    };
    let LimitFigures { kills, confirmed, leases, acked, abandoned, verdict } = figures;
    println!("{kills} kills in {:.0} s, no limit exceeded", started.elapsed().as_secs_f64());
    println!("published    {confirmed} confirmed");
    println!("leased       {leases} times, {acked} acked, {abandoned} let go");
    println!("at most      {} at once, {} starts in an interval", verdict.at_once, verdict.starts);
    Ok(())
}

fn print(figures: &Figures, elapsed: Duration) {
    let mut starts = figures.starts.clone();
    starts.sort_unstable();
    let millis = |at: usize| starts.get(at).map_or(0.0, |start| start.as_secs_f64() * 1e3);
    let Figures { kills, published, confirmed, survived, delivered, redelivered, acked, .. } =
        figures;
    println!("{kills} kills in {:.0} s, every promise kept", elapsed.as_secs_f64());
    println!("  with unconfirmed publishes in flight  {}", figures.kills_in_flight);
    println!("  with unconfirmed acks in flight       {}", figures.kills_acks_in_flight);
    println!("  with unanswered writes of keys        {}", figures.kills_key_writes_in_flight);
    let (writes, gone) = (figures.key_writes, figures.watches_gone);
    println!("keys         {writes} writes acknowledged, {gone} watches began too early");
    println!("published    {published}, {confirmed} confirmed, {survived} survived unconfirmed");
    println!("delivered    {delivered} through two subscriptions each, {redelivered} again");
    println!("acked        {acked}");
    let (median, longest) = (millis(starts.len() / 2), millis(starts.len().saturating_sub(1)));
    println!("ready after  {median:.0} ms in the middle, {longest:.0} ms at most");
}
