//! The `sluice` binary: the broker and its tools.
//!
//! Exit codes: 0 ok, 1 failure, 2 usage or a refused unsafe setting, 3 corrupt log, 4 disk
//! failure, 78 bad configuration.

mod args;
mod commands;
mod failure;
mod hangup;
mod heap;
mod key_store;
mod keys;
mod live_limits;
mod logging;
mod machine;
mod notify;
mod own_limits;
mod reload;
mod settings;
mod watchdog;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, ConfigCommand, KeyCommand, LogCommand, SubscriptionCommand};
use crate::failure::Failure;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Publish(args) => commands::publish::publish(&args),
        Command::Subscribe(args) => commands::subscribe::run(&args),
        Command::Subscription(args) => match args.command {
            SubscriptionCommand::List(args) => commands::subscription::list(&args),
            SubscriptionCommand::Delete(args) => commands::subscription::delete(&args),
        },
        Command::Queue(args) => commands::queue::run(&args.command),
        Command::Kv(args) => commands::kv::run(&args.command),
        Command::Limit(args) => commands::limit::run(&args.command),
        Command::Health(args) => commands::health::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Fetch(args) => commands::fetch::run(&args),
        Command::Backup(args) => commands::backup::run(&args),
        Command::Restore(args) => commands::restore::run(&args),
        Command::Log(args) => match args.command {
            LogCommand::Inspect(args) => commands::log::inspect(&args),
            LogCommand::Verify(args) => commands::log::verify(&args),
            LogCommand::Repair(args) => commands::repair::repair(&args),
        },
        Command::Chaos(args) => commands::chaos::run(&args),
        Command::Config(args) => match args.command {
            ConfigCommand::Check(args) => commands::config::check(&args),
            ConfigCommand::Show(args) => commands::config::show(&args),
            ConfigCommand::Default => commands::config::default(),
        },
        Command::Completions(args) => commands::generate::completions(&args),
        Command::Man(args) => commands::generate::man(&args),
        Command::Key(args) => match args.command {
            KeyCommand::Create(args) => commands::key::create(&args),
            KeyCommand::List(args) => commands::key::list(&args),
            KeyCommand::Revoke(args) => commands::key::revoke(&args),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit_code()
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where a command line says why it failed")]
fn report(failure: &Failure) {
    match failure {
        Failure::Settings(reports) => reports.iter().for_each(|report| eprintln!("{report:?}")),
        _ => eprintln!("sluice: {failure}"),
    }
}
