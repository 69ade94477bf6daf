//! The `sluice` binary: the broker and its tools.
//!
//! Exit codes: 0 ok, 1 failure, 2 usage or a refused unsafe setting, 3 corrupt log, 4 disk
//! failure, 78 bad configuration.

mod args;
mod commands;
mod failure;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, LogCommand};
use crate::failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Publish(args) => commands::publish::run(&args),
        Command::Subscribe(args) => commands::subscribe::run(&args),
        Command::Log(args) => match args.command {
            LogCommand::Inspect(args) => commands::log::inspect(&args),
            LogCommand::Verify(args) => commands::log::verify(&args),
            LogCommand::Repair(args) => commands::repair::repair(&args),
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
        Failure::Settings(report) => eprintln!("{report:?}"),
        _ => eprintln!("sluice: {failure}"),
    }
}
