//! A consumer that takes from the queue and acknowledges by ranges.

use std::io;

use bytes::BytesMut;
use sluice_protocol::binary::v2::{
    Deliver, LeaseSet, ReceiveRef, ServerFrame, SettleHead, Source, TagRange,
};

use super::wire::{frame, refused};
use crate::load::Consumer;
use crate::wire::Conn;

/// One consumer.
pub(super) struct Taker {
    pub(super) conn: Conn,
    queue: String,
    out: BytesMut,
    /// Delivery tags of what was taken and not acknowledged: a range, for they come in order.
    pub(super) held: Option<TagRange>,
    asked: u64,
}

impl Taker {
    pub(super) fn new(conn: Conn, queue: String) -> Self {
        Self { conn, queue, out: BytesMut::new(), held: None, asked: 0 }
    }

    fn acknowledge(&mut self, report: bool) -> io::Result<bool> {
        let Some(range) = self.held.take() else { return Ok(false) };
        let head = SettleHead { report, ..SettleHead::ACK };
        head.put(&mut self.out, 0, LeaseSet::Tags(&[range])).map_err(io::Error::other)?;
        Ok(true)
    }

    /// Acknowledges what it has, and asks for more.
    pub(super) fn ask(&mut self, max: u16, wait_ms: u32, lease_ms: u32) -> io::Result<()> {
        self.acknowledge(false)?;
        self.asked += 1;
        let from = Source::Queue(&self.queue);
        let receive = ReceiveRef { max, wait_ms, lease_ms, unbound: false, from };
        receive.put(&mut self.out, self.asked).map_err(io::Error::other)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.conn.out.extend_from_slice(&self.out);
        self.out.clear();
        self.conn.flush()
    }
}

impl Consumer for Taker {
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        self.ask(u16::try_from(count).map_err(io::Error::other)?, 0, 0)?;
        let mut taken = 0;
        loop {
            let held = &mut self.held;
            let more = self.conn.next(|input| {
                let Some((frame, end)) = frame(input)? else { return Ok(None) };
                let more = match &frame {
                    ServerFrame::Deliver(deliver) => {
                        let Deliver::AtLeastOnce(deliveries) = &deliver.messages else {
                            return Err(refused(&frame));
                        };
                        let first = deliveries.tag();
                        let last = first + u64::from(deliveries.count()) - 1;
                        let first = held.map_or(first, |held| held.first);
                        *held = Some(TagRange { first, last });
                        taken += usize::from(deliveries.count());
                        deliveries.iter().for_each(|delivery| each(delivery.payload));
                        deliver.more
                    }
                    ServerFrame::Empty(_) => false,
                    _ => return Err(refused(&frame)),
                };
                Ok(Some((more, end)))
            })?;
            if !more {
                return Ok(taken);
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if !self.acknowledge(true)? {
            return Ok(());
        }
        self.flush()?;
        self.conn.next(|input| match frame(input)? {
            Some((ServerFrame::Settled(settled), end)) if settled.count() == 0 => {
                Ok(Some(((), end)))
            }
            Some((frame, _)) => Err(refused(&frame)),
            None => Ok(None),
        })
    }
}
