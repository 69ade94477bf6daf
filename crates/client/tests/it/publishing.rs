//! Every publish has one outcome, whatever happens on the way.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use sluice_client::{Confirm, Error, Extras, Level, Message, Options, PublishError, Retry};
use sluice_model::{Code, MessageId, Published, Refusal};
use sluice_protocol::binary::frame::LENGTH_MAX;
use sluice_protocol::binary::v2::{
    ClientFrame, FrameType, ReceiptWriter, put_confirm, put_going, put_pong,
};
use tokio::time::timeout;

use crate::fake::{Fake, PATIENCE, options};

fn deduped(payload: &'static str) -> Message {
    let extras = Extras { dedupe_id: Some(payload.to_owned()), ..Extras::default() };
    Message { payload: payload.into(), extras: Some(Box::new(extras)) }
}

async fn outcome(confirm: Confirm) -> Result<Option<Level>, PublishError> {
    timeout(PATIENCE, confirm).await.unwrap().map(|receipt| receipt.level)
}

fn is_open(confirm: &mut Confirm) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    std::pin::Pin::new(confirm).poll(&mut context).is_pending()
}

fn published(counter: u64) -> Published {
    let id = MessageId { start: 1, counter };
    Published { id, matched: 2, level: Some(Level::Sync), duplicate: false }
}

#[tokio::test]
async fn a_confirm_stands_for_all_frames_before_it() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let orders = client.to_topic("orders");
    let mut confirms = Vec::new();
    for round in ["one", "two", "three"] {
        confirms.push(orders.publish(round).await);
        broker.hears_messages(1).await;
    }
    confirms.push(orders.publish("four").await);
    let (id, messages) = broker.hears_messages(1).await;
    assert_eq!(messages, ["four"]);
    put_confirm(&mut broker.out, id - 1, Some(Level::Os));
    broker.say().await;
    let mut last = confirms.pop().unwrap();
    for confirm in confirms {
        assert_eq!(outcome(confirm).await, Ok(Some(Level::Os)));
    }
    assert!(is_open(&mut last));
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    assert_eq!(outcome(last).await, Ok(None));
}

#[tokio::test]
async fn what_waits_goes_out_in_frames_of_the_brokers_size() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let orders = client.to_topic("orders");
    let mut confirms = Vec::new();
    // Nothing is sent before this task lets the other one run.
    for message in 0..250 {
        confirms.push(orders.publish(format!("{message}")).await);
    }
    let mut counts = Vec::new();
    let mut id = 0;
    while counts.iter().sum::<u32>() < 250 {
        let frame = broker.hears(FrameType::Publish).await;
        id = frame.correlation_id;
        match ClientFrame::read(frame.msg_type, &frame.payload, 1 << 16).unwrap() {
            ClientFrame::Publish(publish) => counts.push(publish.messages.count()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, [100, 100, 50]);
    put_confirm(&mut broker.out, id, Some(Level::Sync));
    broker.say().await;
    for confirm in confirms {
        assert_eq!(outcome(confirm).await, Ok(Some(Level::Sync)));
    }
}

#[tokio::test]
async fn a_rejection_is_told_with_code_and_reason() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let confirm = client.to_topic("orders").publish("no").await;
    let (id, _) = broker.hears_messages(1).await;
    broker.refuses(id, 507, "no_space", 0).await;
    match outcome(confirm).await {
        Err(PublishError::Rejected(refused)) => {
            assert!(refused.is(Code::NoSpace));
            assert_eq!(refused.to_string(), "507 no_space: because");
        }
        other => panic!("{other:?}"),
    }
    // The broker's "may or may not" is told as such.
    let confirm = client.to_topic("orders").publish("perhaps").await;
    let (id, _) = broker.hears_messages(1).await;
    broker.refuses(id, 500, "indeterminate", 0).await;
    assert!(matches!(outcome(confirm).await, Err(PublishError::Indeterminate(_))));
}

#[tokio::test]
async fn what_is_too_large_is_rejected_and_its_neighbours_are_not() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let orders = client.to_topic("orders").with_receipts();
    let small = orders.publish(deduped("small")).await;
    let message = Message { payload: vec![0; 70_000].into(), ..deduped("large") };
    let large = orders.publish(message).await;
    let after = orders.publish(deduped("after")).await;
    let (id, messages) = broker.hears_messages(2).await;
    assert_eq!(messages, ["small", "after"]);
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    assert!(outcome(small).await.is_ok() && outcome(after).await.is_ok());
    let large = outcome(large).await;
    assert!(matches!(large, Err(PublishError::Rejected(one)) if one.is(Code::TooLarge)));
}

#[tokio::test]
async fn refused_for_now_is_tried_again_after_the_time_and_not_for_ever() {
    let fake = Fake::new().await;
    let retry = Retry { tries_max: 2, ..options().retry };
    let (client, mut broker) = fake.client(Options { retry, ..options() }).await;
    let confirm = client.to_topic("orders").publish("again").await;
    for (tries, status) in [429, 503, 429].into_iter().enumerate() {
        let (id, messages) = broker.hears_messages(1).await;
        assert_eq!(messages, ["again"]);
        let begin = Instant::now();
        broker.refuses(id, status, "queue_full", 20).await;
        if tries < 2 {
            // The next try is heard by the next round.
            broker.peeks().await;
            assert!(begin.elapsed() >= Duration::from_millis(20));
        }
    }
    let outcome = outcome(confirm).await;
    assert!(matches!(outcome, Err(PublishError::Rejected(refused)) if refused.status == 429));
}

#[tokio::test]
async fn receipts_tell_each_message_its_own_and_only_the_refused_is_tried_again() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let orders = client.to_queue("orders").with_receipts();
    let confirms =
        [orders.publish("a").await, orders.publish("b").await, orders.publish("c").await];
    let (id, messages) = broker.hears_messages(3).await;
    assert_eq!(messages, ["a", "b", "c"]);
    let mut writer = ReceiptWriter::begin(&mut broker.out, id, LENGTH_MAX).unwrap();
    assert!(writer.push(&published(1)));
    assert!(writer.push_refused(&Refusal::new(Code::QueueFull, "full")));
    writer.finish(true);
    let mut writer = ReceiptWriter::begin(&mut broker.out, id, LENGTH_MAX).unwrap();
    assert!(writer.push_refused(&Refusal::new(Code::TooLarge, "large")));
    writer.finish(false);
    broker.say().await;
    let (id, messages) = broker.hears_messages(1).await;
    assert_eq!(messages, ["b"]);
    let mut writer = ReceiptWriter::begin(&mut broker.out, id, LENGTH_MAX).unwrap();
    assert!(writer.push(&published(2)));
    writer.finish(false);
    broker.say().await;
    let [a, b, c] = confirms;
    assert_eq!(a.await.unwrap().id, Some(published(1).id));
    assert_eq!(b.await.unwrap().id, Some(published(2).id));
    assert!(matches!(c.await, Err(PublishError::Rejected(one)) if one.is(Code::TooLarge)));
}

#[tokio::test]
async fn a_batch_is_one_frame_or_nothing() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let orders = client.to_topic("orders");
    let too_many = orders.publish_batch(vec!["x"; 101]).await.await;
    assert!(matches!(too_many, Err(PublishError::Rejected(one)) if one.is(Code::TooLarge)));
    assert_eq!(orders.publish_batch(Vec::<&str>::new()).await.await, Ok(Vec::new()));
    let batch = orders.publish_batch(["a", "b"]).await;
    let frame = broker.hears(FrameType::Publish).await;
    match ClientFrame::read(frame.msg_type, &frame.payload, 1 << 16).unwrap() {
        ClientFrame::Publish(publish) => {
            assert!(publish.head.whole);
            assert_eq!(publish.messages.count(), 2);
        }
        other => panic!("{other:?}"),
    }
    put_confirm(&mut broker.out, frame.correlation_id, Some(Level::Sync));
    broker.say().await;
    assert_eq!(batch.await.unwrap().len(), 2);
}

#[tokio::test]
async fn after_a_lost_connection_only_what_does_no_harm_is_sent_again() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let orders = client.to_topic("orders");
    let plain = orders.publish("plain").await;
    let safe = orders.publish(deduped("safe")).await;
    broker.hears_messages(2).await;
    drop(broker);
    assert!(matches!(outcome(plain).await, Err(PublishError::Indeterminate(_))));
    // What is handed in meanwhile comes after what was there before.
    let later = orders.publish("later").await;
    let mut broker = fake.greeted().await;
    let (id, messages) = broker.hears_messages(2).await;
    assert_eq!(messages, ["safe", "later"]);
    put_confirm(&mut broker.out, id, Some(Level::Sync));
    broker.say().await;
    assert!(outcome(safe).await.is_ok() && outcome(later).await.is_ok());
    assert_eq!(client.counters().frames_sent_again, 1);
}

#[tokio::test]
async fn at_least_once_sends_all_again_in_order() {
    let fake = Fake::new().await;
    let options = Options { resend_unconfirmed: true, ..options() };
    let (client, mut broker) = fake.client(options).await;
    let orders = client.to_topic("orders");
    let mut confirms = vec![orders.publish("one").await];
    let (id, _) = broker.hears_messages(1).await;
    for message in ["two", "three"] {
        confirms.push(orders.publish(message).await);
        broker.hears_messages(1).await;
    }
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    assert!(outcome(confirms.remove(0)).await.is_ok());
    drop(broker);
    let mut broker = fake.greeted().await;
    let (id, messages) = broker.hears_messages(2).await;
    assert_eq!(messages, ["two", "three"]);
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    for confirm in confirms {
        assert!(outcome(confirm).await.is_ok());
    }
}

#[tokio::test]
async fn a_client_that_gives_up_tells_all_outcomes() {
    let fake = Fake::new().await;
    let options = Options {
        give_up_after: Some(Duration::from_millis(50)),
        resend_unconfirmed: true,
        ..options()
    };
    let (client, mut broker) = fake.client(options).await;
    let orders = client.to_topic("orders");
    let sent = orders.publish("sent").await;
    broker.hears_messages(1).await;
    drop((broker, fake));
    assert!(matches!(outcome(sent).await, Err(PublishError::Indeterminate(_))));
    let closed = outcome(orders.publish("too late").await).await;
    assert!(matches!(closed, Err(PublishError::Rejected(one)) if one.code == "not_sent"));
}

#[tokio::test]
async fn publishing_waits_for_room_in_the_window() {
    let fake = Fake::new().await;
    let options = Options { window_messages: 2, ..options() };
    let (client, mut broker) = fake.client(options).await;
    let orders = client.to_topic("orders");
    let _first = orders.publish("one").await;
    let _second = orders.publish("two").await;
    let third = tokio::spawn(async move { outcome(orders.publish("three").await).await });
    let (id, _) = broker.hears_messages(2).await;
    client.shows_nothing_more(&mut broker).await;
    assert!(!third.is_finished());
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    let (id, messages) = broker.hears_messages(1).await;
    assert_eq!(messages, ["three"]);
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    assert!(timeout(PATIENCE, third).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_batch_gets_its_room_though_smaller_ones_would_fit_before_it() {
    let fake = Fake::new().await;
    let options = Options { window_messages: 4, ..options() };
    let (client, mut broker) = fake.client(options).await;
    let orders = client.to_topic("orders");
    let mut before = Vec::new();
    for message in ["one", "two", "three"] {
        before.push(orders.publish(message).await);
    }
    let (id, _) = broker.hears_messages(3).await;
    let mut context = Context::from_waker(Waker::noop());
    let mut batch = std::pin::pin!(orders.publish_batch(["a", "b", "c", "d"]));
    assert!(batch.as_mut().poll(&mut context).is_pending());
    // There is room for one, but it came later; and one that gave up keeps nobody waiting.
    let mut later = std::pin::pin!(orders.publish("later"));
    assert!(later.as_mut().poll(&mut context).is_pending());
    {
        let mut gone = std::pin::pin!(orders.publish("gone"));
        assert!(gone.as_mut().poll(&mut context).is_pending());
    }
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    let (whole, heard) = tokio::join!(batch, broker.hears_messages(4));
    assert_eq!(heard.1, ["a", "b", "c", "d"]);
    put_confirm(&mut broker.out, heard.0, None);
    broker.say().await;
    let (later, heard) = tokio::join!(later, broker.hears_messages(1));
    assert_eq!(heard.1, ["later"]);
    put_confirm(&mut broker.out, heard.0, None);
    broker.say().await;
    assert!(timeout(PATIENCE, whole).await.unwrap().is_ok() && outcome(later).await.is_ok());
    assert!(is_open(&mut orders.publish("and on").await));
}

#[tokio::test]
async fn what_every_connection_is_lost_with_is_not_sent_for_ever() {
    let fake = Fake::new().await;
    let retry = Retry { tries_max: 3, ..options().retry };
    let options = Options { resend_unconfirmed: true, retry, ..options() };
    let (client, mut broker) = fake.client(options).await;
    let orders = client.to_topic("orders");
    let (plain, deduped) =
        (orders.publish("plain").await, orders.publish(deduped("deduped")).await);
    for _ in 0..3 {
        assert_eq!(broker.hears_messages(2).await.1, ["plain", "deduped"]);
        drop(broker);
        broker = fake.greeted().await;
    }
    broker.hears_messages(2).await;
    drop(broker);
    for confirm in [plain, deduped] {
        assert!(matches!(outcome(confirm).await, Err(PublishError::Indeterminate(_))));
    }
    // The client goes on.
    let mut broker = fake.greeted().await;
    let next = orders.publish("next").await;
    let (id, messages) = broker.hears_messages(1).await;
    assert_eq!(messages, ["next"]);
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    assert!(outcome(next).await.is_ok());
}

#[tokio::test]
async fn at_most_once_is_followed_by_its_fence() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let news = client.to_topic("news");
    for message in ["a", "b"] {
        news.send(message).await.unwrap();
    }
    let flushing = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    let (_, messages) = broker.hears_messages(2).await;
    assert_eq!(messages, ["a", "b"]);
    let ping = broker.hears(FrameType::Ping).await;
    put_pong(&mut broker.out, ping.correlation_id);
    broker.say().await;
    timeout(PATIENCE, flushing).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn while_the_broker_drains_publishes_wait_for_the_next_connection() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    put_going(&mut broker.out, "bye");
    broker.say().await;
    // An answer behind it shows that it was heard.
    client.shows_nothing_more(&mut broker).await;
    let confirm = client.to_topic("orders").publish("waits").await;
    drop(broker);
    let mut broker = fake.greeted().await;
    let (id, messages) = broker.hears_messages(1).await;
    assert_eq!(messages, ["waits"]);
    put_confirm(&mut broker.out, id, None);
    broker.say().await;
    assert!(outcome(confirm).await.is_ok());
}

/// Goes on when all that the client has to say was said.
trait Quiet {
    async fn shows_nothing_more(&self, broker: &mut crate::fake::Connection);
}

impl Quiet for sluice_client::Client {
    async fn shows_nothing_more(&self, broker: &mut crate::fake::Connection) {
        let asking = tokio::spawn({
            let client = self.clone();
            async move { client.control("queue.list", "{}").await }
        });
        let control = broker.hears(FrameType::Control).await;
        let id = control.correlation_id;
        sluice_protocol::binary::v2::put_result(&mut broker.out, id, b"{}").unwrap();
        broker.say().await;
        timeout(PATIENCE, asking).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_flush_tells_each_handle_once_that_messages_at_most_once_may_be_lost() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let other = client.clone();
    client.to_topic("news").send("x").await.unwrap();
    broker.hears_messages(1).await;
    drop(broker);
    let mut broker = fake.greeted().await;
    for (handle, lost) in [(&client, true), (&other, true), (&client, false), (&other, false)] {
        let answering = async {
            let id = broker.hears(FrameType::Ping).await.correlation_id;
            put_pong(&mut broker.out, id);
            broker.say().await;
        };
        let (flushed, ()) = tokio::join!(handle.flush(), answering);
        assert_eq!(matches!(flushed, Err(Error::Lost)), lost, "{flushed:?}");
        assert_eq!(flushed.is_ok(), !lost);
    }
    // What was answered for before the connection was lost has arrived.
    client.to_topic("news").send("y").await.unwrap();
    broker.hears_messages(1).await;
    let answering = async {
        let id = broker.hears(FrameType::Ping).await.correlation_id;
        put_pong(&mut broker.out, id);
        broker.say().await;
    };
    let (flushed, ()) = tokio::join!(other.flush(), answering);
    flushed.unwrap();
    drop(broker);
    let mut broker = fake.greeted().await;
    let answering = async {
        let id = broker.hears(FrameType::Ping).await.correlation_id;
        put_pong(&mut broker.out, id);
        broker.say().await;
    };
    let (flushed, ()) = tokio::join!(client.flush(), answering);
    flushed.unwrap();
}
