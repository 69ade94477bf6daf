//! Steady traffic through a real broker, beside the bounds of its log.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use sluice_bench::steady::{self, Figures, Options};

use crate::run::{again_in_release, is_slow, release_broker, target};

#[derive(Debug, Parser)]
pub(crate) struct SteadyArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
    /// Where its data goes, an empty directory; else one in the target directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// One message of so many goes to a subscription that nobody consumes; 0 for none
    #[arg(long, default_value_t = 64)]
    abandoned_one_in: u64,
    /// Subscriptions that each other message goes to
    #[arg(long, default_value_t = 1)]
    subscriptions: u64,
    /// Confirm once the kernel has it
    #[arg(long)]
    unsynced: bool,
}

pub(crate) fn run(args: &SteadyArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let program = args.bin.clone().map_or_else(release_broker, Ok)?;
    let dir = args.dir.clone().unwrap_or_else(|| target().join("steady"));
    if dir.exists() {
        bail!("{} is there already", dir.display());
    }
    std::fs::create_dir_all(&dir)?;
    let options = Options {
        program,
        dir: dir.clone(),
        duration: Duration::from_secs(args.seconds),
        message_bytes: args.bytes,
        abandoned_one_in: args.abandoned_one_in,
        subscriptions: args.subscriptions,
        unsynced: args.unsynced,
    };
    let figures = match steady::run(&options) {
        Ok(figures) => figures,
        Err(error) => bail!("{error}\nthe data and the log are kept in {}", dir.display()),
    };
    std::fs::remove_dir_all(&dir)?;
    print(&figures);
    Ok(())
}

fn print(figures: &Figures) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let Figures { published, consumed, replay_waits, clearing_waits, long_turns, .. } = figures;
    let seconds = figures.elapsed.as_secs_f64();
    println!("published {published}, consumed {consumed} in {seconds:.0} s");
    let resident = figures.resident_max.map(|bytes| format!("{:.0}", mib(bytes))).join(" ");
    println!("resident at most      {resident} MiB, in each tenth of the time");
    println!("log written           {:>9.0} MiB", mib(figures.log_bytes));
    println!("  of it moved copies  {:>9.0} MiB", mib(figures.moved_bytes));
    println!("files at most         {:>9.0} MiB", mib(figures.file_bytes_max));
    println!("  live at the end     {:>9.0} MiB", mib(figures.live_bytes));
    let above = figures.segments_above;
    println!("  above twice live    {above:>9.1} segments, 4 allowed");
    let share = 100.0 * figures.image_bytes as f64 / figures.log_bytes.max(1) as f64;
    let images = mib(figures.image_bytes);
    println!("images written        {images:>9.0} MiB, {share:.1} % of the log, 33 % allowed");
    let (replay, allowed) = (mib(figures.replay_bytes_max), mib(Figures::REPLAY_MAX));
    println!("replay at most        {replay:>9.1} MiB, {allowed:.0} MiB allowed");
    println!("  waits for it        {replay_waits:>9}");
    println!("  waits for clearing  {clearing_waits:>9}");
    println!("longest turn          {:>9.2} ms", millis(figures.longest_turn));
    println!("  above 2 ms          {long_turns:>9}");
    let [image, image_cpu] = figures.longest_image.map(millis);
    let [moves, moves_cpu] = figures.longest_move.map(millis);
    println!("longest hold by image {image:>9.2} ms, {image_cpu:.2} of the processor's, 2 allowed");
    println!("             by moves {moves:>9.2} ms, {moves_cpu:.2} of the processor's");
    println!("other times are of the clock: where cores are short, they hold waits for one");
}
