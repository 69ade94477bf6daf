//! A client of version 1 for tests.

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use sluice_protocol::{
    AckPayload, AuthPayload, Frame, FrameType, HelloPayload, NackPayload, PROTOCOL_VERSION,
    PollPayload, PublishPayload, SubscribePayload, encode_frame, try_decode_frame,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::running::PATIENCE;

pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buffer: BytesMut,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.unwrap())
    }

    /// One that comes from another address of this machine, and has said HELLO.
    pub(crate) async fn greeted_from(from: IpAddr, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Self::over(socket.connect(addr).await.unwrap()).greets().await
    }

    /// One that has said HELLO.
    pub(crate) async fn greeted(addr: SocketAddr) -> Self {
        Self::connect(addr).await.greets().await
    }

    /// One that has shown its key.
    pub(crate) async fn with_key(addr: SocketAddr, key: &str) -> Self {
        let mut client = Self::greeted(addr).await;
        client.say(FrameType::Auth, 2, auth(key)).await;
        client.hears_ack(2, 0).await;
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// One over a stream that is open.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub(crate) async fn greets(self) -> Self {
        let mut client = self;
        client.say(FrameType::Hello, 1, hello()).await;
        client.hears_ack(1, 0).await;
        client
    }

    pub(crate) async fn say(&mut self, msg_type: FrameType, correlation_id: u64, payload: Bytes) {
        self.say_bytes(&frame(msg_type, correlation_id, payload)).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads").unwrap();
    }

    /// The next frame; none at the end of the stream.
    pub(crate) async fn hears(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = try_decode_frame(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match timeout(PATIENCE, read).await.expect("the server answers or closes") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn hears_ack(&mut self, correlation_id: u64, subscription_id: u64) {
        assert_eq!(
            self.hears().await,
            Some(decoded(FrameType::Ack, correlation_id, ack(subscription_id)))
        );
    }

    pub(crate) async fn hears_pong(&mut self, correlation_id: u64) {
        assert_eq!(
            self.hears().await,
            Some(decoded(FrameType::Pong, correlation_id, Bytes::new()))
        );
    }

    pub(crate) async fn hears_nack(&mut self, correlation_id: u64, code: u16, text: &str) {
        let heard = self.hears().await.expect("a NACK");
        assert_eq!((heard.msg_type, heard.correlation_id), (FrameType::Nack, correlation_id));
        let nack = NackPayload::decode(&heard.payload).unwrap();
        assert_eq!((nack.code, nack.message.as_str()), (code, text));
    }

    /// Hears nothing more, and the stream ends.
    pub(crate) async fn hears_the_end(&mut self) {
        assert_eq!(self.hears().await, None);
    }

    /// The next delivery with its correlation id.
    pub(crate) async fn hears_delivery(&mut self) -> (u64, PublishPayload) {
        let heard = self.hears().await.expect("a delivery");
        assert_eq!(heard.msg_type, FrameType::Publish);
        (heard.correlation_id, PublishPayload::decode(&heard.payload).unwrap())
    }

    pub(crate) async fn subscribes(&mut self, topic: &str, qos: u8) -> u64 {
        self.say(FrameType::Subscribe, 3, subscribe(topic, qos)).await;
        let heard = self.hears().await.expect("an ACK");
        assert_eq!((heard.msg_type, heard.correlation_id), (FrameType::Ack, 3));
        let id = AckPayload::decode(&heard.payload).unwrap().subscription_id;
        assert_ne!(id, 0);
        id
    }

    pub(crate) async fn publishes(&mut self, topic: &str, qos: u8, message: &[u8]) {
        self.say(FrameType::Publish, 4, publish(topic, qos, message)).await;
    }

    /// Sends a PING and hears its PONG next: everything before is done.
    pub(crate) async fn fences(&mut self) {
        self.say(FrameType::Ping, 6, Bytes::new()).await;
        self.hears_pong(6).await;
    }
}

pub(crate) fn decoded(msg_type: FrameType, correlation_id: u64, payload: Bytes) -> Frame {
    Frame { msg_type, correlation_id, payload }
}

pub(crate) fn frame(msg_type: FrameType, correlation_id: u64, payload: Bytes) -> BytesMut {
    let mut out = BytesMut::new();
    encode_frame(&decoded(msg_type, correlation_id, payload), &mut out).unwrap();
    out
}

pub(crate) fn hello() -> Bytes {
    HelloPayload { protocol_version: PROTOCOL_VERSION }.encode()
}

pub(crate) fn auth(key: &str) -> Bytes {
    AuthPayload { api_key: key.to_owned() }.encode().unwrap()
}

pub(crate) fn subscribe(topic: &str, qos: u8) -> Bytes {
    SubscribePayload { topic: topic.to_owned(), qos }.encode().unwrap()
}

pub(crate) fn publish(topic: &str, qos: u8, message: &[u8]) -> Bytes {
    let message = Bytes::copy_from_slice(message);
    PublishPayload { topic: topic.to_owned(), qos, message }.encode().unwrap()
}

pub(crate) fn poll(subscription_id: u64) -> Bytes {
    PollPayload { subscription_id }.encode().unwrap()
}

pub(crate) fn ack(subscription_id: u64) -> Bytes {
    AckPayload { subscription_id }.encode().unwrap()
}
