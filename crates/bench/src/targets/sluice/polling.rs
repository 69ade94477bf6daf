//! Consumers of version 1, which ask for each message.

use std::io;

use sluice_protocol::FrameType;
use sluice_protocol::binary::frame::peek_frame;

use super::super::TargetError;
use crate::load::pass::Subscriber;
use crate::load::{Consumer, Inflow, Tally};
use crate::v1::{Client, ClientError};

/// POLLs in one write, with a PING behind them.
const POLLS: usize = 1024;
/// The largest frame that is due.
const FRAME_MAX: usize = 1 << 20;

/// A subscriber at QoS 0 that has sent its first POLLs.
pub(super) fn subscriber(mut client: Client, topic: &str) -> Result<Subscriber, TargetError> {
    let id = client.subscribe(topic, 0)?;
    for _ in 0..POLLS {
        client.poll(id)?;
    }
    client.ping()?;
    let polls = client.waiting().to_vec();
    client.flush()?;
    Ok((client.into_stream(), Box::new(Polled { polls })))
}

/// What answers POLLs; the next ones go out with the PONG behind the last.
struct Polled {
    polls: Vec<u8>,
}

impl Inflow for Polled {
    fn take(&mut self, input: &[u8], tally: &mut Tally, out: &mut Vec<u8>) -> io::Result<usize> {
        let mut at = 0;
        while let Some(frame) = peek_frame(&input[at..], FRAME_MAX).map_err(io::Error::other)? {
            match (frame.msg_type, frame.payload) {
                (FrameType::Publish, [_qos, high, low, rest @ ..]) => {
                    let topic = usize::from(u16::from_be_bytes([*high, *low]));
                    tally.message(rest.get(topic..).unwrap_or_default());
                }
                (FrameType::Pong, _) => out.extend_from_slice(&self.polls),
                (other, _) => return Err(io::Error::other(ClientError::Unexpected(other))),
            }
            at += frame.wire_bytes();
        }
        Ok(at)
    }
}

/// A consumer at QoS 1.
pub(super) struct Poller {
    client: Client,
    id: u64,
    taken: Vec<u64>,
}

impl Poller {
    pub(super) fn new(client: Client, id: u64) -> Self {
        Self { client, id, taken: Vec::new() }
    }

    fn add_acks(&mut self) -> Result<(), ClientError> {
        for tag in self.taken.drain(..) {
            self.client.ack(self.id, tag)?;
        }
        Ok(())
    }
}

impl Consumer for Poller {
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        self.add_acks().map_err(io::Error::other)?;
        let taken = self.client.take(self.id, count).map_err(io::Error::other)?;
        for delivered in taken {
            each(&delivered.message);
            self.taken.push(delivered.tag);
        }
        Ok(self.taken.len())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.add_acks().and_then(|()| self.client.fence()).map_err(io::Error::other)
    }
}
