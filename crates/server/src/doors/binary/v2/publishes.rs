//! PUBLISH: messages for one destination, as few requests as they can be.
//!
//! Messages without extras are handed on as one block, as they lie in what was read.

use bytes::Bytes;
use sluice_model::{
    Code, Command, Confirm, Destination, Message, NameError, Publish, PublishBatch, PublishBlock,
    Published, Qos, QueueName, Refusal,
};
use sluice_protocol::binary::v2::{MessageRef, PublishHead, PublishRef};
use tracing::debug;

use super::answers::Local;
use super::confirms::weaker;
use super::pending::Kind;
use super::receipts::put_receipts;
use super::session::Session;
use crate::doors::Output;
use crate::doors::binary::common::Io;
use crate::log::Shown;

impl Session {
    /// Understands a PUBLISH; its messages share the bytes of `payload`.
    pub(super) fn publish(&mut self, id: u64, payload: &Bytes, io: &mut Io<'_>) {
        if self.draining {
            return self.shutting_down(id, io);
        }
        let PublishRef { head, messages } = match PublishRef::read(payload, self.limits.message_max)
        {
            Ok(publish) => publish,
            Err(error) => return self.malformed(id, &error, io),
        };
        if let Err(refusal) = io.count(messages.count()) {
            return self.answer(id, Local::Refused(refusal), io);
        }
        let to = match self.destination(&head) {
            Ok(to) => to,
            Err(error) => {
                debug!(destination = %Shown(head.destination), "not a destination");
                return self.refuse(id, Code::Invalid, error.to_string(), io);
            }
        };
        let PublishHead { qos, whole, receipt, level, .. } = head;
        let (kind, confirm) = match qos {
            Qos::AtMostOnce => (Kind::Quiet { follow: 0 }, Confirm::Refusal),
            Qos::AtLeastOnce => (Kind::Publish { receipt }, Confirm::Always),
        };
        let command = if let Some(messages) = messages.shared(payload) {
            let block = PublishBlock { to, qos, level, messages, whole, confirm, each: receipt };
            Command::PublishBlock(Box::new(block))
        } else if whole {
            let each = |message| (to.clone(), owned(&message, payload));
            let messages = messages.iter().map(each).collect();
            Command::PublishBatch(Box::new(PublishBatch { messages, level }))
        } else {
            let batch_max = self.limits.batch_max;
            if qos == Qos::AtLeastOnce && messages.count() as usize > batch_max {
                let text = format!("a batch has 1 .. {batch_max} messages");
                return self.refuse(id, Code::Invalid, text, io);
            }
            // A frame counts them in 16 bits.
            let mut follow = messages.count() as u16;
            for message in messages.iter() {
                follow = follow.saturating_sub(1);
                let (to, message) = (to.clone(), owned(&message, payload));
                let publish = Publish { to, qos, level, message, confirm };
                let kind = match qos {
                    Qos::AtMostOnce => Kind::Quiet { follow },
                    Qos::AtLeastOnce => Kind::Part { receipt, last: follow == 0 },
                };
                self.push(io.requests, id, kind, Command::Publish(publish));
            }
            return;
        };
        self.push(io.requests, id, kind, command);
    }

    /// Where to. What repeats is looked at once.
    fn destination(&mut self, head: &PublishHead<'_>) -> Result<Destination, NameError> {
        let name = head.destination;
        if !head.to_queue {
            return self.publishing.topics.named(name).map(Destination::Topic);
        }
        if let Some(last) = self.last_queue.as_ref().filter(|last| last.as_str() == name) {
            return Ok(Destination::Queue(last.clone()));
        }
        let queue = QueueName::new(name)?;
        self.last_queue = Some(queue.clone());
        Ok(Destination::Queue(queue))
    }

    /// Tells what became of the messages of a PUBLISH at least once.
    pub(super) fn published(
        &mut self,
        id: u64,
        receipt: bool,
        all: &[Result<Published, Refusal>],
        output: &mut Output,
    ) {
        let level = all.iter().flatten().fold(None, |level, one| weaker(level, one.level));
        let mut refusals = all.iter().filter_map(|one| one.as_ref().err());
        let first = refusals.next();
        let alike = refusals.all(|refusal| Some(refusal) == first);
        match first {
            None if !receipt => self.confirms.add(id, level),
            Some(refusal) if alike && all.iter().all(Result::is_err) => {
                self.write_error(id, refusal, output);
            }
            _ => {
                self.tally.refusals += all.iter().filter(|one| one.is_err()).count() as u32;
                let length_max = self.length_max;
                let all = all.iter().map(|one| one.as_ref().copied());
                self.write(output, |out| put_receipts(out, id, all, length_max));
            }
        }
    }
}

fn owned(message: &MessageRef<'_>, payload: &Bytes) -> Message {
    let extras = message.extras.map(|extras| Box::new(extras.to_model()));
    Message { payload: payload.slice_ref(message.payload), extras }
}
