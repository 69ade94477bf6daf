//! DELIVER: what the broker hands over, as few frames as it can be.
//!
//! Deliveries that follow one another in the answer to one receive share a frame while topic and
//! sender are the same and it stays below what the client takes. A long payload, and a long block,
//! goes to the socket from where the broker keeps it.

use std::iter::Peekable;
use std::vec::Drain;

use bytes::Bytes;
use sluice_model::{
    Answer, BlockDelivery, Command, Confirm, Delivery, LeaseId, Outcome, Reply, Timestamp,
};
use sluice_protocol::binary::frame::HEADER_BYTES;
use sluice_protocol::binary::v2::{
    DeliverHead, DeliverWriter, DeliveryHead, put_deliver_block_head, put_deliver_one_head, put_gap,
};

use super::pending::Kind;
use super::session::Session;
use crate::doors::COPY_MAX;
use crate::doors::binary::common::Io;

const TOO_LONG: &str = "the message is longer than the frames that its consumer takes";

/// The replies that follow.
pub(super) type Rest<'a> = Peekable<Drain<'a, Reply>>;

/// Whom deliveries go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// The tag of the receive that they answer.
    pub(super) tag: u64,
    /// The id of the frames: that of a RECEIVE, or the consumer.
    pub(super) id: u64,
    pub(super) pushed: bool,
    /// The leases are bound to no connection.
    pub(super) tokens: bool,
    /// 0 for none.
    pub(super) consumer: u64,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) messages: u32,
    /// Weight of the replies that were taken from those that follow.
    pub(super) weight: usize,
    /// Further answers follow.
    pub(super) more: bool,
    /// The last frame says that another one follows.
    pub(super) promised: bool,
}

impl Session {
    /// Writes a delivery, and those that follow and may share its frame.
    pub(super) fn deliver(
        &mut self,
        to: Target,
        first: Box<Delivery>,
        rest: &mut Rest<'_>,
        io: &mut Io<'_>,
    ) -> Written {
        if first.lease.is_none() {
            return self.deliver_resident(to, Resident::One(first), rest, io);
        }
        let mut written = Written { more: first.more, ..Written::default() };
        let mut next = Some(first);
        while let Some(delivery) = next {
            if delivery.carried.payload.len() > COPY_MAX {
                self.deliver_alone(to, delivery, &mut written, io);
                break;
            }
            next = self.deliver_frame(to, delivery, rest, &mut written, io);
        }
        written
    }

    /// Writes a frame, and gives back the delivery that did not fit it.
    fn deliver_frame(
        &mut self,
        to: Target,
        first: Box<Delivery>,
        rest: &mut Rest<'_>,
        written: &mut Written,
        io: &mut Io<'_>,
    ) -> Option<Box<Delivery>> {
        let (topic, sender) = (first.carried.topic.clone(), first.carried.sender.clone());
        let head = DeliverHead { pushed: to.pushed, topic: &topic, sender: &sender };
        let (length_max, tag) = (self.length_max, self.tag_for(to));
        let in_flight_max = self.limits.in_flight_max;
        let (window, confirms) = (&mut self.receiving.window, &mut self.confirms);
        let left = io.output.write(|out| {
            if !to.pushed {
                confirms.put(out);
            }
            let begun = DeliverWriter::at_least_once(out, to.id, &head, tag, length_max);
            let Ok(mut frame) = begun else { return Some((first, 0)) };
            let mut delivery = first;
            loop {
                let its_head = DeliveryHead::of(&delivery, to.tokens);
                let fits = frame.push_delivery(&its_head, &delivery.carried.payload);
                if fits != Ok(true) {
                    let count = frame.count();
                    frame.finish(true);
                    written.promised |= count > 0;
                    return Some((delivery, count));
                }
                if let Some(lease) = delivery.lease.filter(|_| !to.tokens) {
                    window.push(in_flight_max, lease, delivery.deadline);
                }
                written.messages += 1;
                written.more = delivery.more;
                match next_alike(rest, to.tag, &topic, &sender) {
                    Some((next, weight)) => {
                        written.weight += weight;
                        delivery = next;
                    }
                    None => {
                        frame.finish(delivery.more);
                        written.promised = delivery.more;
                        return None;
                    }
                }
            }
        });
        let (delivery, before) = left?;
        if before > 0 {
            return Some(delivery);
        }
        written.more = delivery.more;
        self.undeliverable(delivery.lease, io);
        None
    }

    /// Writes a frame of one delivery, whose payload is not copied.
    fn deliver_alone(
        &mut self,
        to: Target,
        delivery: Box<Delivery>,
        written: &mut Written,
        io: &mut Io<'_>,
    ) {
        let (topic, sender) = (&delivery.carried.topic, &delivery.carried.sender);
        let head = DeliverHead { pushed: to.pushed, topic, sender };
        let its_head = DeliveryHead::of(&delivery, to.tokens);
        let (tag, bytes) = (self.tag_for(to), delivery.carried.payload.len());
        let (confirms, length_max) = (&mut self.confirms, self.length_max);
        let fits = io.output.write(|out| {
            if !to.pushed {
                confirms.put(out);
            }
            let start = out.len();
            let put = put_deliver_one_head(out, to.id, &head, delivery.more, tag, &its_head, bytes);
            let fits = put.is_ok() && out.len() - start + bytes <= length_max;
            if !fits {
                out.truncate(start);
            }
            fits
        });
        written.more = delivery.more;
        if !fits {
            return self.undeliverable(delivery.lease, io);
        }
        if let Some(lease) = delivery.lease.filter(|_| !to.tokens) {
            self.receiving.window.push(self.limits.in_flight_max, lease, delivery.deadline);
        }
        written.messages += 1;
        written.promised = delivery.more;
        io.output.push(delivery.carried.payload);
    }

    /// The tag of the next delivery; one with a token has none.
    fn tag_for(&self, to: Target) -> u64 {
        if to.tokens { 0 } else { self.receiving.window.next_tag() }
    }

    /// The client takes no frame as long as the message: the attempt has failed.
    fn undeliverable(&mut self, lease: Option<LeaseId>, io: &mut Io<'_>) {
        let Some(lease) = lease else { return };
        let outcome = Outcome::Failed { delay: None, note: Some(TOO_LONG.into()) };
        let command = Command::Nack { lease, outcome, confirm: Confirm::Refusal };
        self.push(io.requests, 0, Kind::Own { silent: true }, command);
    }

    /// Writes messages at most once, and those that follow and may share their frame.
    pub(super) fn deliver_resident(
        &mut self,
        to: Target,
        first: Resident,
        rest: &mut Rest<'_>,
        io: &mut Io<'_>,
    ) -> Written {
        let mut written = Written { more: first.more(), ..Written::default() };
        if let Resident::Many(block) = &first
            && block.messages.bytes().len() > COPY_MAX
        {
            self.deliver_block(to, block, &mut written, io);
            return written;
        }
        let mut next = Some(first);
        while let Some(resident) = next {
            next = self.resident_frame(to, resident, rest, &mut written, io);
        }
        written
    }

    /// Writes a frame, and gives back what did not fit it.
    fn resident_frame(
        &mut self,
        to: Target,
        first: Resident,
        rest: &mut Rest<'_>,
        written: &mut Written,
        io: &mut Io<'_>,
    ) -> Option<Resident> {
        let (topic, sender) = (first.topic().clone(), first.sender().clone());
        let head = DeliverHead { pushed: to.pushed, topic: &topic, sender: &sender };
        let (published_at, length_max) = (first.published_at(), self.length_max);
        let confirms = &mut self.confirms;
        let left = io.output.write(|out| {
            if !to.pushed {
                confirms.put(out);
            }
            let begun = DeliverWriter::at_most_once(out, to.id, &head, published_at, length_max);
            let Ok(mut frame) = begun else { return Some((first, 0)) };
            let mut resident = first;
            loop {
                let before = frame.count();
                let fits = resident.push(&mut frame);
                written.messages += u32::from(frame.count() - before);
                written.more = resident.more();
                if !fits {
                    let count = frame.count();
                    frame.finish(true);
                    written.promised |= count > 0;
                    return Some((resident, count));
                }
                let alike = |reply: &Reply| {
                    reply.tag == to.tag && resident_alike(reply, &topic, &sender, published_at)
                };
                match rest.next_if(alike).and_then(resident_of) {
                    Some((next, weight)) => {
                        written.weight += weight;
                        resident = next;
                    }
                    None => {
                        frame.finish(written.more);
                        written.promised = written.more;
                        return None;
                    }
                }
            }
        });
        let (mut resident, before) = left?;
        if before == 0 && !resident.drop_first(io, to.consumer) {
            return None;
        }
        Some(resident)
    }

    /// Writes a block as it is, in as few frames as the client takes.
    fn deliver_block(
        &mut self,
        to: Target,
        block: &BlockDelivery,
        written: &mut Written,
        io: &mut Io<'_>,
    ) {
        let BlockDelivery { topic, sender, published_at, .. } = block;
        let head = DeliverHead { pushed: to.pushed, topic, sender };
        // Flags, two lengths, a count, a time.
        let around = HEADER_BYTES + 1 + 1 + topic.len() + 1 + sender.len() + 2 + 8;
        let room = self.length_max.saturating_sub(around);
        let mut left = block.messages.clone();
        if !to.pushed {
            self.write(io.output, |_| ());
        }
        while !left.is_empty() {
            let part = left.split_to(u32::from(u16::MAX), room);
            if part.is_empty() {
                let _ = left.split_to(1, usize::MAX);
                io.output.write(|out| put_gap(out, to.consumer, 1));
                continue;
            }
            let more = block.more || !left.is_empty();
            let put = io
                .output
                .write(|out| put_deliver_block_head(out, to.id, &head, more, *published_at, &part));
            if put.is_ok() {
                written.messages += part.count();
                written.promised = more;
                io.output.push(part.bytes().clone());
            }
        }
    }
}

/// Messages at most once.
pub(super) enum Resident {
    One(Box<Delivery>),
    Many(Box<BlockDelivery>),
}

impl Resident {
    fn topic(&self) -> &Bytes {
        match self {
            Self::One(delivery) => &delivery.carried.topic,
            Self::Many(block) => &block.topic,
        }
    }

    fn sender(&self) -> &Bytes {
        match self {
            Self::One(delivery) => &delivery.carried.sender,
            Self::Many(block) => &block.sender,
        }
    }

    fn published_at(&self) -> Timestamp {
        match self {
            Self::One(delivery) => delivery.carried.published_at,
            Self::Many(block) => block.published_at,
        }
    }

    fn more(&self) -> bool {
        match self {
            Self::One(delivery) => delivery.more,
            Self::Many(block) => block.more,
        }
    }

    /// Appends as much as fits; whether that was all.
    fn push(&mut self, frame: &mut DeliverWriter<'_>) -> bool {
        match self {
            Self::One(delivery) => {
                let carried = &delivery.carried;
                frame.push_with(&carried.payload, &carried.headers) == Ok(true)
            }
            Self::Many(block) => {
                frame.push_block(&mut block.messages);
                block.messages.is_empty()
            }
        }
    }

    /// Loses the first message, which is longer than the client's frames; whether any is left.
    fn drop_first(&mut self, io: &mut Io<'_>, consumer: u64) -> bool {
        io.output.write(|out| put_gap(out, consumer, 1));
        match self {
            Self::One(_) => false,
            Self::Many(block) => {
                let _ = block.messages.split_to(1, usize::MAX);
                !block.messages.is_empty()
            }
        }
    }
}

/// The next reply, if it is a delivery that may share a frame with those of this topic and sender.
#[inline]
fn next_alike(
    rest: &mut Rest<'_>,
    tag: u64,
    topic: &Bytes,
    sender: &Bytes,
) -> Option<(Box<Delivery>, usize)> {
    let alike = |reply: &Reply| match &reply.answer {
        Answer::Delivered(delivery) => {
            let carried = &delivery.carried;
            reply.tag == tag
                && delivery.lease.is_some()
                && carried.payload.len() <= COPY_MAX
                && carried.topic == topic
                && carried.sender == sender
        }
        _ => false,
    };
    let reply = rest.next_if(alike)?;
    let weight = reply.weight();
    match reply.answer {
        Answer::Delivered(delivery) => Some((delivery, weight)),
        _ => None,
    }
}

fn resident_alike(reply: &Reply, topic: &Bytes, sender: &Bytes, at: Timestamp) -> bool {
    match &reply.answer {
        Answer::Delivered(delivery) => {
            let carried = &delivery.carried;
            delivery.lease.is_none()
                && carried.payload.len() <= COPY_MAX
                && (&carried.topic, &carried.sender, carried.published_at) == (topic, sender, at)
        }
        Answer::DeliveredBlock(block) => {
            block.messages.bytes().len() <= COPY_MAX
                && (&block.topic, &block.sender, block.published_at) == (topic, sender, at)
        }
        _ => false,
    }
}

fn resident_of(reply: Reply) -> Option<(Resident, usize)> {
    let weight = reply.weight();
    match reply.answer {
        Answer::Delivered(delivery) => Some((Resident::One(delivery), weight)),
        Answer::DeliveredBlock(block) => Some((Resident::Many(block), weight)),
        _ => None,
    }
}
