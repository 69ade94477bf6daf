//! The frames of version 2 that a load sends and waits for.

use std::io;

use bytes::BytesMut;
use serde_json::{Value, json};
use sluice_model::{Extras, Qos};
use sluice_protocol::binary::frame::{HEADER_BYTES, LENGTH_MAX, peek_frame_of};
use sluice_protocol::binary::v2::{
    ControlRef, EncodeError, FrameType, Hello, PublishHead, PublishWriter, ServerFrame, Settings,
    SubscribeRef, put_auth, put_ping,
};

use super::super::Level;
use super::limited;
use crate::load::{Exchange, Form, Message, Pack, Template};
use crate::wire::{Conn, Parsed};

/// Credit that a subscriber begins with; half of it is given again when half is used.
pub(super) const CREDIT: u32 = 1_000_000;
/// Bytes of messages in one frame, if they are small.
const PACKED: usize = 64 << 10;
/// Messages in one frame of publishes that are confirmed: what a broker takes by default.
const BATCH: u64 = 1_000;
/// A count is the last thing in a head.
const COUNT_BYTES: usize = 2;

/// Has a connection let in, with a key if there is one.
pub(super) fn greet(conn: &mut Conn, key: Option<&str>) -> io::Result<()> {
    ask(conn, |out| Hello { frame_max: 0, name: "bench" }.put(out, 1))?;
    let mut wants_key = false;
    conn.next(|input| {
        answer(input, |frame| match frame {
            ServerFrame::Welcome(welcome) => {
                wants_key = welcome.auth;
                true
            }
            _ => false,
        })
    })?;
    match key {
        Some(key) if wants_key => {
            ask(conn, |out| put_auth(out, 2, key))?;
            conn.next(|input| answer(input, |frame| matches!(frame, ServerFrame::Ok)))
        }
        // Without one the first request says what is missing.
        _ => Ok(()),
    }
}

/// Asks for something of the JSON interface and gives the answer.
pub(super) fn control(conn: &mut Conn, verb: &str, json: &str) -> io::Result<Value> {
    ask(conn, |out| ControlRef { verb, json }.put(out, 1))?;
    let mut result = Value::Null;
    conn.next(|input| {
        answer(input, |frame| match frame {
            ServerFrame::Result(json) => {
                result = serde_json::from_str(json).unwrap_or_default();
                true
            }
            _ => false,
        })
    })?;
    Ok(result)
}

/// Makes the queue, which has no bounds that a load would meet.
pub(super) fn declare(conn: &mut Conn, queue: &str, level: Level) -> io::Result<()> {
    let settings = json!({
        "durability": level.word(),
        "max_messages": 1_000_000_000_u64,
        "max_bytes": 1_u64 << 40,
    });
    let wanted = json!({ "name": queue, "settings": settings });
    control(conn, "queue.declare", &wanted.to_string()).map(drop)
}

/// Subscribes at most once, with messages pushed. Gives the consumer's number.
pub(super) fn subscribe(conn: &mut Conn, topic: &str) -> io::Result<u64> {
    let subscribe = SubscribeRef {
        qos: Qos::AtMostOnce,
        push: true,
        name: "",
        pattern: topic,
        credit: CREDIT,
        lease_ms: 0,
        settings: Settings::default(),
    };
    ask(conn, |out| subscribe.put(out, 1, &[]))?;
    let mut consumer = 0;
    conn.next(|input| {
        answer(input, |frame| match frame {
            ServerFrame::Consuming(number) => {
                consumer = *number;
                true
            }
            _ => false,
        })
    })?;
    Ok(consumer)
}

/// Publishes one message at most once, and hears whether the broker takes such: of those that follow
/// nobody would hear that they were refused, and they would pass for lost.
pub(super) fn try_publish(conn: &mut Conn, message: Message, topic: &str) -> io::Result<()> {
    ask(conn, |out| {
        let head = PublishHead::at_most_once(topic);
        let mut frame = PublishWriter::begin(out, 1, &head, LENGTH_MAX)?;
        let _fits = frame.push(&message.blank());
        frame.finish();
        put_ping(out, 2);
        Ok::<_, EncodeError>(())
    })?;
    conn.next(|input| answer(input, |frame| matches!(frame, ServerFrame::Pong)))
}

/// A frame of messages at most once.
pub(super) fn topic_pack(message: Message, topic: &str) -> Result<Pack, EncodeError> {
    pack(message, &PublishHead::at_most_once(topic), u64::from(u16::MAX), None)
}

/// Publishes into the queue, one in a frame or many, and a CONFIRM for all up to its number. A message
/// has one of so many keys, a power of ten, or none.
pub(in super::super) fn exchange(
    message: Message,
    queue: &str,
    keys: Option<u64>,
) -> Result<Exchange, EncodeError> {
    let head = PublishHead { to_queue: true, ..PublishHead::at_least_once(queue) };
    let key = keys.map(limited::key);
    let one = one(message, &head, key.as_deref())?;
    let request = Template::with_tail(one.to_vec(), 0, message);
    let request = numbered(request, &one, key.as_deref());
    let request = request.numbered(HEADER_BYTES - 8, Form::BigEndian);
    let pack = pack(message, &head, BATCH, key.as_deref())?;
    Ok(Exchange { request, answer: confirmed, pack: Some(pack) })
}

/// A frame of one message.
fn one(
    message: Message,
    head: &PublishHead<'_>,
    key: Option<&str>,
) -> Result<BytesMut, EncodeError> {
    let mut out = BytesMut::new();
    let mut frame = PublishWriter::begin(&mut out, 0, head, LENGTH_MAX)?;
    let mut extras = Extras::default();
    extras.lane.keys.extend(key.map(Into::into));
    let _fits = frame.push_with(&message.blank(), key.map(|_| &extras))?;
    frame.finish();
    Ok(out)
}

/// Has the digits of a key follow the number.
fn numbered(template: Template, frame: &[u8], key: Option<&str>) -> Template {
    let place = |key: &str| frame.windows(key.len()).position(|part| part == key.as_bytes());
    match key.and_then(|key| Some((place(key)?, key.len()))) {
        Some((at, length)) => {
            let digits = length - limited::PREFIX.len();
            template.numbered(at + limited::PREFIX.len(), Form::Decimal(digits))
        }
        None => template,
    }
}

fn pack(
    message: Message,
    head: &PublishHead<'_>,
    max: u64,
    key: Option<&str>,
) -> Result<Pack, EncodeError> {
    let mut frame = one(message, head, key)?;
    // flags, level, destination
    let count_at = HEADER_BYTES + 3 + head.destination.len();
    let one = frame.split_off(count_at + COUNT_BYTES);
    let message = numbered(Template::with_tail(one.to_vec(), 0, message), &one, key);
    let max = max.min((PACKED / message.frame_bytes()).max(1) as u64);
    Ok(Pack { head: frame.to_vec(), id_at: HEADER_BYTES - 8, count_at, message, max })
}

/// A CONFIRM at the front: all publishes up to its number.
fn confirmed(number: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let peeked = peek_frame_of::<FrameType>(input, LENGTH_MAX).map_err(io::Error::other)?;
    let Some(header) = peeked else { return Ok(None) };
    match frame(input)? {
        Some((ServerFrame::Confirm(_), end)) if header.correlation_id >= number => {
            Ok(Some((end, header.correlation_id - number + 1)))
        }
        Some((frame, _)) => Err(refused(&frame)),
        None => Ok(None),
    }
}

fn ask<E: std::error::Error + Send + Sync + 'static>(
    conn: &mut Conn,
    put: impl FnOnce(&mut BytesMut) -> Result<(), E>,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    put(&mut out).map_err(io::Error::other)?;
    conn.out.extend_from_slice(&out);
    conn.flush()
}

/// The one frame that is due.
fn answer(input: &[u8], is_due: impl FnOnce(&ServerFrame<'_>) -> bool) -> Parsed<()> {
    let Some((frame, end)) = frame(input)? else { return Ok(None) };
    if is_due(&frame) { Ok(Some(((), end))) } else { Err(refused(&frame)) }
}

/// The frame at the front, and where it ends.
pub(super) fn frame(input: &[u8]) -> Parsed<ServerFrame<'_>> {
    let peeked = peek_frame_of::<FrameType>(input, LENGTH_MAX).map_err(io::Error::other)?;
    let Some(frame) = peeked else { return Ok(None) };
    let end = frame.wire_bytes();
    let read = ServerFrame::read(frame.msg_type, frame.payload).map_err(io::Error::other)?;
    Ok(Some((read, end)))
}

/// What was not due.
pub(super) fn refused(frame: &ServerFrame<'_>) -> io::Error {
    io::Error::other(match frame {
        ServerFrame::Error(error) => {
            format!("the broker refuses, {} {}: {}", error.status, error.code, error.text)
        }
        _ => format!("{frame:?} was not due"),
    })
}
