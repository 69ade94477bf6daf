//! Pushed messages: credit, settlements in ranges, and the next connection.

use std::time::Duration;

use sluice_client::{Client, Consume, Consumer, Error, Options, Outcome, Subscribe};
use sluice_model::Code;
use sluice_model::Timestamp;
use sluice_protocol::binary::frame::LENGTH_MAX;
use sluice_protocol::binary::v2::{
    ClientFrame, FrameType, SettledWriter, Settlement, TagRange, put_consuming, put_gap, put_ok,
};
use tokio::time::timeout;

use crate::fake::{Connection, Fake, PATIENCE, options};

/// What the broker hears of a consumer, and lets it be number `wire`.
async fn consumes(broker: &mut Connection, wire: u64) -> u32 {
    let frame = broker.next().await.unwrap();
    let credit = match ClientFrame::read(frame.msg_type, &frame.payload, 0).unwrap() {
        ClientFrame::Consume(consume) => {
            assert_eq!(consume.queue, "jobs");
            consume.credit
        }
        ClientFrame::Subscribe(subscribe) => {
            assert_eq!((subscribe.pattern, subscribe.push), ("jobs.>", true));
            subscribe.credit
        }
        other => panic!("{other:?}"),
    };
    put_consuming(&mut broker.out, frame.correlation_id, wire);
    broker.say().await;
    credit
}

async fn consumer(client: &Client, broker: &mut Connection, prefetch: u32) -> Consumer {
    let consume = Consume { prefetch, ..Consume::default() };
    let (consumer, credit) = tokio::join!(client.consume("jobs", consume), consumes(broker, 7));
    assert_eq!(credit, prefetch);
    consumer.unwrap()
}

async fn next(consumer: &mut Consumer) -> sluice_client::Delivery {
    timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().expect("a message")
}

fn settle(frame: &sluice_protocol::Frame<FrameType>) -> (Settlement, bool, Vec<TagRange>) {
    match ClientFrame::read(frame.msg_type, &frame.payload, 0).unwrap() {
        ClientFrame::Settle(settle) => {
            (settle.head.outcome, settle.head.report, settle.leases.ranges().collect())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn acks_leave_as_ranges_and_credit_comes_back_by_halves() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let mut jobs = consumer(&client, &mut broker, 8).await;
    broker.delivers(7, true, 1, &["a", "b", "c", "d", "e"]).await;
    for payload in ["a", "b", "c"] {
        let delivery = next(&mut jobs).await;
        assert_eq!((&delivery.payload()[..], delivery.topic()), (payload.as_bytes(), "jobs"));
        delivery.ack().unwrap();
    }
    drop(next(&mut jobs).await);
    let frame = broker.hears(FrameType::Settle).await;
    assert_eq!(settle(&frame), (Settlement::Ack, false, vec![TagRange { first: 1, last: 3 }]));
    // Three acks and one that was dropped are half of eight.
    let frame = broker.hears(FrameType::Credit).await;
    match ClientFrame::read(frame.msg_type, &frame.payload, 0).unwrap() {
        ClientFrame::Credit(credit) => assert_eq!((credit.consumer, credit.messages), (7, 4)),
        other => panic!("{other:?}"),
    }
    let outcome = Outcome::Failed { delay: None, note: Some("broken".into()) };
    next(&mut jobs).await.nack(outcome).unwrap();
    let frame = broker.hears(FrameType::Settle).await;
    assert_eq!(settle(&frame), (Settlement::Failed, false, vec![TagRange::one(5)]));
}

#[tokio::test]
async fn a_confirmed_ack_hears_what_became_of_it() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let mut jobs = consumer(&client, &mut broker, 8).await;
    broker.delivers(7, true, 1, &["a", "b"]).await;
    let (a, b) = (next(&mut jobs).await, next(&mut jobs).await);
    let acking = tokio::spawn(async { tokio::join!(a.ack_confirmed(), b.ack_confirmed()) });
    let frame = broker.hears(FrameType::Settle).await;
    let both = (Settlement::Ack, true, vec![TagRange { first: 1, last: 2 }]);
    assert_eq!(settle(&frame), both);
    let id = frame.correlation_id;
    let mut writer =
        SettledWriter::begin(&mut broker.out, id, false, Timestamp::EPOCH, LENGTH_MAX).unwrap();
    assert!(writer.push_tag(2, Code::LeaseLost));
    writer.finish(false);
    broker.say().await;
    let (a, b) = timeout(PATIENCE, acking).await.unwrap().unwrap();
    assert!(a.is_ok() && matches!(b, Err(Error::LeaseLost)));
}

#[tokio::test]
async fn a_confirmed_ack_without_an_answer_is_in_doubt() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let mut jobs = consumer(&client, &mut broker, 8).await;
    broker.delivers(7, true, 1, &["a"]).await;
    let delivery = next(&mut jobs).await;
    let acking = tokio::spawn(delivery.ack_confirmed());
    broker.hears(FrameType::Settle).await;
    // It may be on the broker's disk: nobody is told that the message comes again.
    drop(broker);
    let told = timeout(PATIENCE, acking).await.unwrap().unwrap();
    assert!(matches!(told, Err(Error::Lost)), "{told:?}");
}

#[tokio::test]
async fn after_a_lost_connection_leases_are_void_and_the_consumer_goes_on() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let mut jobs = consumer(&client, &mut broker, 8).await;
    broker.delivers(7, true, 1, &["held", "buffered"]).await;
    let held = next(&mut jobs).await;
    drop(broker);
    let mut broker = fake.greeted().await;
    assert_eq!(consumes(&mut broker, 9).await, 8);
    broker.delivers(9, true, 1, &["held again"]).await;
    // What was buffered under the old connection is not handed out.
    let again = next(&mut jobs).await;
    assert_eq!(&again.payload()[..], b"held again");
    assert!(matches!(held.ack(), Err(Error::LeaseLost)));
    again.ack().unwrap();
    let frame = broker.hears(FrameType::Settle).await;
    assert_eq!(settle(&frame).2, [TagRange::one(1)]);
}

#[tokio::test]
async fn a_dropped_consumer_is_cancelled_and_gives_back_what_it_holds() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let mut jobs = consumer(&client, &mut broker, 8).await;
    broker.delivers(7, true, 1, &["taken", "buffered"]).await;
    let taken = next(&mut jobs).await;
    drop(jobs);
    let frame = broker.hears(FrameType::Settle).await;
    assert_eq!(settle(&frame), (Settlement::Released, false, vec![TagRange::one(2)]));
    let cancel = broker.hears(FrameType::Cancel).await;
    // What was on its way comes back too.
    broker.delivers(7, true, 3, &["late"]).await;
    let frame = broker.hears(FrameType::Settle).await;
    assert_eq!(settle(&frame), (Settlement::Released, false, vec![TagRange::one(3)]));
    put_ok(&mut broker.out, cancel.correlation_id);
    broker.say().await;
    taken.ack().unwrap();
    let frame = broker.hears(FrameType::Settle).await;
    assert_eq!(settle(&frame), (Settlement::Ack, false, vec![TagRange::one(1)]));
}

#[tokio::test]
async fn a_refused_consumer_is_told_and_one_refused_for_now_is_asked_for_again() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let refusing = async {
        for (status, code) in [(503, "overloaded"), (404, "not_found")] {
            let frame = broker.hears(FrameType::Consume).await;
            broker.refuses(frame.correlation_id, status, code, 1).await;
        }
    };
    let (refused, ()) = tokio::join!(client.consume("jobs", Consume::default()), refusing);
    assert!(matches!(refused.err(), Some(Error::Refused(refused)) if refused.is(Code::NotFound)));
}

#[tokio::test]
async fn a_subscription_at_most_once_counts_its_gaps() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let subscribe = Subscribe::default();
    let (news, _) = tokio::join!(client.subscribe("jobs.>", subscribe), consumes(&mut broker, 5));
    let mut news = news.unwrap();
    put_gap(&mut broker.out, 5, 3);
    let head = sluice_protocol::binary::v2::DeliverHead {
        pushed: true,
        topic: b"jobs.eu",
        sender: b"anonymous",
    };
    let at = Timestamp::from_millis(5);
    let mut writer = sluice_protocol::binary::v2::DeliverWriter::at_most_once(
        &mut broker.out,
        5,
        &head,
        at,
        LENGTH_MAX,
    )
    .unwrap();
    assert!(writer.push(b"x"));
    writer.finish(false);
    broker.say().await;
    let delivery = next(&mut news).await;
    assert_eq!((delivery.topic(), delivery.published_at(), news.gaps()), ("jobs.eu", at, 3));
    delivery.ack().unwrap();
}

#[tokio::test]
async fn more_than_there_was_credit_for_ends_the_connection() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let _jobs = consumer(&client, &mut broker, 1).await;
    broker.delivers(7, true, 1, &["a", "b"]).await;
    assert!(broker.next().await.is_none());
    let mut broker = fake.greeted().await;
    assert_eq!(consumes(&mut broker, 1).await, 1);
}

#[tokio::test]
async fn extending_moves_the_deadline() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let mut jobs = consumer(&client, &mut broker, 1).await;
    broker.delivers(7, true, 1, &["a"]).await;
    let mut delivery = next(&mut jobs).await;
    let extending = async {
        let frame = broker.hears(FrameType::Extend).await;
        match ClientFrame::read(frame.msg_type, &frame.payload, 0).unwrap() {
            ClientFrame::Extend(extend) => assert_eq!(extend.by_ms, 5_000),
            other => panic!("{other:?}"),
        }
        let deadline = Timestamp::from_millis(77);
        let id = frame.correlation_id;
        SettledWriter::begin(&mut broker.out, id, false, deadline, LENGTH_MAX)
            .unwrap()
            .finish(false);
        broker.say().await;
    };
    let (extended, ()) = tokio::join!(delivery.extend(Duration::from_secs(5)), extending);
    extended.unwrap();
    assert_eq!(delivery.deadline(), Some(Timestamp::from_millis(77)));
}

#[tokio::test]
async fn an_extension_never_names_a_message_of_the_next_connection() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let mut jobs = consumer(&client, &mut broker, 1).await;
    broker.delivers(7, true, 1, &["a"]).await;
    let mut delivery = next(&mut jobs).await;
    let extending = tokio::spawn(async move { delivery.extend(Duration::from_secs(5)).await });
    let id = broker.hears(FrameType::Extend).await.correlation_id;
    // It is tried again, when there is another connection with a tag 1 of its own.
    broker.refuses(id, 503, "overloaded", 200).await;
    drop(broker);
    let mut broker = fake.greeted().await;
    consumes(&mut broker, 9).await;
    broker.delivers(9, true, 1, &["b"]).await;
    let told = timeout(PATIENCE, extending).await.unwrap().unwrap();
    assert!(matches!(told, Err(Error::LeaseLost)), "{told:?}");
}

#[tokio::test]
async fn a_consumer_that_the_broker_does_not_answer_is_given_up_in_time() {
    let fake = Fake::new().await;
    let request_timeout = Duration::from_millis(50);
    let (client, mut broker) = fake.client(Options { request_timeout, ..options() }).await;
    let consuming = timeout(PATIENCE, client.consume("jobs", Consume::default()));
    let (told, frame) = tokio::join!(consuming, broker.hears(FrameType::Consume));
    assert!(matches!(told.unwrap().err(), Some(Error::Timeout)));
    // Should it come after all, nobody wants it.
    put_consuming(&mut broker.out, frame.correlation_id, 7);
    broker.say().await;
    broker.hears(FrameType::Cancel).await;
}
