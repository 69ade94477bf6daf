//! What can be typed about queues.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sluice_client::{MessageId, QueueName, Token};
use sluice_model::{DeadReason, State};

use super::client::{InputArgs, ListArgs, ServerArgs, pair, time};

#[derive(Debug, Parser)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Put in one message, or one per line of standard input; success means that they are safe
    Put(PutArgs),
    /// Take messages under a lease, each with the token that settles it
    Take(TakeArgs),
    /// Settle leases: their messages are dealt with
    Ack(AckArgs),
    /// Give messages back: failed, unless it is said otherwise
    Nack(NackArgs),
    /// Look at messages without touching them
    Peek(PeekArgs),
    /// Show the queues and how many messages are in which state
    List(ListArgs),
    /// Show settings, counters and gauges of a queue
    Stats(OneArgs),
    /// Make a queue, or see that it is as asked
    Declare(DeclareArgs),
    /// Delete messages of a queue: those that wait, unless it is said otherwise
    Purge(PurgeArgs),
    /// End a queue and all its messages
    Delete(DeleteArgs),
    /// Put messages of the dead set back
    Redrive(RedriveArgs),
    /// Say why a message is not delivered: the next one, unless it is said otherwise
    Explain(ExplainArgs),
    /// Give a group more turns than others of its queue have
    Weigh(WeighArgs),
}

/// Which queue, where, and how it is told.
#[derive(Debug, Parser)]
pub(crate) struct OneArgs {
    /// The queue; $sub.NAME is that of the durable subscription NAME
    pub(crate) queue: QueueName,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct PutArgs {
    /// The queue
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// At most so many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max: u16,
    /// How long to wait for the first one, such as 30s
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "0")]
    pub(crate) wait: Duration,
    /// Time to settle each; else as the queue says
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) lease: Option<Duration>,
    /// Settle them as soon as they are printed, and print no tokens
    #[arg(long)]
    pub(crate) ack: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct AckArgs {
    /// What `take` printed
    #[arg(required = true)]
    pub(crate) token: Vec<Token>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct NackArgs {
    /// What `take` printed
    #[arg(required = true)]
    pub(crate) token: Vec<Token>,
    /// When to try again; else after the queue's backoff
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "reject")]
    pub(crate) delay: Option<Duration>,
    /// Not tried: nothing is counted against the messages
    #[arg(long, conflicts_with_all = ["reject", "note"])]
    pub(crate) release: bool,
    /// No attempt will ever succeed: to the dead set
    #[arg(long)]
    pub(crate) reject: bool,
    /// Kept as the messages' last error
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Not tried: pause the messages' first key for everybody, for so long or as long as the broker
    /// finds right; nothing is counted
    #[arg(long, value_name = "TIME", value_parser = time, num_args = 0..=1, require_equals = true)]
    #[arg(conflicts_with_all = ["reject", "release", "note", "delay"])]
    pub(crate) throttled: Option<Option<Duration>>,
    /// Pause this key instead
    #[arg(long, requires = "throttled")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Parser)]
pub(crate) struct PeekArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// One message, with what it carries
    pub(crate) id: Option<MessageId>,
    /// Only those in this state: ready, delayed, leased, dead
    #[arg(long, value_parser = state, conflicts_with = "id")]
    pub(crate) state: Option<State>,
    /// Only those behind this place
    #[arg(long, value_name = "SEQ", conflicts_with = "id")]
    pub(crate) after: Option<u64>,
    /// At most so many
    #[arg(
        long,
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=1000),
        conflicts_with = "id"
    )]
    pub(crate) limit: u16,
}

#[derive(Debug, Parser)]
pub(crate) struct DeclareArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// A setting; again for more. The others follow the broker's defaults
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Change a queue that is otherwise
    #[arg(long)]
    pub(crate) update: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Those that are ready or delayed
    #[arg(long)]
    pub(crate) waiting: bool,
    /// Those that consumers hold
    #[arg(long)]
    pub(crate) leased: bool,
    /// Those in the dead set
    #[arg(long)]
    pub(crate) dead: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Even while messages are leased or consumers are there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct RedriveArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Only these; again for more
    #[arg(long, conflicts_with_all = ["reason", "age"])]
    pub(crate) id: Vec<MessageId>,
    /// Only those that are dead for this reason, such as `max_failures`
    #[arg(long, value_parser = reason)]
    pub(crate) reason: Option<DeadReason>,
    /// Only those that are dead so long or longer
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) age: Option<Duration>,
    /// At most so many a second; it then goes on by itself
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_second: Option<u32>,
}

#[derive(Debug, Parser)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// This message
    pub(crate) id: Option<MessageId>,
    /// The next one of a group
    #[arg(long, conflicts_with = "id")]
    pub(crate) group: Option<String>,
    /// The next one under a key
    #[arg(long, conflicts_with_all = ["id", "group"])]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Parser)]
pub(crate) struct WeighArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Which group
    pub(crate) group: String,
    /// So many turns for one of others; 1 is what every group has
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) weight: u16,
}

fn state(text: &str) -> Result<State, String> {
    word(text, State::ALL, State::name)
}

fn reason(text: &str) -> Result<DeadReason, String> {
    word(text, DeadReason::ALL, DeadReason::name)
}

/// One of those that there are, by its name.
fn word<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let known = || all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ");
    let found = all.iter().find(|one| name(**one) == text);
    found.copied().ok_or_else(|| format!("none of {}", known()))
}
