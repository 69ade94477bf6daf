//! `sluice queue`: one file for what belongs together.

pub(crate) mod explain;
mod look;
mod manage;
mod settle;
mod take;

use serde::Serialize;
use sluice_client::json::{Queues, Removed};
use sluice_client::{Error, QueueName};

use crate::args::QueueCommand;
use crate::commands::{print, publish};
use crate::failure::Failure;

/// Queues of a page.
const PAGE: u16 = 1_000;

pub(crate) fn run(command: &QueueCommand) -> Result<(), Failure> {
    match command {
        QueueCommand::Put(args) => publish::put(args),
        QueueCommand::Take(args) => take::run(args),
        QueueCommand::Ack(args) => settle::ack(args),
        QueueCommand::Nack(args) => settle::nack(args),
        QueueCommand::Peek(args) => look::peek(args),
        QueueCommand::List(args) => look::list(args),
        QueueCommand::Stats(args) => look::stats(args),
        QueueCommand::Declare(args) => manage::declare(args),
        QueueCommand::Purge(args) => manage::purge(args),
        QueueCommand::Delete(args) => manage::delete(args),
        QueueCommand::Redrive(args) => manage::redrive(args),
        QueueCommand::Explain(args) => explain::run(args),
        QueueCommand::Weigh(args) => manage::weigh(args),
    }
}

/// All queues of a list, page by page.
pub(crate) async fn all_pages(
    page: impl AsyncFn(Option<QueueName>, u16) -> Result<Queues, Error>,
) -> Result<Queues, Failure> {
    let (mut all, mut after) = (Queues::default(), None);
    loop {
        let next = page(after, PAGE).await?;
        all.queues.extend(next.queues);
        let Some(last) = next.next else { return Ok(all) };
        after = Some(QueueName::new(&last).map_err(Failure::other)?);
    }
}

/// Prints an answer on one line.
pub(crate) fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string(answer).map_err(Failure::other)?))
}

/// Says how many messages are gone.
pub(crate) fn removed(removed: Removed, what: &str, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&removed);
    }
    print(&format!("{what}; {} messages are gone\n", removed.messages))
}
