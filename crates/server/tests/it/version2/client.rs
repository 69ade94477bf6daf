//! A client of version 2 for tests.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use sluice_model::{Extras, LeaseId, Qos, WatchEvent};
use sluice_protocol::binary::frame::{Frame, LENGTH_MAX, decode_frame_of};
use sluice_protocol::binary::v2::{
    ConsumeRef, ControlRef, Credit, Deliver, FrameType, Hello, LeaseSet, PublishHead,
    PublishWriter, ReceiveRef, ServerFrame, SettleHead, Source, SubscribeRef, TagRange, WatchRef,
    Watching, put_auth, put_ping,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::running::PATIENCE;

/// A frame of the broker with a payload of its own.
pub(crate) struct Heard(Frame<FrameType>);

impl Heard {
    pub(crate) fn id(&self) -> u64 {
        self.0.correlation_id
    }

    pub(crate) fn read(&self) -> ServerFrame<'_> {
        ServerFrame::read(self.0.msg_type, &self.0.payload).unwrap()
    }

    /// The status and text of an ERROR.
    pub(crate) fn error(&self) -> (u16, String) {
        match self.read() {
            ServerFrame::Error(error) => (error.status, error.text.to_owned()),
            other => panic!("not an ERROR: {other:?}"),
        }
    }
}

/// A message that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// That of the consumer or of the RECEIVE.
    pub(crate) id: u64,
    pub(crate) pushed: bool,
    pub(crate) more: bool,
    /// 0 at most once.
    pub(crate) tag: u64,
    pub(crate) redelivered: bool,
    pub(crate) token: Option<LeaseId>,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), buffer: BytesMut::new() }
    }

    /// One that has said HELLO, and is ready where there are no keys.
    pub(crate) async fn greeted(addr: SocketAddr) -> Self {
        Self::with_frame_max(addr, 0).await
    }

    pub(crate) async fn with_frame_max(addr: SocketAddr, frame_max: u32) -> Self {
        let mut client = Self::connect(addr).await;
        client.says(|out| Hello { frame_max, name: "test" }.put(out, 1).unwrap()).await;
        let heard = client.hears().await;
        assert!(matches!(heard.read(), ServerFrame::Welcome(_)));
        assert_eq!(heard.id(), 1);
        client
    }

    /// One that has shown its key.
    pub(crate) async fn with_key(addr: SocketAddr, key: &str) -> Self {
        let mut client = Self::greeted(addr).await;
        client.says(|out| put_auth(out, 2, key).unwrap()).await;
        client.hears_ok(2).await;
        client
    }

    pub(crate) async fn says(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        put(&mut out);
        self.says_bytes(&out).await;
    }

    pub(crate) async fn says_bytes(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads").unwrap();
    }

    /// The next frame.
    pub(crate) async fn hears(&mut self) -> Heard {
        self.hears_or_end().await.expect("a frame")
    }

    /// The next frame; none at the end of the stream.
    pub(crate) async fn hears_or_end(&mut self) -> Option<Heard> {
        loop {
            if let Some(frame) = decode_frame_of(&mut self.buffer, LENGTH_MAX).unwrap() {
                return Some(Heard(frame));
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match timeout(PATIENCE, read).await.expect("the server answers or closes") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn hears_ok(&mut self, id: u64) {
        let heard = self.hears().await;
        assert_eq!((heard.read(), heard.id()), (ServerFrame::Ok, id));
    }

    pub(crate) async fn hears_error(&mut self, id: u64, status: u16, text: &str) {
        let heard = self.hears().await;
        assert_eq!((heard.error(), heard.id()), ((status, text.to_owned()), id));
    }

    /// Sends a PING and hears its PONG next: everything before is done.
    pub(crate) async fn fences(&mut self) {
        self.says(|out| put_ping(out, 99)).await;
        let heard = self.hears().await;
        assert_eq!((heard.read(), heard.id()), (ServerFrame::Pong, 99));
    }

    pub(crate) async fn publishes(&mut self, id: u64, head: &PublishHead<'_>, all: &[&[u8]]) {
        self.says(|out| put_publish(out, id, head, all)).await;
    }

    pub(crate) async fn subscribes(
        &mut self,
        qos: Qos,
        name: &str,
        pattern: &str,
        credit: Option<u32>,
    ) -> u64 {
        let frame = SubscribeRef {
            qos,
            push: credit.is_some(),
            name,
            pattern,
            credit: credit.unwrap_or(0),
            lease_ms: 0,
            settings: Default::default(),
        };
        self.says(|out| frame.put(out, 3, &[]).unwrap()).await;
        self.hears_consuming(3).await
    }

    pub(crate) async fn consumes(&mut self, queue: &str, credit: u32) -> u64 {
        self.says(|out| ConsumeRef { queue, credit, lease_ms: 0 }.put(out, 4).unwrap()).await;
        self.hears_consuming(4).await
    }

    async fn hears_consuming(&mut self, id: u64) -> u64 {
        let heard = self.hears().await;
        let ServerFrame::Consuming(number) = heard.read() else { panic!("{:?}", heard.read()) };
        assert_eq!(heard.id(), id);
        number
    }

    pub(crate) async fn gives_credit(&mut self, consumer: u64, messages: u32) {
        self.says(|out| Credit { consumer, messages }.put(out, 5)).await;
    }

    pub(crate) async fn receives(&mut self, id: u64, from: Source<'_>, max: u16, wait_ms: u32) {
        let frame = ReceiveRef { max, wait_ms, lease_ms: 0, unbound: false, from };
        self.says(|out| frame.put(out, id).unwrap()).await;
    }

    pub(crate) async fn settles(&mut self, id: u64, head: SettleHead<'_>, ranges: &[(u64, u64)]) {
        let ranges: Vec<_> =
            ranges.iter().map(|(first, last)| TagRange { first: *first, last: *last }).collect();
        self.says(|out| head.put(out, id, LeaseSet::Tags(&ranges)).unwrap()).await;
    }

    /// Asks for something of a queue, and hears the result.
    pub(crate) async fn controls(&mut self, verb: &str, json: &str) -> String {
        self.says(|out| ControlRef { verb, json }.put(out, 6).unwrap()).await;
        let heard = self.hears().await;
        assert_eq!(heard.id(), 6);
        match heard.read() {
            ServerFrame::Result(json) => json.to_owned(),
            other => panic!("no RESULT: {other:?}"),
        }
    }

    /// Watches a key, or all that begin with it, and hears which consumer that is.
    pub(crate) async fn watches(&mut self, frame: WatchRef<'_>) -> Watching {
        self.says(|out| frame.put(out, 12).unwrap()).await;
        let heard = self.hears().await;
        let ServerFrame::Watching(watching) = heard.read() else { panic!("{:?}", heard.read()) };
        assert_eq!(heard.id(), 12);
        watching
    }

    /// What comes for a watch, so much at least.
    pub(crate) async fn gets_changes(&mut self, consumer: u64, count: usize) -> Vec<WatchEvent> {
        let mut got = Vec::new();
        while got.len() < count {
            let heard = self.hears().await;
            let ServerFrame::Changes(changes) = heard.read() else { panic!("{:?}", heard.read()) };
            assert_eq!(heard.id(), consumer);
            got.extend(changes.iter().map(|change| change.to_model().unwrap()));
        }
        got
    }

    /// Finds that there is nothing to receive now.
    pub(crate) async fn finds_nothing(&mut self, from: Source<'_>) {
        self.receives(98, from, 1, 0).await;
        let heard = self.hears().await;
        assert!(matches!(heard.read(), ServerFrame::Empty(_)), "{:?}", heard.read());
    }

    /// The messages of the next DELIVER frames, so many at least.
    pub(crate) async fn gets(&mut self, count: usize) -> Vec<Got> {
        let mut got = Vec::new();
        while got.len() < count {
            let heard = self.hears().await;
            let ServerFrame::Deliver(_) = heard.read() else { panic!("{:?}", heard.read()) };
            got.extend(messages(&heard));
        }
        got
    }
}

pub(crate) fn put_publish(out: &mut BytesMut, id: u64, head: &PublishHead<'_>, all: &[&[u8]]) {
    let mut frame = PublishWriter::begin(out, id, head, LENGTH_MAX).unwrap();
    all.iter().for_each(|payload| assert!(frame.push(payload)));
    frame.finish();
}

pub(crate) fn put_publish_with(
    out: &mut BytesMut,
    id: u64,
    head: &PublishHead<'_>,
    all: &[(&[u8], Option<&Extras>)],
) {
    let mut frame = PublishWriter::begin(out, id, head, LENGTH_MAX).unwrap();
    all.iter().for_each(|(payload, extras)| assert!(frame.push_with(payload, *extras).unwrap()));
    frame.finish();
}

/// The messages of a DELIVER.
pub(crate) fn messages(heard: &Heard) -> Vec<Got> {
    let ServerFrame::Deliver(deliver) = heard.read() else { panic!("{:?}", heard.read()) };
    let one = Got {
        id: heard.id(),
        pushed: deliver.pushed,
        more: deliver.more,
        tag: 0,
        redelivered: false,
        token: None,
        topic: deliver.topic.to_owned(),
        payload: Bytes::new(),
    };
    match deliver.messages {
        Deliver::AtMostOnce { messages, .. } => messages
            .iter()
            .map(|message| Got { payload: Bytes::copy_from_slice(message.payload), ..one.clone() })
            .collect(),
        Deliver::AtLeastOnce(deliveries) => deliveries
            .iter()
            .map(|delivery| Got {
                tag: delivery.tag,
                redelivered: delivery.redelivered,
                token: delivery.token,
                payload: Bytes::copy_from_slice(delivery.payload),
                ..one.clone()
            })
            .collect(),
    }
}
