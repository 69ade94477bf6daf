//! Connections that are cut, half-closed or robbed of answers at any byte: what was told about each
//! message is true.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use sluice_chaos::Plan;
use sluice_client::{
    Client, Extras, Message, Options, PublishError, QueueName, QueueSettings, Receive,
};
use tokio::time::timeout;

use crate::fake::{PATIENCE, options};
use crate::real::{Way, connect, proxy, start};

/// Messages that are on their way at once.
const WAVE: usize = 25;

/// A payload that says which message it is.
fn payload(number: u32) -> Bytes {
    format!("{number:040}").into()
}

/// A way to the broker that breaks after a few bytes, again and again, `cuts` times.
async fn cutter(broker: SocketAddr, cuts: u64, seed: u64) -> (String, Way) {
    let (cut, faulty) = (Some(3_000), Some(cuts));
    let plan = Plan { seed, cut, half_close: cut, drop_answers: cut, faulty, ..Plan::default() };
    proxy(broker, plan).await
}

/// How often each message is in the queue.
async fn found(client: &Client, queue: &QueueName) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    loop {
        let receive = Receive { max: 1_000, ..Receive::default() };
        let received = client.receive(queue.as_str(), receive).await.unwrap();
        if received.is_empty() {
            return found;
        }
        for delivery in received {
            let number = std::str::from_utf8(delivery.payload()).unwrap().parse().unwrap();
            *found.entry(number).or_default() += 1;
        }
    }
}

async fn published(
    client: &Client,
    queue: &QueueName,
    messages: u32,
    message: impl Fn(u32) -> Message,
) -> Vec<Result<(), PublishError>> {
    let to = client.to_queue(queue.as_str());
    let numbers: Vec<u32> = (0..messages).collect();
    let mut outcomes = Vec::new();
    for wave in numbers.chunks(WAVE) {
        let mut confirms = Vec::new();
        for number in wave {
            confirms.push(to.publish(message(*number)).await);
        }
        for confirm in confirms {
            outcomes.push(timeout(PATIENCE, confirm).await.unwrap().map(|_| ()));
        }
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_dedupe_ids_each_message_is_there_once_whatever_is_cut() {
    const MESSAGES: u32 = 600;
    for seed in 0..4 {
        let (_data, real) = start().await;
        let direct = real.client().await;
        let queue = QueueName::new("jobs").unwrap();
        direct.declare(&queue, QueueSettings::default()).await.unwrap();
        let (addr, cutting) = cutter(real.addr, 12, seed).await;
        let client = connect(&addr, options()).await;
        let message = |number: u32| {
            let dedupe_id = Some(number.to_string());
            let extras = Extras { dedupe_id, ..Extras::default() };
            Message { payload: payload(number), extras: Some(Box::new(extras)) }
        };
        let outcomes = published(&client, &queue, MESSAGES, message).await;
        assert!(outcomes.iter().all(Result::is_ok), "seed {seed}: {outcomes:?}");
        let found = found(&direct, &queue).await;
        assert_eq!(found, (0..MESSAGES).map(|number| (number, 1)).collect(), "seed {seed}");
        let tally = cutting.stop().await;
        assert_eq!(tally.cut + tally.half_closed, 12, "seed {seed}: {tally:?}");
        drop(direct);
        real.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_each_message_is_true_whatever_is_cut() {
    const MESSAGES: u32 = 600;
    for (seed, resend) in [(5, false), (6, false), (7, true), (8, true)] {
        let (_data, real) = start().await;
        let direct = real.client().await;
        let queue = QueueName::new("jobs").unwrap();
        direct.declare(&queue, QueueSettings::default()).await.unwrap();
        let (addr, cutting) = cutter(real.addr, 12, seed).await;
        let options = Options { resend_unconfirmed: resend, ..options() };
        let client = connect(&addr, options).await;
        let message = |number: u32| Message::plain(payload(number));
        let outcomes = published(&client, &queue, MESSAGES, message).await;
        let found = found(&direct, &queue).await;
        for (number, outcome) in (0..).zip(outcomes) {
            let times = found.get(&number).copied().unwrap_or_default();
            match outcome {
                Ok(()) if resend => assert!(times >= 1, "seed {seed}: {number} is missing"),
                Ok(()) => assert_eq!(times, 1, "seed {seed}: {number}"),
                Err(PublishError::Indeterminate(_)) if !resend => assert!(times <= 1),
                Err(error) => panic!("seed {seed}: {number}: {error}"),
            }
        }
        let tally = cutting.stop().await;
        assert_eq!(tally.cut + tally.half_closed, 12, "seed {seed}: {tally:?}");
        drop(direct);
        real.stop().await;
    }
}
