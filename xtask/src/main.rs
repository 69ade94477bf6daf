//! Project tasks: `cargo xtask ci | tidy | purity | sim | bench | grow | steady | kill | errors | full | overload |
//! crowd | watchers`.
#![expect(clippy::print_stdout, reason = "a command line's output is its purpose")]

mod bench;
mod ci;
mod crowd;
mod errors;
mod full;
mod grow;
mod kill;
mod overload;
mod purity;
mod run;
mod sim;
mod steady;
mod tidy;
mod watchers;

use clap::{Parser, Subcommand};
use sluice_bench::null::bare_http;
use sluice_bench::targets::BARE_HTTP;

#[derive(Debug, Parser)]
#[command(name = "xtask", about = "Project tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that CI checks
    Ci,
    /// Sizes, headers and leftovers
    Tidy,
    /// Which crates may depend on what
    Purity,
    /// Run simulated schedules
    Sim(sim::SimArgs),
    /// Measure beside the limits of the machine
    Bench(bench::BenchArgs),
    /// Measure how the cost of a message grows with queues, backlog and connections
    Grow(grow::GrowArgs),
    /// Run steady traffic through a real broker, beside the bounds of its log
    Steady(steady::SteadyArgs),
    /// Kill a real broker under load, again and again, and check what it kept
    Kill(kill::KillArgs),
    /// Let a real broker's disk fail, one call after another, and check what it kept
    Errors(errors::ErrorsArgs),
    /// A null server, which `bench` starts
    #[command(name = BARE_HTTP, hide = true)]
    BareHttp,
    /// Fill the disk of a real broker, a small tmpfs, and free it again
    Full(full::FullArgs),
    /// Post many times as much over HTTP as a real broker can take, and acknowledge beside it
    Overload(overload::OverloadArgs),
    /// Have thousands of slow clients and long polls at a real broker's HTTP door
    Crowd(crowd::CrowdArgs),
    /// Have thousands of clients watch one key and see what a change costs the broker for each
    Watchers(watchers::WatchersArgs),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Purity => purity::run(),
        Task::Sim(args) => sim::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Grow(args) => grow::run(&args),
        Task::Steady(args) => steady::run(&args),
        Task::Kill(args) => kill::run(&args),
        Task::Errors(args) => errors::run(&args),
        Task::BareHttp => Ok(bare_http()?),
        Task::Full(args) => full::run(&args),
        Task::Overload(args) => overload::run(&args),
        Task::Crowd(args) => crowd::run(&args),
        Task::Watchers(args) => watchers::run(&args),
    }
}
