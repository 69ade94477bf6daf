//! One file a command.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod fetch;
pub(crate) mod generate;
pub(crate) mod health;
pub(crate) mod key;
pub(crate) mod kv;
pub(crate) mod limit;
pub(crate) mod log;
mod message;
pub(crate) mod place;
pub(crate) mod publish;
pub(crate) mod queue;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod subscribe;
pub(crate) mod subscription;
mod table;

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Writes to standard output. A reader that has seen enough is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::other(error)),
        _ => Ok(()),
    }
}
