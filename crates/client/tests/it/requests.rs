//! Requests with one answer: receives, tokens, control.

use std::time::{Duration, Instant};

use sluice_client::{Error, Options, Receive, Settle, Token};
use sluice_flow::Backoff;
use sluice_model::{Code, Generation, LeaseId, QueueNo, Seq, Timestamp};
use sluice_protocol::binary::frame::LENGTH_MAX;
use sluice_protocol::binary::v2::{
    ClientFrame, DeliverHead, DeliverWriter, DeliveryHead, FrameType, SettledWriter, Source,
    put_empty, put_result,
};

use crate::fake::{Fake, delivery, options};

fn token(secret: u64) -> LeaseId {
    let generation = Generation { start: 1, counter: 2 };
    LeaseId { queue: QueueNo(3), seq: Seq(4), generation, secret }
}

#[tokio::test]
async fn a_receive_gathers_its_frames_and_its_tokens_settle() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let wait = Duration::from_secs(3);
    let receive = Receive { max: 5, wait, unbound: true, ..Receive::default() };
    let serving = async {
        let frame = broker.hears(FrameType::Receive).await;
        match ClientFrame::read(frame.msg_type, &frame.payload, 0).unwrap() {
            ClientFrame::Receive(receive) => {
                assert_eq!((receive.max, receive.wait_ms, receive.unbound), (5, 3_000, true));
                assert_eq!(receive.from, Source::Queue("jobs"));
            }
            other => panic!("{other:?}"),
        }
        let head = DeliverHead { pushed: false, topic: b"jobs", sender: b"anonymous" };
        for (secret, more) in [(1, true), (2, false)] {
            let id = frame.correlation_id;
            let mut writer =
                DeliverWriter::at_least_once(&mut broker.out, id, &head, 0, LENGTH_MAX).unwrap();
            let delivery = DeliveryHead { token: Some(token(secret)), ..delivery() };
            assert!(writer.push_delivery(&delivery, b"x").unwrap());
            writer.finish(more);
        }
        broker.say().await;
    };
    let (received, ()) = tokio::join!(client.receive("jobs", receive), serving);
    let tokens: Vec<Token> = received.unwrap().iter().filter_map(|one| one.token()).collect();
    assert_eq!(tokens, [Token(token(1)), Token(token(2))]);

    let serving = async {
        let frame = broker.hears(FrameType::Settle).await;
        let id = frame.correlation_id;
        let mut writer =
            SettledWriter::begin(&mut broker.out, id, true, Timestamp::EPOCH, LENGTH_MAX).unwrap();
        assert!(writer.push_token(&token(2), Code::LeaseLost));
        writer.finish(false);
        broker.say().await;
    };
    let (settled, ()) = tokio::join!(client.settle(&tokens, Settle::Ack), serving);
    let settled = settled.unwrap();
    assert_eq!(settled.len(), 1);
    assert!(settled[0].0 == Token(token(2)) && settled[0].1.is(Code::LeaseLost));
}

#[tokio::test]
async fn nothing_there_is_an_empty_list() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let serving = async {
        let frame = broker.hears(FrameType::Receive).await;
        put_empty(&mut broker.out, frame.correlation_id, 5);
        broker.say().await;
    };
    let (received, ()) = tokio::join!(client.receive("jobs", Receive::default()), serving);
    assert!(received.unwrap().is_empty());
}

#[tokio::test]
async fn an_empty_behind_messages_is_the_end_of_their_answer() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let serving = async {
        let id = broker.hears(FrameType::Receive).await.correlation_id;
        let head = DeliverHead { pushed: false, topic: b"jobs", sender: b"anonymous" };
        let mut writer =
            DeliverWriter::at_least_once(&mut broker.out, id, &head, 1, LENGTH_MAX).unwrap();
        assert!(writer.push_delivery(&delivery(), b"x").unwrap());
        writer.finish(true);
        // The one behind it was longer than the client's frames.
        put_empty(&mut broker.out, id, 0);
        broker.say().await;
    };
    let receive = Receive { max: 2, ..Receive::default() };
    let (received, ()) = tokio::join!(client.receive("jobs", receive), serving);
    let received = received.unwrap();
    assert_eq!(received.len(), 1);
    assert_eq!(&received[0].payload()[..], b"x");
}

#[tokio::test]
async fn a_lease_that_an_earlier_try_may_have_settled_is_in_doubt_and_not_lost() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let serving = async {
        broker.hears(FrameType::Settle).await;
        // The broker did it, and its answer was lost.
        drop(broker);
        let mut broker = fake.greeted().await;
        let id = broker.hears(FrameType::Settle).await.correlation_id;
        let mut writer =
            SettledWriter::begin(&mut broker.out, id, true, Timestamp::EPOCH, LENGTH_MAX).unwrap();
        assert!(writer.push_token(&token(1), Code::LeaseLost));
        assert!(writer.push_token(&token(2), Code::Invalid));
        writer.finish(false);
        broker.say().await;
        broker
    };
    let tokens = [Token(token(1)), Token(token(2))];
    let (settled, _broker) = tokio::join!(client.settle(&tokens, Settle::Ack), serving);
    let settled = settled.unwrap();
    let codes: Vec<&str> = settled.iter().map(|(_, refused)| refused.code.as_str()).collect();
    assert_eq!(codes, [Code::Indeterminate.name(), Code::Invalid.name()]);
}

#[tokio::test]
async fn a_broker_that_ends_each_connection_is_asked_less_and_less_often() {
    let fake = Fake::new().await;
    let (min, max) = (Duration::from_millis(20), Duration::from_secs(5));
    let reconnect = Backoff { min, max, factor: 10.0, jitter: 0.0 };
    let (_client, broker) = fake.client(Options { reconnect, ..options() }).await;
    drop(broker);
    drop(fake.greeted().await);
    let since = Instant::now();
    fake.greeted().await;
    assert!(since.elapsed() >= 9 * min, "{:?}", since.elapsed());
}

#[tokio::test]
async fn only_looking_is_asked_again_on_the_next_connection() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    let serving = async {
        broker.hears(FrameType::Control).await;
        broker.hears(FrameType::Control).await;
        drop(broker);
        let mut broker = fake.greeted().await;
        let frame = broker.hears(FrameType::Control).await;
        match ClientFrame::read(frame.msg_type, &frame.payload, 0).unwrap() {
            ClientFrame::Control(control) => assert_eq!(control.verb, "queue.stats"),
            other => panic!("{other:?}"),
        }
        put_result(&mut broker.out, frame.correlation_id, b"{\"name\":\"a\"}").unwrap();
        broker.say().await;
        broker
    };
    let (purged, stats, _broker) = tokio::join!(
        client.control("queue.purge", "{}"),
        client.control("queue.stats", "{}"),
        serving
    );
    assert!(matches!(purged, Err(Error::Lost)));
    assert_eq!(stats.unwrap(), "{\"name\":\"a\"}");
}

#[tokio::test]
async fn requests_are_tried_again_when_refused_for_now_and_bounded_in_time() {
    let fake = Fake::new().await;
    let request_timeout = Duration::from_millis(50);
    let (client, mut broker) = fake.client(Options { request_timeout, ..options() }).await;
    let serving = async {
        let frame = broker.hears(FrameType::Control).await;
        broker.refuses(frame.correlation_id, 503, "overloaded", 1).await;
        // The second one is never answered.
        broker.hears(FrameType::Control).await;
    };
    let (timed_out, ()) = tokio::join!(client.control("queue.stats", "{}"), serving);
    assert!(matches!(timed_out, Err(Error::Timeout)));
}

#[tokio::test]
async fn a_silent_broker_is_given_up() {
    let fake = Fake::new().await;
    let silence_max = Duration::from_millis(40);
    let (_client, mut broker) = fake.client(Options { silence_max, ..options() }).await;
    broker.hears(FrameType::Ping).await;
    assert!(broker.next().await.is_none());
    fake.greeted().await;
}
