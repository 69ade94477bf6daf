//! The client and the broker that is shipped, together.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_client::{
    Client, Consume, Consumer, Delivery, Error, Extras, Filter, Lane, Level, Message, Options,
    Outcome, PublishError, Purge, QueueName, QueueSettings, Receive, Redrive, Settle, Subscribe,
};
use sluice_model::Code;
use tokio::time::timeout;

use crate::fake::{PATIENCE, options};
use crate::real::{Real, start};

async fn declared(client: &Client, name: &str, settings: &[(&str, &str)]) -> QueueName {
    let queue = QueueName::new(name).unwrap();
    let mut chosen = QueueSettings::default();
    for (name, value) in settings {
        chosen.set_text(name, value).unwrap();
    }
    assert!(client.declare(&queue, chosen).await.unwrap().created);
    queue
}

async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().expect("a message")
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.payload().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_come_once_and_in_order() {
    let (_data, real) = start().await;
    let client = real.client().await;
    declared(&client, "jobs", &[]).await;
    let mut jobs = client.consume("jobs", Consume::default()).await.unwrap();
    let to = client.to_queue("jobs");
    let publishing = tokio::spawn(async move {
        let mut confirms = Vec::new();
        for number in 0..10_000 {
            confirms.push(to.publish(format!("{number}")).await);
        }
        for confirm in confirms {
            assert_eq!(confirm.await.unwrap().level, Some(Level::Sync));
        }
    });
    for number in 0..10_000 {
        let job = next(&mut jobs).await;
        assert_eq!(text(&job), number.to_string());
        job.ack().unwrap();
    }
    timeout(PATIENCE, publishing).await.unwrap().unwrap();
    client.flush().await.unwrap();
    let stats = client.stats(&QueueName::new("jobs").unwrap()).await.unwrap();
    assert_eq!((stats.published, stats.acked, stats.counts.ready), (10_000, 10_000, 0));
    assert_eq!(client.counters().settlements_refused, 0);
    drop(jobs);
    client.close().await.unwrap();
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_subscription_outlives_a_restart_and_its_consumer_goes_on() {
    let (data, real) = start().await;
    let addr = real.addr;
    let client = real.client().await;
    let subscribe = Subscribe::durable("audit");
    let mut audit = client.subscribe("orders.*", subscribe).await.unwrap();
    let orders = client.to_topic("orders.eu").with_receipts();
    let receipt = orders.publish("one").await.await.unwrap();
    assert_eq!((receipt.matched, receipt.level), (Some(1), Some(Level::Sync)));
    let first = next(&mut audit).await;
    assert_eq!((first.topic(), first.id()), ("orders.eu", receipt.id));
    first.ack_confirmed().await.unwrap();
    let held = next_after(&orders, "two", &mut audit).await;
    real.stop().await;
    let real = Real::start_at(data.path(), addr).await;
    assert!(matches!(held.ack(), Err(Error::LeaseLost)));
    // It comes again, to the same consumer, by the next connection.
    let again = next(&mut audit).await;
    assert_eq!(text(&again), "two");
    again.ack_confirmed().await.unwrap();
    let third = next_after(&orders, "three", &mut audit).await;
    third.ack().unwrap();
    drop(audit);
    client.close().await.unwrap();
    real.stop().await;
}

async fn next_after(
    orders: &sluice_client::Publisher,
    payload: &'static str,
    audit: &mut Consumer,
) -> Delivery {
    orders.publish(payload).await.await.unwrap();
    let delivery = next(audit).await;
    assert_eq!(text(&delivery), payload);
    delivery
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_through_restarts_loses_nothing() {
    const MESSAGES: u32 = 3_000;
    let (data, real) = start().await;
    let addr = real.addr;
    let options = Options { resend_unconfirmed: true, ..options() };
    let client = real.client_with(options).await;
    let queue = declared(&client, "jobs", &[]).await;
    let to = client.to_queue("jobs");
    let publishing = tokio::spawn(async move {
        let mut confirms = Vec::new();
        for number in 0..MESSAGES {
            confirms.push(to.publish(format!("{number}")).await);
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for confirm in confirms {
            confirm.await.unwrap();
        }
    });
    let mut real = real;
    for _ in 0..3 {
        real.stop().await;
        real = Real::start_at(data.path(), addr).await;
    }
    timeout(PATIENCE, publishing).await.unwrap().unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < MESSAGES as usize {
        let receive = Receive { max: 500, wait: PATIENCE, ..Receive::default() };
        let received = client.receive(queue.as_str(), receive).await.unwrap();
        assert!(!received.is_empty(), "{} of {MESSAGES}", seen.len());
        for delivery in received {
            seen.insert(text(&delivery).parse::<u32>().unwrap());
            delivery.ack().unwrap();
        }
    }
    client.close().await.unwrap();
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_a_message_has_comes_with_it() {
    let (_data, real) = start().await;
    let client = real.client().await;
    declared(&client, "jobs", &[]).await;
    let to = client.to_queue("jobs").with_receipts().at_least(Level::Sync);
    let message = |dedupe_id: &str| {
        let lane = Lane {
            priority: 8,
            group: Some("eu".into()),
            keys: vec!["stripe:7".into()],
            ..Lane::default()
        };
        let extras = Extras {
            headers: vec![("type".to_owned(), "text".to_owned())],
            lane,
            dedupe_id: Some(dedupe_id.to_owned()),
            ..Extras::default()
        };
        Message { payload: "x".into(), extras: Some(Box::new(extras)) }
    };
    let first = to.publish(message("a")).await.await.unwrap();
    let second = to.publish(message("a")).await.await.unwrap();
    assert!(!first.duplicate && second.duplicate && first.id == second.id);
    let batch = to.publish_batch([message("b"), message("c")]).await.await.unwrap();
    assert_eq!(batch.len(), 2);
    let received = client.receive("jobs", Receive { max: 10, ..Receive::default() }).await.unwrap();
    assert_eq!(received.len(), 3);
    let delivery = &received[0];
    assert_eq!(delivery.headers(), [("type".to_owned(), "text".to_owned())]);
    assert_eq!((delivery.priority(), delivery.group()), (8, Some("eu")));
    assert_eq!(delivery.keys().collect::<Vec<_>>(), ["stripe:7"]);
    assert_eq!((delivery.id(), delivery.attempt()), (first.id, 1));
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_waited_for_and_then_takes_the_message() {
    let (_data, real) = start().await;
    let client = real.client().await;
    declared(&client, "jobs", &[("max_messages", "1")]).await;
    let to = client.to_queue("jobs");
    to.publish("first").await.await.unwrap();
    let mut second = Box::pin(async { to.publish("second").await.await });
    tokio::select! {
        _ = &mut second => panic!("the queue is full"),
        taken = client.receive("jobs", Receive::default()) => {
            let first = taken.unwrap().pop().unwrap();
            first.ack_confirmed().await.unwrap();
        }
    }
    timeout(PATIENCE, second).await.unwrap().unwrap();
    // Without tries the refusal is told.
    let mut options = options();
    options.retry.tries_max = 0;
    let hasty = real.client_with(options).await;
    let refused = hasty.to_queue("jobs").publish("third").await.await;
    assert!(matches!(refused, Err(PublishError::Rejected(one)) if one.is(Code::QueueFull)));
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_settle_on_any_connection() {
    let (_data, real) = start().await;
    let client = real.client().await;
    let queue = declared(&client, "jobs", &[("max_failures", "1")]).await;
    for payload in ["a", "b"] {
        client.to_queue("jobs").publish(payload).await.await.unwrap();
    }
    let receive = Receive { max: 2, unbound: true, ..Receive::default() };
    let received = client.receive("jobs", receive).await.unwrap();
    let tokens: Vec<_> = received.iter().map(|one| one.token().unwrap()).collect();
    drop(received);
    client.close().await.unwrap();

    let other = real.client().await;
    let (refused, deadline) = other.extend(&tokens, Duration::from_secs(60)).await.unwrap();
    assert!(refused.is_empty() && deadline.as_millis() > 0);
    assert!(other.settle(&tokens[..1], Settle::Ack).await.unwrap().is_empty());
    let failed = Outcome::Failed { delay: None, note: Some("broken".into()) };
    assert!(other.settle(&tokens[1..], Settle::Nack(failed)).await.unwrap().is_empty());
    let again = other.settle(&tokens[1..], Settle::Ack).await.unwrap();
    assert_eq!(again.len(), 1);

    let filter = Filter::default();
    let dead = other.browse(&queue, filter, None, 10).await.unwrap().messages;
    assert_eq!((dead.len(), dead[0].last_error.as_deref()), (1, Some("broken")));
    let peeked = other.peek(&queue, dead[0].id.parse().unwrap()).await.unwrap();
    assert_eq!(peeked.payload.as_deref(), Some("b"));
    let all = Redrive::Matching { reason: None, age_min: None };
    assert_eq!(other.redrive(&queue, all, None).await.unwrap().messages, 1);
    let what = Purge { waiting: true, leased: false, dead: false };
    assert_eq!(other.purge(&queue, what).await.unwrap().messages, 1);
    assert_eq!(other.queues(None, 10).await.unwrap().queues.len(), 1);
    assert_eq!(other.delete(&queue, false).await.unwrap().messages, 0);
    let gone = other.stats(&queue).await;
    assert!(matches!(gone, Err(Error::Refused(refused)) if refused.is(Code::NotFound)));
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_share_and_a_dropped_one_gives_back() {
    let (_data, real) = start().await;
    let client = real.client().await;
    declared(&client, "jobs", &[]).await;
    let to = client.to_queue("jobs");
    for number in 0..20 {
        to.publish(format!("{number}")).await.await.unwrap();
    }
    let consume = Consume { prefetch: 20, ..Consume::default() };
    let mut first = client.consume("jobs", consume).await.unwrap();
    next(&mut first).await.ack().unwrap();
    // It holds 19 that nobody will see; another connection gets them at once.
    drop(first);
    let other = real.client().await;
    let mut second = other.consume("jobs", consume).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 19 {
        let delivery = next(&mut second).await;
        assert_eq!(delivery.failures(), 0);
        seen.insert(text(&delivery));
        delivery.ack().unwrap();
    }
    assert!(!seen.contains("0"));
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_goes_from_memory_to_memory() {
    let (_data, real) = start().await;
    let client = real.client().await;
    let mut news = client.subscribe("news.>", Subscribe::default()).await.unwrap();
    let to = client.to_topic("news.eu");
    for number in 0..1_000 {
        to.send(format!("{number}")).await.unwrap();
    }
    client.flush().await.unwrap();
    for number in 0..1_000 {
        assert_eq!(text(&next(&mut news).await), number.to_string());
    }
    assert_eq!((news.gaps(), client.counters().quiet_errors), (0, 0));
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_may_wait_for_longer_than_the_broker_may_be_silent() {
    let (_data, real) = start().await;
    let silence_max = Duration::from_millis(600);
    let client = real.client_with(Options { silence_max, ..options() }).await;
    declared(&client, "jobs", &[]).await;
    let receive = Receive { wait: Duration::from_millis(1_500), ..Receive::default() };
    assert!(client.receive("jobs", receive).await.unwrap().is_empty());
    // It answered on the first connection.
    assert_eq!(real.counters.snapshot().accepted, 1);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_hears_that_its_queue_is_deleted() {
    let (_data, real) = start().await;
    let client = real.client().await;
    let queue = declared(&client, "jobs", &[]).await;
    let mut jobs = client.consume("jobs", Consume::default()).await.unwrap();
    let other = client.consume("jobs", Consume::default()).await.unwrap();
    drop(other);
    client.delete(&queue, true).await.unwrap();
    let ended = timeout(PATIENCE, jobs.next()).await.unwrap();
    assert!(matches!(ended, Err(Error::Refused(refused)) if refused.is(Code::NotFound)));
    assert!(jobs.next().await.unwrap().is_none());
    // The connection goes on.
    declared(&client, "jobs", &[]).await;
    assert_eq!(real.counters.snapshot().accepted, 1);
    real.stop().await;
}
