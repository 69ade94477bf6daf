//! One file a command.

pub(crate) mod backup;
pub(crate) mod config;
pub(crate) mod generate;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod place;
pub(crate) mod publish;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod subscribe;

use std::io::{ErrorKind, Write};

use crate::args::ServerArgs;
use crate::failure::Failure;
use sluice_bench::v1::{Client, ClientError};

/// The API key to show, from a file or the environment; never from the arguments.
pub(crate) fn api_key(args: &ServerArgs) -> Result<Option<String>, Failure> {
    match &args.key_file {
        None => Ok(std::env::var("SLUICE_API_KEY").ok()),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::Other(format!("can't read {}: {error}", path.display()))
            })?;
            Ok(Some(text.trim().to_owned()))
        }
    }
}

/// Connects as the arguments say.
pub(crate) fn connect(args: &ServerArgs, key: Option<&str>) -> Result<Client, ClientError> {
    Client::connect(&args.server, key)
}

/// Writes to standard output. A reader that has seen enough is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::other(error)),
        _ => Ok(()),
    }
}
