//! `sluice chaos`: trouble between clients and a broker, or in a copy of a log.

mod log;
mod proxy;

use crate::args::{ChaosArgs, ChaosCommand};
use crate::failure::Failure;

pub(crate) fn run(args: &ChaosArgs) -> Result<(), Failure> {
    match &args.command {
        Some(ChaosCommand::Log(args)) => log::run(args),
        None => proxy::run(&args.proxy),
    }
}
