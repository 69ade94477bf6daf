//! The frames that take a batch of messages once around: PUBLISH, RECEIVE, SETTLE, and what answers
//! them. The batch's id is that of all three.

use std::io;

use bytes::BytesMut;
use serde_json::json;
use sluice_protocol::binary::frame::{LENGTH_MAX, peek_frame_of};
use sluice_protocol::binary::v2::{
    ControlRef, Deliver, FrameType, LeaseSet, PublishHead, PublishWriter, ReceiveRef, ServerFrame,
    SettleHead, Source, TagRange,
};

use super::wire::{frame, refused};
use crate::load::{Message, Template};
use crate::wire::{Conn, Parsed};

/// Queues that are asked for before the first answer is read.
const DECLARED: usize = 1_000;

/// What the broker says of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All published up to this one are safe.
    Confirmed(u64),
    /// Messages of one, and whether more frames follow; no range where nothing was ready.
    Delivered { id: u64, range: Option<TagRange>, more: bool },
    /// It is acknowledged.
    Settled(u64),
}

/// Publishes messages into a queue, so many from `first` on, in one frame.
pub(crate) fn publish(
    out: &mut BytesMut,
    id: u64,
    queue: &str,
    numbers: std::ops::Range<u64>,
    template: &Template,
) -> io::Result<()> {
    let head = PublishHead { to_queue: true, ..PublishHead::at_least_once(queue) };
    let mut writer = PublishWriter::begin(out, id, &head, LENGTH_MAX).map_err(io::Error::other)?;
    let mut payload = Vec::with_capacity(template.frame_bytes());
    for number in numbers {
        payload.clear();
        template.put(number, &mut payload);
        let _fits = writer.push(&payload);
    }
    writer.finish();
    Ok(())
}

/// Messages as they are published, with nothing around them.
pub(crate) fn template(message: Message) -> Template {
    Template::new(message.blank(), 0, message)
}

/// Asks for so many messages that are there.
pub(crate) fn receive(out: &mut BytesMut, id: u64, queue: &str, max: u16) -> io::Result<()> {
    let from = Source::Queue(queue);
    ReceiveRef { max, wait_ms: 0, lease_ms: 0, unbound: false, from }
        .put(out, id)
        .map_err(io::Error::other)
}

/// Acknowledges, and wants to hear of it.
pub(crate) fn settle(out: &mut BytesMut, id: u64, ranges: &[TagRange]) -> io::Result<()> {
    let head = SettleHead { report: true, ..SettleHead::ACK };
    head.put(out, id, LeaseSet::Tags(ranges)).map_err(io::Error::other)
}

/// The answer at the front; `each` sees every message.
pub(crate) fn answer(input: &[u8], each: &mut dyn FnMut(&[u8])) -> Parsed<Answer> {
    let peeked = peek_frame_of::<FrameType>(input, LENGTH_MAX).map_err(io::Error::other)?;
    let Some(id) = peeked.map(|peeked| peeked.correlation_id) else { return Ok(None) };
    let Some((read, end)) = frame(input)? else { return Ok(None) };
    let answer = match &read {
        ServerFrame::Confirm(_) => Answer::Confirmed(id),
        ServerFrame::Empty(_) => Answer::Delivered { id, range: None, more: false },
        ServerFrame::Settled(settled) if settled.count() == 0 => Answer::Settled(id),
        ServerFrame::Deliver(deliver) => {
            let Deliver::AtLeastOnce(deliveries) = &deliver.messages else {
                return Err(refused(&read));
            };
            deliveries.iter().for_each(|delivery| each(delivery.payload));
            let first = deliveries.tag();
            let range = TagRange { first, last: first + u64::from(deliveries.count()) - 1 };
            Answer::Delivered { id, range: Some(range), more: deliver.more }
        }
        _ => return Err(refused(&read)),
    };
    Ok(Some((answer, end)))
}

/// Makes queues, many at a time.
pub(crate) fn declare(conn: &mut Conn, queues: &[String]) -> io::Result<()> {
    let mut out = BytesMut::new();
    for some in queues.chunks(DECLARED) {
        for queue in some {
            let json = json!({ "name": queue }).to_string();
            let ask = ControlRef { verb: "queue.declare", json: &json };
            ask.put(&mut out, 1).map_err(io::Error::other)?;
        }
        conn.out.extend_from_slice(&out);
        out.clear();
        conn.flush()?;
        for _ in some {
            conn.next(|input| {
                let Some((frame, end)) = frame(input)? else { return Ok(None) };
                match frame {
                    ServerFrame::Result(_) => Ok(Some(((), end))),
                    _ => Err(refused(&frame)),
                }
            })?;
        }
    }
    Ok(())
}
