//! Sluice, through version 1 of its binary protocol.
//!
//! Version 1 has no confirms of its own, so a PING goes with each publish; its consumers poll; and
//! each of its subscriptions is a queue of one consumer, so no queue is drained by several.

mod polling;

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sluice_protocol::binary::frame::{HEADER_BYTES, peek_frame};
use sluice_protocol::{
    Frame, FrameEncodeError, FrameType, NackPayload, PublishPayload, encode_frame,
};

use super::{Level, Service, Side, Target, TargetError};
use crate::compare::{Case, Files};
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Batch, Consumer, Exchange, Form, Message, Template};
use crate::process::{Broker, Launch};
use crate::v1::{Client, ClientError};

const TOPIC: &str = "bench";
/// Bytes of one of the broker's segments while prepared ones are measured: two of them, the one
/// in use and the next, are what a repetition may fill.
const SEGMENT: u64 = 512 << 20;
/// Part of two segments that may be filled; the rest is for what the broker writes around it.
const ROOM: u64 = 2 * SEGMENT * 8 / 10;
/// Payload of the messages that fill the first segment.
const FILLING: usize = 256 << 10;
/// The disk counts as quiet after so long without a write.
const QUIET: Duration = Duration::from_millis(400);
const QUIET_MAX: Duration = Duration::from_secs(60);

/// Sluice.
#[derive(Clone, Debug)]
pub struct Sluice {
    /// The binary.
    pub program: PathBuf,
}

impl Sluice {
    fn config(case: Case) -> String {
        let durability = match case.queue_level() {
            Some(Level::Os) => "os",
            _ => "sync",
        };
        let mut text = format!("durability = \"{durability}\"\n");
        // What waits here is not to meet the bounds on what may wait.
        text += "v1_max_messages = 1000000000\nmax_bytes = 1099511627776\n";
        if let Case::Confirm { files: Files::Prepared, .. } = case {
            text += &format!("segment_bytes = {SEGMENT}\n");
        }
        text
    }
}

impl Target for Sluice {
    fn name(&self) -> &'static str {
        "Sluice"
    }

    fn side(&self) -> Side {
        Side::Ours
    }

    fn version(&self) -> Result<String, TargetError> {
        let output = std::process::Command::new(&self.program).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn settings(&self, case: Case) -> Option<String> {
        let can = !matches!(case, Case::Queue { .. });
        let settings = Self::config(case).trim().replace('\n', "; ");
        can.then(|| format!("sluice serve [sluice.toml: {settings}]; binary protocol version 1"))
    }

    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        let config = folder.join("sluice.toml");
        fs::write(&config, Self::config(case))?;
        let launch = Launch::new(&self.program, &folder.join("data"), &folder.join("log"))
            .arg("--config")
            .arg(config);
        let broker = launch.start()?;
        if let Case::Confirm { files: Files::Prepared, .. } = case {
            prepare(&broker)?;
        }
        // Messages that nobody subscribes to would not be kept.
        let subscription = match case.queue_level() {
            Some(_) => {
                let mut client = Client::connect(broker.tcp_addr(), None)?;
                let id = client.subscribe(TOPIC, 1)?;
                Some((client, id))
            }
            None => None,
        };
        let broker = Some(broker);
        let is_prepared = matches!(case, Case::Confirm { files: Files::Prepared, .. });
        Ok(Box::new(Running { launch, broker, subscription, is_prepared }))
    }
}

struct Running {
    launch: Launch,
    broker: Option<Broker>,
    /// Whoever holds the queue.
    subscription: Option<(Client, u64)>,
    is_prepared: bool,
}

impl Running {
    fn connect(&self) -> Result<Client, TargetError> {
        let broker = self.broker.as_ref().ok_or(TargetError::Unsupported)?;
        Ok(Client::connect(broker.tcp_addr(), None)?)
    }
}

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        self.broker.as_ref().map(Broker::pid)
    }

    fn publisher(&mut self, message: Message) -> Result<Publisher, TargetError> {
        let stream = self.connect()?.into_stream();
        let template = publish(message, 0, false)?;
        Ok((stream, Box::new(Batch::new(template))))
    }

    fn subscriber(&mut self, _: Message) -> Result<Subscriber, TargetError> {
        polling::subscriber(self.connect()?, TOPIC)
    }

    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        let streams = (0..connections).map(|_| self.connect().map(Client::into_stream));
        Ok((streams.collect::<Result<_, _>>()?, exchange(message)?))
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        let (client, id) = match self.subscription.take() {
            Some(held) => held,
            None => {
                let mut client = self.connect()?;
                let id = client.subscribe(TOPIC, 1)?;
                (client, id)
            }
        };
        Ok(Box::new(polling::Poller::new(client, id)))
    }

    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        Ok(self.connect()?.into_stream())
    }

    fn room(&self, request_bytes: usize) -> u64 {
        if self.is_prepared { ROOM / request_bytes as u64 } else { u64::MAX }
    }

    fn kill(&mut self) -> Result<(), TargetError> {
        self.subscription = None;
        if let Some(broker) = self.broker.take() {
            broker.kill()?;
        }
        Ok(())
    }

    /// It is ready when it says so, which is before anybody can be served.
    fn start_again(&mut self) -> Result<(), TargetError> {
        self.broker = Some(self.launch.start()?);
        Ok(())
    }
}

/// A publish at QoS 1 with a PING behind it, whose PONG confirms it.
pub(super) fn exchange(message: Message) -> Result<Exchange, FrameEncodeError> {
    Ok(Exchange { request: publish(message, 1, true)?, answer: pong })
}

fn publish(message: Message, qos: u8, ping: bool) -> Result<Template, FrameEncodeError> {
    let blank = Bytes::from(message.blank());
    let payload = PublishPayload { topic: TOPIC.to_owned(), qos, message: blank }.encode()?;
    let mut frames = BytesMut::new();
    let mut put = |msg_type, payload| {
        encode_frame(&Frame { msg_type, correlation_id: 0, payload }, &mut frames)?;
        Ok::<_, FrameEncodeError>(frames.len())
    };
    let published = put(FrameType::Publish, payload)?;
    if ping {
        put(FrameType::Ping, Bytes::new())?;
    }
    let tail = frames.len() - published;
    // Length and type go before the number.
    let template = Template::with_tail(frames.to_vec(), tail, message)
        .numbered(HEADER_BYTES - 8, Form::BigEndian);
    Ok(if ping {
        template.numbered(published + HEADER_BYTES - 8, Form::BigEndian)
    } else {
        template
    })
}

fn pong(number: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let frame = peek_frame(input, 1 << 20).map_err(io::Error::other)?;
    let Some(frame) = frame else { return Ok(None) };
    match frame.msg_type {
        FrameType::Pong if frame.correlation_id == number => Ok(Some((frame.wire_bytes(), 1))),
        FrameType::Nack => {
            let payload = Bytes::copy_from_slice(frame.payload);
            let nack = NackPayload::decode(&payload).map_err(io::Error::other)?;
            Err(io::Error::other(ClientError::Refused(nack)))
        }
        other => Err(io::Error::other(format!(
            "{other} {} where PONG {number} was due",
            frame.correlation_id
        ))),
    }
}

/// Has the broker move on to a segment that it has prepared, and prepare the one after it.
fn prepare(broker: &Broker) -> Result<(), TargetError> {
    await_quiet(broker)?;
    let mut client = Client::connect(broker.tcp_addr(), None)?;
    // A topic of its own, so that its messages are gone when its subscription is.
    client.subscribe("filling", 1)?;
    let payload = vec![0; FILLING];
    for _ in 0..SEGMENT / FILLING as u64 {
        client.publish("filling", 1, &payload)?;
        client.fence()?;
    }
    await_quiet(broker)
}

/// Waits until the broker has written nothing for a while. Its figures are all that can be seen
/// from outside of its work in the background.
fn await_quiet(broker: &Broker) -> Result<(), TargetError> {
    let started = Instant::now();
    let mut written = broker.written_bytes()?;
    while started.elapsed() < QUIET_MAX {
        thread::sleep(QUIET);
        let now = broker.written_bytes()?;
        if now == written {
            break;
        }
        written = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_publish_and_a_ping_with_its_number() {
        let exchange = exchange(Message { bytes: 100, content: false }).unwrap();
        let mut out = Vec::new();
        exchange.request.put(0x0102_0304, &mut out);
        let publish = peek_frame(&out, 1 << 20).unwrap().unwrap();
        assert_eq!((publish.msg_type, publish.correlation_id), (FrameType::Publish, 0x0102_0304));
        assert!(publish.payload.ends_with(b"xx"));
        let rest = &out[publish.wire_bytes()..];
        let ping = peek_frame(rest, 1 << 20).unwrap().unwrap();
        assert_eq!((ping.msg_type, ping.correlation_id), (FrameType::Ping, 0x0102_0304));
        assert_eq!(publish.wire_bytes() + ping.wire_bytes(), exchange.request_bytes());
    }

    #[test]
    fn only_the_pong_that_is_due_confirms() {
        let bytes = [0, 0, 0, 9, FrameType::Pong.as_u8(), 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(pong(7, &bytes).unwrap(), Some((13, 1)));
        assert_eq!(pong(7, &bytes[..12]).unwrap(), None);
        assert!(pong(8, &bytes).is_err());
    }
}
