//! HELLO, AUTH, and who is let in.

use sluice_client::{Client, Error, Options};
use sluice_protocol::binary::v1::NackPayload;
use sluice_protocol::binary::v2::{ClientFrame, FrameType, Welcome, put_ok};

use crate::fake::{Fake, WELCOME, options};

fn with_key() -> Options {
    Options { key: Some("s3cret".into()), ..options() }
}

/// How a client fares whose HELLO is answered so.
async fn greeted(
    options: Options,
    welcome: Welcome<'_>,
    auth: impl AsyncFnOnce(&mut crate::fake::Connection),
) -> Result<Client, Error> {
    let fake = Fake::new().await;
    let serving = async {
        let mut broker = fake.accepted().await;
        let hello = broker.hears(FrameType::Hello).await;
        match ClientFrame::read(hello.msg_type, &hello.payload, 0).unwrap() {
            ClientFrame::Hello(hello) => assert_eq!((hello.frame_max, hello.name), (0, "test")),
            other => panic!("{other:?}"),
        }
        welcome.put(&mut broker.out, hello.correlation_id).unwrap();
        broker.say().await;
        auth(&mut broker).await;
        broker
    };
    let (client, _broker) = tokio::join!(Client::connect(fake.addr(), options), serving);
    client
}

const WITH_AUTH: Welcome<'static> = Welcome { auth: true, ..WELCOME };

#[tokio::test]
async fn the_key_is_shown_where_it_is_asked_for() {
    let let_in = greeted(with_key(), WITH_AUTH, async |broker| {
        let auth = broker.hears(FrameType::Auth).await;
        let read = ClientFrame::read(auth.msg_type, &auth.payload, 0).unwrap();
        assert!(matches!(read, ClientFrame::Auth("s3cret")));
        put_ok(&mut broker.out, auth.correlation_id);
        broker.say().await;
    });
    let_in.await.unwrap();
    greeted(with_key(), WELCOME, async |_| {}).await.unwrap();
}

#[tokio::test]
async fn without_the_right_key_the_reason_is_told() {
    let none = greeted(options(), WITH_AUTH, async |_| {}).await;
    assert!(matches!(none, Err(Error::Refused(refused)) if refused.status == 401));
    let wrong = greeted(with_key(), WITH_AUTH, async |broker| {
        let auth = broker.hears(FrameType::Auth).await;
        broker.refuses(auth.correlation_id, 401, "unauthenticated", 0).await;
    });
    assert!(matches!(wrong.await, Err(Error::Refused(refused)) if refused.status == 401));
}

#[tokio::test]
async fn a_broker_of_version_1_is_told_from_a_broken_one() {
    let fake = Fake::new().await;
    let serving = async {
        let mut broker = fake.accepted().await;
        let hello = broker.hears(FrameType::Hello).await;
        let payload = NackPayload { code: 426, message: "unsupported protocol version".into() };
        let nack = sluice_protocol::Frame {
            msg_type: sluice_protocol::FrameType::Nack,
            correlation_id: hello.correlation_id,
            payload: payload.encode().unwrap(),
        };
        sluice_protocol::encode_frame(&nack, &mut broker.out).unwrap();
        broker.say().await;
        broker
    };
    let (client, _broker) = tokio::join!(Client::connect(fake.addr(), options()), serving);
    assert!(matches!(client, Err(Error::Version(_))));
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_said_at_once() {
    let fake = Fake::new().await;
    let addr = fake.addr();
    drop(fake);
    assert!(matches!(Client::connect(addr, options()).await, Err(Error::Io { .. })));
}

#[tokio::test]
async fn a_client_that_nobody_has_any_more_closes_its_connection() {
    let fake = Fake::new().await;
    let (client, mut broker) = fake.client(options()).await;
    drop(client);
    assert!(broker.next().await.is_none());
}
