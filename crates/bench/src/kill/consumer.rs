//! A consumer that acknowledges part of what it gets, and knows what may come and what must.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::message::{Id, topic_name};
use super::publisher::Publisher;
use super::{KillError, gone};
use crate::random::Random;
use crate::v1::{Client, ClientError, Delivered};

/// Messages asked for at once.
const BATCH: usize = 128;
/// Pause after a batch that was empty, under load.
const PAUSE: Duration = Duration::from_micros(500);
/// Of a hundred messages, so many are acknowledged at once; the others when they come again.
const ACKED_PERCENT: u64 = 90;

/// What is known of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It has not come yet.
    #[default]
    Unseen,
    /// It came and was not acknowledged.
    Delivered,
    /// It was acknowledged, and no PONG says that this holds.
    AckSent,
    /// It must never come again.
    Acked,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    state: State,
    /// The connection that it came on last.
    connection: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) delivered: u64,
    pub(super) redelivered: u64,
    pub(super) acked: u64,
}

struct Connection {
    client: Client,
    subscription: u64,
}

pub(super) struct Consumer {
    topic: Option<u64>,
    topics: u64,
    random: Random,
    connection: Option<Connection>,
    connections: u32,
    /// By publisher and number.
    seen: Vec<Vec<Seen>>,
    /// By publisher, the newest number that ever came.
    newest: Vec<Option<u64>>,
    /// By publisher, the newest that came on this connection.
    newest_here: Vec<Option<u64>>,
    /// Acknowledged since the last PONG.
    acks: Vec<Id>,
    cut_short: bool,
    scratch: Vec<u8>,
    pub(super) counts: Counts,
}

fn broken(what: &str, id: Id, topic: Option<u64>) -> KillError {
    let Id { publisher, number } = id;
    KillError::Broken(format!(
        "message {number} of publisher {publisher} {what} on {}",
        topic_name(topic)
    ))
}

impl Consumer {
    pub(super) fn new(topic: Option<u64>, topics: u64, publishers: u32, random: Random) -> Self {
        let publishers = publishers as usize;
        Self {
            topic,
            topics,
            random,
            connection: None,
            connections: 0,
            seen: vec![Vec::new(); publishers],
            newest: vec![None; publishers],
            newest_here: vec![None; publishers],
            acks: Vec::new(),
            cut_short: false,
            scratch: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Whether acknowledgements were in flight when the broker was killed.
    pub(super) fn was_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Connects anew and takes over its subscription.
    pub(super) fn connect(&mut self, addr: SocketAddr) -> Result<(), ClientError> {
        let mut client = Client::connect(addr, None)?;
        let subscription = client.subscribe(&topic_name(self.topic), 1)?;
        self.connection = Some(Connection { client, subscription });
        self.connections += 1;
        self.newest_here.fill(None);
        self.acks.clear();
        Ok(())
    }

    /// Takes all there is.
    pub(super) fn drain(&mut self, ack_all: bool) -> Result<(), KillError> {
        let percent = if ack_all { 100 } else { ACKED_PERCENT };
        while self.step(percent)? > 0 {}
        Ok(())
    }

    /// Takes what comes until the broker is gone.
    pub(super) fn consume(&mut self) -> Result<(), KillError> {
        loop {
            match self.step(ACKED_PERCENT) {
                Ok(0) => thread::sleep(PAUSE),
                Ok(_) => {}
                Err(KillError::Client(error)) => {
                    self.cut_short = !self.acks.is_empty();
                    return gone(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes one batch and acknowledges some of it. Gives how much there was.
    fn step(&mut self, acked_percent: u64) -> Result<usize, KillError> {
        let Some(mut connection) = self.connection.take() else { return Ok(0) };
        let Connection { client, subscription } = &mut connection;
        let batch = client.take(*subscription, BATCH)?;
        // The PONG behind the batch answers for the acknowledgements before it.
        for id in std::mem::take(&mut self.acks) {
            self.entry(id).state = State::Acked;
            self.counts.acked += 1;
        }
        for delivered in &batch {
            let id = self.take_in(delivered)?;
            if self.random.chance(acked_percent) {
                client.ack(*subscription, delivered.tag)?;
                self.entry(id).state = State::AckSent;
                self.acks.push(id);
            }
        }
        self.connection = Some(connection);
        Ok(batch.len())
    }

    fn entry(&mut self, id: Id) -> &mut Seen {
        let seen = &mut self.seen[id.publisher as usize];
        let at = id.number as usize;
        if seen.len() <= at {
            seen.resize(at + 1, Seen::default());
        }
        &mut seen[at]
    }

    /// Holds one delivery against what may come.
    fn take_in(&mut self, delivered: &Delivered) -> Result<Id, KillError> {
        let (topic, topics) = (self.topic, self.topics);
        let id = Id::read(&delivered.message, &mut self.scratch)
            .filter(|id| (id.publisher as usize) < self.seen.len())
            .ok_or_else(|| KillError::Broken("a message is not what was published".into()))?;
        if delivered.topic != topic_name(Some(id.topic(topics))) || !self.wants(id) {
            return Err(broken("came from another topic", id, topic));
        }
        let publisher = id.publisher as usize;
        if self.newest_here[publisher].replace(id.number) >= Some(id.number) {
            return Err(broken("came behind a later one of the same connection", id, topic));
        }
        let connection = self.connections;
        let seen = self.entry(id);
        seen.connection = connection;
        match std::mem::replace(&mut seen.state, State::Delivered) {
            State::Acked => return Err(broken("came after its ack was confirmed", id, topic)),
            State::Delivered | State::AckSent => self.counts.redelivered += 1,
            State::Unseen => {
                self.counts.delivered += 1;
                if self.newest[publisher].replace(id.number) >= Some(id.number) {
                    return Err(broken("first came behind a later one", id, topic));
                }
            }
        }
        Ok(id)
    }

    fn wants(&self, id: Id) -> bool {
        self.topic.is_none_or(|topic| topic == id.topic(self.topics))
    }

    /// After a drain: whatever was confirmed and not acknowledged has come on this connection,
    /// and what did not come although its ack was in doubt is acknowledged for good.
    pub(super) fn compare(&mut self, publishers: &[Publisher]) -> Result<(), KillError> {
        for (publisher, numbers) in (0..).zip(publishers) {
            let sent = numbers.sent();
            let seen = &mut self.seen[publisher as usize];
            if seen.len() as u64 > sent {
                let id = Id { publisher, number: seen.len() as u64 - 1 };
                return Err(broken("came and was never published", id, self.topic));
            }
            seen.resize(sent as usize, Seen::default());
            for (number, confirmed) in (0..).zip(numbers.confirmed()) {
                let id = Id { publisher, number };
                if self.topic.is_some_and(|topic| topic != id.topic(self.topics)) {
                    continue;
                }
                let seen = &mut seen[number as usize];
                match seen.state {
                    _ if seen.connection == self.connections => {}
                    State::AckSent => seen.state = State::Acked,
                    State::Unseen | State::Delivered if *confirmed => {
                        return Err(broken("was confirmed and is missing", id, self.topic));
                    }
                    State::Unseen | State::Delivered | State::Acked => {}
                }
            }
        }
        Ok(())
    }

    /// How many came that were never confirmed.
    pub(super) fn survivors(&self, publishers: &[Publisher]) -> u64 {
        let came = self.seen.iter().zip(publishers).flat_map(|(seen, numbers)| {
            seen.iter()
                .zip(numbers.confirmed())
                .filter(|(seen, confirmed)| seen.state != State::Unseen && !**confirmed)
        });
        came.count() as u64
    }
}
