//! A broker whose answers the test says, over real sockets.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sluice_client::{Client, Options, Retry};
use sluice_flow::Backoff;
use sluice_model::{MessageId, Timestamp};
use sluice_protocol::binary::frame::{Frame, LENGTH_MAX, decode_frame_of};
use sluice_protocol::binary::v2::{
    ClientFrame, DeliverHead, DeliverWriter, DeliveryHead, ErrorRef, FrameType, Welcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// More than any step of a test takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const WELCOME: Welcome<'static> = Welcome {
    frame_max: 1 << 20,
    message_max: 1 << 16,
    batch_max: 100,
    in_flight_max: 1_000,
    auth: false,
    broker: "fake",
};

/// A listener that plays the broker.
pub(crate) struct Fake {
    listener: TcpListener,
}

/// A connection of the broker's side.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    pub(crate) out: BytesMut,
}

/// Options whose pauses are short.
pub(crate) fn options() -> Options {
    let short = Backoff {
        min: Duration::from_millis(1),
        max: Duration::from_millis(5),
        factor: 2.0,
        jitter: 1.0,
    };
    let retry = Retry { backoff: short, ..Retry::default() };
    Options { reconnect: short, retry, name: "test".to_owned(), ..Options::default() }
}

impl Fake {
    pub(crate) async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn addr(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// A client, and the broker's side of its connection.
    pub(crate) async fn client(&self, options: Options) -> (Client, Connection) {
        let (client, connection) =
            tokio::join!(Client::connect(self.addr(), options), self.greeted());
        (client.unwrap(), connection)
    }

    pub(crate) async fn accepted(&self) -> Connection {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        Connection { stream, buffer: BytesMut::new(), out: BytesMut::new() }
    }

    /// The next connection, after HELLO.
    pub(crate) async fn greeted(&self) -> Connection {
        let mut connection = self.accepted().await;
        let hello = connection.hears(FrameType::Hello).await;
        WELCOME.put(&mut connection.out, hello.correlation_id).unwrap();
        connection.say().await;
        connection
    }
}

impl Connection {
    /// The next frame; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Frame<FrameType>> {
        loop {
            if let Some(frame) = decode_frame_of(&mut self.buffer, LENGTH_MAX).unwrap() {
                return Some(frame);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match timeout(PATIENCE, read).await.expect("the client says something") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Waits until the client says something, and leaves it to be heard.
    pub(crate) async fn peeks(&mut self) {
        if self.buffer.is_empty() {
            let read = self.stream.read_buf(&mut self.buffer);
            timeout(PATIENCE, read).await.expect("the client says something").unwrap();
        }
    }

    /// The next frame, which must be of that type.
    pub(crate) async fn hears(&mut self, frame_type: FrameType) -> Frame<FrameType> {
        let frame = self.next().await.expect("the client is there");
        assert_eq!(frame.msg_type, frame_type);
        frame
    }

    /// The payloads of the next PUBLISH frames, until there are so many, and the last one's id.
    pub(crate) async fn hears_messages(&mut self, count: usize) -> (u64, Vec<Bytes>) {
        let (mut id, mut messages) = (0, Vec::new());
        while messages.len() < count {
            let frame = self.hears(FrameType::Publish).await;
            assert!(frame.correlation_id > id, "ids grow");
            id = frame.correlation_id;
            match ClientFrame::read(frame.msg_type, &frame.payload, usize::MAX).unwrap() {
                ClientFrame::Publish(publish) => messages.extend(
                    publish.messages.iter().map(|one| frame.payload.slice_ref(one.payload)),
                ),
                other => panic!("{other:?}"),
            }
        }
        (id, messages)
    }

    /// Sends what is in `out`.
    pub(crate) async fn say(&mut self) {
        timeout(PATIENCE, self.stream.write_all(&self.out)).await.unwrap().unwrap();
        self.out.clear();
    }

    pub(crate) async fn refuses(&mut self, id: u64, status: u16, code: &str, after_ms: u64) {
        let retry_after = (after_ms > 0).then(|| Duration::from_millis(after_ms));
        ErrorRef { status, retry_after, code, text: "because" }.put(&mut self.out, id);
        self.say().await;
    }

    /// Pushes messages, or answers a RECEIVE with them.
    pub(crate) async fn delivers(&mut self, id: u64, pushed: bool, tag: u64, payloads: &[&str]) {
        let head = DeliverHead { pushed, topic: b"jobs", sender: b"anonymous" };
        let mut writer =
            DeliverWriter::at_least_once(&mut self.out, id, &head, tag, LENGTH_MAX).unwrap();
        for payload in payloads {
            assert!(writer.push_delivery(&delivery(), payload.as_bytes()).unwrap());
        }
        writer.finish(false);
        self.say().await;
    }
}

pub(crate) fn delivery() -> DeliveryHead<'static> {
    DeliveryHead {
        redelivered: false,
        id: MessageId { start: 1, counter: 1 },
        published_at: Timestamp::from_millis(1),
        deadline: Timestamp::from_millis(2),
        attempt: 1,
        failures: 0,
        token: None,
        headers: &[],
        lane: None,
    }
}
