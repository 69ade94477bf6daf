//! Many delayed messages with random times on a real disk: none is early, none is missing, and a
//! start finds them all again.
//!
//! With `SLUICE_DELAYED=10000000` it measures: what they take in memory, how long a start takes, and
//! how late they come. They are due from a time by which all are published, at 20 000 a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sluice_broker::local::{Entropy, LocalBackend, LocalConfig};
use sluice_broker::{Broker, Session};
use sluice_model::{
    Answer, Command, Confirm, Destination, Extras, Message, PublishBatch, QueueName, QueueRequest,
    QueueSettings, Receive, Reply, Request, Source, Timestamp,
};
use sluice_wal::FileDisk;

use crate::{ask, block_on, open};

const BATCH: u64 = 1_000;
/// Publishing and starting anew should take no longer than this, for each message.
const HEAD_START_NANOS: u64 = 24_000;
const PER_SECOND: u64 = 20_000;

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

fn start(dir: &std::path::Path) -> Broker {
    let config = LocalConfig::default();
    let entropy = Entropy { log_id: 1, seed: 1 };
    let disk = FileDisk::new(dir);
    Broker::new(LocalBackend::open(disk, &config, wall(), entropy, true).unwrap().0)
}

fn queue() -> QueueName {
    QueueName::new("later").unwrap()
}

/// A batch whose messages say when they are due.
fn batch(from: u64, to: u64, due: impl Fn(u64) -> Timestamp) -> Command {
    let message = |number| {
        let at = due(number);
        let payload = Bytes::copy_from_slice(&at.as_millis().to_be_bytes());
        let extras = Extras { deliver_at: Some(at), ..Extras::default() };
        (Destination::Queue(queue()), Message { payload, extras: Some(Box::new(extras)) })
    };
    let messages = (from..to).map(message).collect();
    Command::PublishBatch(Box::new(PublishBatch { messages, level: None }))
}

/// Hands in a request, again if a checkpoint has to come first, and waits for its replies.
fn settle(session: &mut Session, command: Command, into: &mut Vec<Reply>) {
    let mut requests = VecDeque::from([Request { tag: 1, command }]);
    loop {
        session.submit(&mut requests);
        block_on(session.replies());
        session.take_replies(into);
        if requests.is_empty() && !into.is_empty() {
            break;
        }
    }
    session.written(into.iter().map(Reply::weight).sum());
}

/// Takes all messages; gives how late each came, in milliseconds.
fn take_all(session: &mut Session, count: u64) -> Vec<u64> {
    let mut late = Vec::new();
    let mut replies = Vec::new();
    while (late.len() as u64) < count {
        let receive = Receive {
            max: u32::try_from(BATCH).unwrap(),
            wait: Some(Duration::from_secs(30)),
            ..Receive::one(Source::Queue(queue()))
        };
        replies.clear();
        settle(session, Command::Receive(receive), &mut replies);
        let mut acks = VecDeque::new();
        for reply in &replies {
            let delivery = match &reply.answer {
                Answer::Delivered(delivery) => delivery,
                // The first is not due yet.
                Answer::Empty { .. } => continue,
                other => panic!("{other:?}"),
            };
            let due = u64::from_be_bytes(delivery.carried.payload[..].try_into().unwrap());
            let now = wall().as_millis();
            // Broker time runs with the monotonic clock; wall time may be a little off.
            assert!(now + 20 >= due, "{due} came at {now}");
            late.push(now.saturating_sub(due));
            let lease = delivery.lease.unwrap();
            let command = Command::Ack { lease, confirm: Confirm::Refusal };
            acks.push_back(Request { tag: 2, command });
        }
        while !acks.is_empty() {
            session.submit(&mut acks);
        }
    }
    late
}

#[test]
fn delayed_messages_come_when_they_are_due_and_over_a_restart() {
    let count: u64 = std::env::var("SLUICE_DELAYED").map_or(20_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let before = resident_bytes();
    let broker = start(dir.path());
    let mut session = open(&broker);
    let mut settings = QueueSettings::default();
    settings.set_text("max_messages", &(count + 1).to_string()).unwrap();
    settings.set_text("max_bytes", "1000000000000").unwrap();
    let declare = QueueRequest::Declare { name: queue(), settings, update: false };
    ask(&mut session, vec![Command::Queue(Box::new(declare))]);
    let first =
        wall().after(Duration::from_nanos(count * HEAD_START_NANOS) + Duration::from_secs(1));
    let span = count * 1_000 / PER_SECOND;
    // Spread by a multiplicative hash, so that the times are in no order.
    let due = |number: u64| {
        let at = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) % span;
        first.after(Duration::from_millis(at))
    };
    let began = Instant::now();
    let mut replies = Vec::new();
    for from in (0..count).step_by(BATCH as usize) {
        replies.clear();
        settle(&mut session, batch(from, (from + BATCH).min(count), due), &mut replies);
        assert!(matches!(replies[0].answer, Answer::PublishedBatch(_)), "{replies:?}");
    }
    let (published, resident) = (began.elapsed(), resident_bytes().saturating_sub(before));
    drop(session);
    broker.stop().unwrap();
    drop(broker);
    let began = Instant::now();
    let broker = start(dir.path());
    let started = began.elapsed();
    if wall() >= first {
        println!("publishing and starting anew took so long that many are late by that");
    }
    let mut session = open(&broker);
    let mut late = take_all(&mut session, count);
    late.sort_unstable();
    let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize];
    println!(
        "{count} delayed messages: published in {published:.1?}, {} bytes of memory each, started \
         in {started:.2?}, late by {} ms at the median, {} ms at p99, {} ms at most",
        resident / count,
        at(0.5),
        at(0.99),
        at(1.0)
    );
    drop(session);
    assert_eq!(broker.stats().acked, count);
    broker.stop().unwrap();
}
