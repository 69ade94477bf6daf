//! A blocking client of the binary protocol's version 1, for batches: what is sent gathers until
//! it is flushed, what arrives is decoded from one buffer.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use sluice_protocol::{
    AckPayload, AuthPayload, Frame, FrameDecodeError, FrameEncodeError, FrameType, HelloPayload,
    NackPayload, PROTOCOL_VERSION, PollPayload, PublishPayload, SubscribePayload, encode_frame,
    try_decode_frame,
};
use thiserror::Error;

/// Bytes read from the socket at a time.
const READ: usize = 256 << 10;

/// Why a client could not go on.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server sent what is no frame.
    #[error("the server sent what is no frame: {0}")]
    Decode(#[from] FrameDecodeError),
    /// What was to be sent does not fit a frame.
    #[error("it does not fit a frame: {0}")]
    Encode(#[from] FrameEncodeError),
    /// The server refused.
    #[error("{} ({})", .0.message, .0.code)]
    Refused(NackPayload),
    /// The server answered something else than was asked.
    #[error("the server answered {0:?} where that makes no sense")]
    Unexpected(FrameType),
}

/// One message as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// What acknowledges it.
    pub tag: u64,
    /// The topic that it was published to.
    pub topic: String,
    /// Its bytes.
    pub message: Bytes,
}

/// A connection that has said HELLO and, with a key, AUTH.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    last_id: u64,
}

impl Client {
    /// Connects and introduces itself.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    pub fn connect(addr: impl ToSocketAddrs, key: Option<&str>) -> Result<Self, ClientError> {
        let mut client = Self::over(TcpStream::connect(addr)?)?;
        if let Some(key) = key {
            client.authenticate(key)?;
        }
        Ok(client)
    }

    /// Introduces itself over a connection that is there.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    pub fn over(stream: TcpStream) -> Result<Self, ClientError> {
        stream.set_nodelay(true)?;
        let (input, output) = (BytesMut::new(), BytesMut::new());
        let mut client = Self { stream, input, output, last_id: 0 };
        let hello = HelloPayload { protocol_version: PROTOCOL_VERSION }.encode();
        client.ask(FrameType::Hello, hello)?;
        Ok(client)
    }

    /// Shows a key.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    pub fn authenticate(&mut self, key: &str) -> Result<(), ClientError> {
        self.ask(FrameType::Auth, AuthPayload { api_key: key.to_owned() }.encode()?)?;
        Ok(())
    }

    /// How long to wait for a frame before giving up; none for ever.
    ///
    /// # Errors
    /// The socket refused.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// Subscribes and gives the subscription's number.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    pub fn subscribe(&mut self, topic: &str, qos: u8) -> Result<u64, ClientError> {
        let payload = SubscribePayload { topic: topic.to_owned(), qos }.encode()?;
        Ok(self.ask(FrameType::Subscribe, payload)?.subscription_id)
    }

    /// Waits until everything sent before is as safe as its queue promises.
    ///
    /// # Errors
    /// The connection failed, or the server refused something sent before.
    pub fn fence(&mut self) -> Result<(), ClientError> {
        self.ping()?;
        self.flush()?;
        self.await_pong()
    }

    /// Waits for the answer to the oldest PING that has none yet.
    ///
    /// # Errors
    /// The connection failed, or the server refused something sent before.
    pub fn await_pong(&mut self) -> Result<(), ClientError> {
        loop {
            let frame = self.receive()?;
            match frame.msg_type {
                FrameType::Pong => return Ok(()),
                FrameType::Nack => return Err(refusal(&frame)),
                _ => {}
            }
        }
    }

    /// Adds a PUBLISH to what is sent next.
    ///
    /// # Errors
    /// It does not fit a frame.
    pub fn publish(&mut self, topic: &str, qos: u8, message: &[u8]) -> Result<u64, ClientError> {
        // Written in place: a benchmark's client must not spend its time copying.
        let length = 1 + 8 + 3 + topic.len() + message.len();
        if length > sluice_protocol::binary::frame::LENGTH_MAX {
            let message = Bytes::copy_from_slice(message);
            PublishPayload { topic: topic.to_owned(), qos, message }.encode()?;
        }
        self.last_id += 1;
        self.output.reserve(4 + length);
        self.output.put_u32(length as u32);
        self.output.put_u8(FrameType::Publish as u8);
        self.output.put_u64(self.last_id);
        self.output.put_u8(qos);
        self.output.put_u16(topic.len() as u16);
        self.output.put_slice(topic.as_bytes());
        self.output.put_slice(message);
        Ok(self.last_id)
    }

    /// Adds a POLL to what is sent next.
    ///
    /// # Errors
    /// Never for a number that the server gave.
    pub fn poll(&mut self, subscription_id: u64) -> Result<u64, ClientError> {
        self.push(FrameType::Poll, PollPayload { subscription_id }.encode()?)
    }

    /// Adds a PING to what is sent next.
    ///
    /// # Errors
    /// Never: a PING fits a frame.
    pub fn ping(&mut self) -> Result<u64, ClientError> {
        self.push(FrameType::Ping, Bytes::new())
    }

    /// Adds an ACK of a delivery to what is sent next.
    ///
    /// # Errors
    /// Never for a number that the server gave.
    pub fn ack(&mut self, subscription_id: u64, tag: u64) -> Result<(), ClientError> {
        let payload = AckPayload { subscription_id }.encode()?;
        let frame = Frame { msg_type: FrameType::Ack, correlation_id: tag, payload };
        Ok(encode_frame(&frame, &mut self.output)?)
    }

    /// What was added and not sent, as the bytes of its frames.
    pub fn waiting(&self) -> &[u8] {
        &self.output
    }

    /// Adds frames that [`Client::waiting`] gave, maybe on another connection.
    pub fn resend(&mut self, frames: &[u8]) {
        self.output.extend_from_slice(frames);
    }

    /// Sends what was added.
    ///
    /// # Errors
    /// The connection failed.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// The next frame; waits for it.
    ///
    /// # Errors
    /// The connection failed or was closed.
    pub fn receive(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(frame) = try_decode_frame(&mut self.input)? {
                return Ok(frame);
            }
            self.fill()?;
        }
    }

    /// Asks for up to `count` messages and waits for those that there are, in order.
    ///
    /// # Errors
    /// The connection failed, or the server refused something sent before.
    pub fn take(
        &mut self,
        subscription_id: u64,
        count: usize,
    ) -> Result<Vec<Delivered>, ClientError> {
        for _ in 0..count {
            self.poll(subscription_id)?;
        }
        // A POLL that finds nothing gets no answer; the fence behind them all does.
        let fence = self.ping()?;
        self.flush()?;
        let mut delivered = Vec::new();
        loop {
            let frame = self.receive()?;
            match frame.msg_type {
                FrameType::Pong if frame.correlation_id == fence => return Ok(delivered),
                FrameType::Publish => {
                    let PublishPayload { topic, message, .. } =
                        PublishPayload::decode(&frame.payload)?;
                    delivered.push(Delivered { tag: frame.correlation_id, topic, message });
                }
                FrameType::Nack => return Err(refusal(&frame)),
                _ => {}
            }
        }
    }

    /// The connection itself, for a load that writes and reads on its own. Nothing may be waiting
    /// to be read.
    pub fn into_stream(self) -> TcpStream {
        debug_assert!(self.input.is_empty() && self.output.is_empty());
        self.stream
    }

    /// Ends the connection so that the server sees its end.
    pub fn close(self) {
        // A connection that is already gone is closed well enough.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn push(&mut self, msg_type: FrameType, payload: Bytes) -> Result<u64, ClientError> {
        self.last_id += 1;
        let frame = Frame { msg_type, correlation_id: self.last_id, payload };
        encode_frame(&frame, &mut self.output)?;
        Ok(self.last_id)
    }

    fn ask(&mut self, msg_type: FrameType, payload: Bytes) -> Result<AckPayload, ClientError> {
        self.push(msg_type, payload)?;
        self.flush()?;
        let frame = self.receive()?;
        match frame.msg_type {
            FrameType::Ack => Ok(AckPayload::decode(&frame.payload)?),
            FrameType::Nack => Err(refusal(&frame)),
            other => Err(ClientError::Unexpected(other)),
        }
    }

    fn fill(&mut self) -> Result<(), ClientError> {
        let len = self.input.len();
        self.input.resize(len + READ, 0);
        let read = self.stream.read(&mut self.input[len..]);
        self.input.truncate(len + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(ClientError::Closed),
            _ => Ok(()),
        }
    }
}

fn refusal(frame: &Frame) -> ClientError {
    match NackPayload::decode(&frame.payload) {
        Ok(nack) => ClientError::Refused(nack),
        Err(error) => error.into(),
    }
}
