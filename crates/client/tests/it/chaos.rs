//! Publishers and consumers whose connections are cut, half-closed, throttled, delayed and robbed
//! of their answers: what was told is true, nothing is doubled, nothing hangs.
//!
//! The seeds below and as many more as a second allows, counted from 1, are played; the variable
//! `SLUICE_CHAOS_SECONDS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_chaos::{Plan, Tally};
use sluice_client::{
    Client, Consume, Consumer, Delivery, Error, Extras, Message, MessageId, Options, Publisher,
    QueueName, QueueSettings, Receive,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake::{PATIENCE, options};
use crate::real::{Real, connect, proxy, start};

const PUBLISHERS: u32 = 2;
const CONSUMERS: u32 = 2;
/// Messages of each publisher.
const MESSAGES: u32 = 250;
/// Messages that are on their way at once.
const WAVE: u32 = 20;
/// Connections that are harmed before one may last.
const FAULTY: u64 = 40;
/// How long it goes on where nobody says otherwise.
const SECONDS: u64 = 6;

/// What was heard of the deliveries of a message.
#[derive(Debug, Default)]
struct Heard {
    ids: BTreeSet<MessageId>,
    /// The attempts that were delivered.
    attempts: BTreeSet<u32>,
    /// The attempt whose acknowledgement was confirmed.
    acked: Option<u32>,
    /// Attempts whose leases were told to be lost: the message was to come again.
    lost: BTreeSet<u32>,
    /// Acknowledgements that were told to be in doubt.
    doubted: u32,
}

type Record = Arc<Mutex<BTreeMap<u32, Heard>>>;

/// Harm of one kind or several, by the seed.
fn plan(seed: u64) -> Plan {
    let bound = |bit: u64, bytes| (seed & bit != 0 || seed.is_multiple_of(8)).then_some(bytes);
    let ms = Duration::from_millis;
    Plan {
        seed,
        cut: bound(1, 4_000),
        half_close: bound(2, 4_000),
        drop_answers: bound(4, 4_000),
        delay: (seed % 5 == 3).then_some((ms(0), ms(3))),
        throttle: (seed % 7 == 5).then_some(100_000),
        faulty: Some(FAULTY),
    }
}

/// A lost connection is a failure of all that it held: they come again at once, however often.
fn settings() -> QueueSettings {
    let mut settings = QueueSettings::default();
    for (name, value) in [("max_failures", "0"), ("backoff_min_ms", "1"), ("backoff_max_ms", "2")] {
        settings.set_text(name, value).unwrap();
    }
    settings
}

fn message(number: u32) -> Message {
    let dedupe_id = Some(number.to_string());
    let extras = Extras { dedupe_id, ..Extras::default() };
    Message { payload: format!("{number:020}").into(), extras: Some(Box::new(extras)) }
}

fn number(delivery: &Delivery) -> u32 {
    std::str::from_utf8(delivery.payload()).unwrap().parse().unwrap()
}

/// Publishes its share. With dedupe ids each of them is taken in the end.
async fn publish(to: Publisher, first: u32) {
    for wave in (first..first + MESSAGES).step_by(WAVE as usize) {
        let mut confirms = Vec::new();
        for number in wave..(wave + WAVE).min(first + MESSAGES) {
            confirms.push(to.publish(message(number)).await);
        }
        for confirm in confirms {
            confirm.await.expect("with a dedupe id it is tried until it is taken");
        }
    }
}

/// Consumes until all is done. Every third message is settled without an answer.
async fn consume(mut jobs: Consumer, record: Record, mut done: watch::Receiver<bool>) {
    loop {
        let delivery = tokio::select! {
            next = jobs.next() => next.unwrap().expect("the client is open"),
            _ = done.wait_for(|done| *done) => return,
        };
        let (number, attempt) = (number(&delivery), delivery.attempt());
        {
            let mut record = record.lock().unwrap();
            let heard = record.entry(number).or_default();
            heard.ids.extend(delivery.id());
            assert!(heard.attempts.insert(attempt), "{number}: attempt {attempt} came twice");
            // Another connection may have been cut with this delivery in it, so an earlier attempt
            // may be heard late. A later one says that the acknowledgement was forgotten.
            let back = heard.acked.is_some_and(|acked| acked < attempt);
            assert!(!back, "{number} was acknowledged and came again: {heard:?}");
        }
        let told = match number % 3 {
            0 => delivery.ack(),
            _ => timeout(PATIENCE, delivery.ack_confirmed()).await.expect("an ack hangs"),
        };
        let mut record = record.lock().unwrap();
        let heard = record.get_mut(&number).unwrap();
        match told {
            Ok(()) if number % 3 == 0 => {}
            Ok(()) => {
                let newest = heard.attempts.last() == Some(&attempt);
                assert!(newest && heard.acked.is_none(), "{number} {attempt}: {heard:?}");
                heard.acked = Some(attempt);
            }
            Err(Error::LeaseLost) => drop(heard.lost.insert(attempt)),
            Err(Error::Lost) => heard.doubted += 1,
            Err(error) => panic!("{number}: {error}"),
        }
    }
}

/// Asks for the queue's counters until it is empty.
async fn until_empty(client: &Client, queue: &QueueName) {
    loop {
        let stats = timeout(PATIENCE, client.stats(queue)).await.expect("a request hangs").unwrap();
        let counts = stats.counts;
        if counts.ready + counts.delayed + counts.leased == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// All clients of a round, through the proxy, until the queue is empty.
async fn round(real: &Real, queue: &QueueName, addr: &str) -> BTreeMap<u32, Heard> {
    let (record, options) = (Record::default(), short_options());
    let (tell_done, done) = watch::channel(false);
    let consumers = (0..CONSUMERS).map(|number| {
        let (record, done, options) = (Arc::clone(&record), done.clone(), options.clone());
        let (addr, queue) = (addr.to_owned(), queue.clone());
        tokio::spawn(async move {
            let client = connect(&addr, options).await;
            let consume_as = Consume { prefetch: 8 + number * 50, ..Consume::default() };
            let jobs = client.consume(queue.as_str(), consume_as).await.unwrap();
            consume(jobs, record, done).await;
        })
    });
    let consumers: Vec<JoinHandle<()>> = consumers.collect();
    let publishers = (0..PUBLISHERS).map(|number| {
        let (addr, queue, options) = (addr.to_owned(), queue.clone(), options.clone());
        tokio::spawn(async move {
            let client = connect(&addr, options).await;
            publish(client.to_queue(queue.as_str()), number * MESSAGES).await;
        })
    });
    let publishers: Vec<JoinHandle<()>> = publishers.collect();
    for publisher in publishers {
        timeout(PATIENCE, publisher).await.expect("a publisher hangs").unwrap();
    }
    // A look through the harmed way and one past it.
    let client = connect(addr, options).await;
    let looked = timeout(PATIENCE, client.stats(queue)).await.expect("a request hangs");
    assert!(matches!(looked, Ok(_) | Err(Error::Lost)), "{looked:?}");
    let direct = real.client().await;
    timeout(PATIENCE, until_empty(&direct, queue)).await.expect("a consumer hangs");
    tell_done.send(true).unwrap();
    for consumer in consumers {
        timeout(PATIENCE, consumer).await.expect("a consumer hangs").unwrap();
    }
    Arc::try_unwrap(record).unwrap().into_inner().unwrap()
}

/// As in other tests, but a peer that is half gone is noticed soon.
fn short_options() -> Options {
    Options { silence_max: Duration::from_secs(2), ..options() }
}

/// What was told in a round is true.
fn check(seed: u64, record: &BTreeMap<u32, Heard>) {
    let numbers: Vec<u32> = record.keys().copied().collect();
    let all: Vec<u32> = (0..PUBLISHERS * MESSAGES).collect();
    assert_eq!(numbers, all, "seed {seed}: a message that was confirmed never came");
    for (number, heard) in record {
        assert_eq!(heard.ids.len(), 1, "seed {seed}: {number} is there twice: {heard:?}");
        // Whoever is told that a message comes again waits for it.
        let newest = heard.attempts.last().copied().unwrap_or_default();
        let came = heard.lost.last().is_none_or(|lost| *lost < newest);
        assert!(came, "seed {seed}: {number} was to come again: {heard:?}");
    }
}

async fn play(seed: u64) -> Tally {
    let (_data, real) = start().await;
    let direct = real.client().await;
    let queue = QueueName::new("jobs").unwrap();
    direct.declare(&queue, settings()).await.unwrap();
    let (addr, proxy) = proxy(real.addr, plan(seed)).await;
    let record = round(&real, &queue, &addr).await;
    check(seed, &record);
    let stats = direct.stats(&queue).await.unwrap();
    let all = u64::from(PUBLISHERS * MESSAGES);
    assert_eq!((stats.published, stats.acked), (all, all), "seed {seed}");
    let left = direct.receive(queue.as_str(), Receive::default()).await.unwrap();
    assert!(left.is_empty(), "seed {seed}: {left:?}");
    drop(direct);
    let tally = proxy.stop().await;
    real.stop().await;
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_connections_what_was_told_is_true_and_nothing_hangs() {
    let seconds = std::env::var("SLUICE_CHAOS_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut total = Tally::default();
    let mut rounds = 0;
    for seed in 1.. {
        // All kinds of harm, however slow the machine.
        if Instant::now() > until && seed > 8 {
            break;
        }
        total += play(seed).await;
        rounds += 1;
    }
    println!("{rounds} rounds: {total:?}");
    assert!(total.cut > 100 && total.half_closed > 50 && total.answers_dropped > 50, "{total:?}");
    assert!(total.delayed > 0 && total.throttled > 0, "{total:?}");
}
