//! What a line asks, whichever form it has.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use sluice_model::{
    Command, Confirm, Destination, Keys, KvRequest, LeaseId, Level, LimitRequest, Message, Outcome,
    Publish, Qos, QueueName, QueueRequest, Receive, Revision, Source, Topic, TopicPattern,
};

/// Longest that a DEQUEUE waits.
pub const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// What a line asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Say PONG.
    Ping,
    /// Say this.
    Echo(Bytes),
    /// See whose key this is.
    Auth(Secret),
    /// Stop the broker.
    Shutdown,
    /// Say which words there are.
    Help,
    /// Close the connection.
    Quit,
    /// Say what the broker is, in one line.
    Info,
    /// Tell the broker's figures.
    Stats,
    /// Something that the broker has one answer to.
    Do(Command, Want),
    /// Push what is published.
    Subscribe(TopicPattern),
    /// Push it no more.
    Unsubscribe(TopicPattern),
    /// Push what happens to keys.
    Watch {
        /// Which.
        keys: Keys,
        /// From that change on; none for from now on.
        from: Option<Revision>,
    },
    /// Push it no more.
    Unwatch(Keys),
}

/// What of an answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The identity of a message that went to a queue.
    Enqueued,
    /// How many a message reached.
    Published,
    /// A message, if there is one.
    Message,
    /// That a lease has ended.
    Settled,
    /// Until when a lease lives.
    Extended,
    /// That a key was written.
    Written,
    /// That a key is gone.
    Deleted,
    /// A key's value.
    Value,
    /// The same with its revision and when it expires.
    Entry,
    /// Whether a key is there.
    There,
    /// How long a key is there.
    Ttl,
    /// A number after an addition.
    Number,
    /// Names of keys.
    Names,
    /// Keys with values.
    Entries,
    /// What a queue is like.
    Queue,
    /// What became of a request about limits.
    Limits,
}

/// A key that a client shows; never shown itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Box<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Ask {
    fn of(command: Command, want: Want) -> Self {
        Self::Do(command, want)
    }

    pub(super) fn enqueue(queue: QueueName, message: Message, level: Option<Level>) -> Self {
        Self::of(publish(Destination::Queue(queue), message, level), Want::Enqueued)
    }

    pub(super) fn publish(topic: Topic, message: Message, level: Option<Level>) -> Self {
        Self::of(publish(Destination::Topic(topic), message, level), Want::Published)
    }

    pub(super) fn dequeue(
        queue: QueueName,
        wait: Option<Duration>,
        lease: Option<Duration>,
    ) -> Self {
        let from = Source::Queue(queue);
        let wait = wait.filter(|wait| !wait.is_zero());
        Self::of(Command::Receive(Receive { lease, wait, ..Receive::one(from) }), Want::Message)
    }

    pub(super) fn ack(lease: LeaseId) -> Self {
        Self::of(Command::Ack { lease, confirm: Confirm::Always }, Want::Settled)
    }

    pub(super) fn nack(lease: LeaseId, outcome: Outcome) -> Self {
        Self::of(Command::Nack { lease, outcome, confirm: Confirm::Always }, Want::Settled)
    }

    pub(super) fn extend(lease: LeaseId, by: Duration) -> Self {
        Self::of(Command::Extend { lease, by, confirm: Confirm::Always }, Want::Extended)
    }

    pub(super) fn kv(request: KvRequest, want: Want) -> Self {
        Self::of(Command::Kv(request), want)
    }

    pub(super) fn limits(request: LimitRequest) -> Self {
        Self::of(Command::Limit(Box::new(request)), Want::Limits)
    }

    pub(super) fn queue_stats(name: QueueName) -> Self {
        Self::of(Command::Queue(Box::new(QueueRequest::Stats { name })), Want::Queue)
    }

    /// Whether limits on requests don't count it: what gives something back, ends something, or is
    /// about limits themselves.
    pub fn is_exempt(&self) -> bool {
        match self {
            Self::Do(command, _) => matches!(
                command,
                Command::Ack { .. }
                    | Command::Nack { .. }
                    | Command::Extend { .. }
                    | Command::Limit(_)
            ),
            Self::Auth(_)
            | Self::Shutdown
            | Self::Help
            | Self::Quit
            | Self::Info
            | Self::Stats
            | Self::Unsubscribe(_)
            | Self::Unwatch(_) => true,
            Self::Ping | Self::Echo(_) | Self::Subscribe(_) | Self::Watch { .. } => false,
        }
    }
}

fn publish(to: Destination, message: Message, level: Option<Level>) -> Command {
    let (qos, confirm) = (Qos::AtLeastOnce, Confirm::Always);
    Command::Publish(Publish { to, qos, level, message, confirm })
}
