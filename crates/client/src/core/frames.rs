//! Batches cut into PUBLISH frames that the broker takes.

use bytes::BytesMut;
use sluice_model::{Block, Code};
use sluice_protocol::binary::v2::{EncodeError, PublishWriter, Welcome};

use super::batch::{Entry, Head, Items, Trail};
use crate::error::Refused;

/// What the broker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The greatest length of a frame.
    pub(crate) frame_max: usize,
    /// The longest payload.
    pub(crate) message_max: usize,
    /// Most messages of a PUBLISH.
    pub(crate) batch_max: usize,
}

/// All of a PUBLISH but its destination and messages, and more than a message's longest head.
const OVERHEAD: usize = 64;

impl From<Welcome<'_>> for Bounds {
    fn from(welcome: Welcome<'_>) -> Self {
        Self {
            frame_max: welcome.frame_max as usize,
            message_max: welcome.message_max as usize,
            batch_max: usize::from(welcome.batch_max.max(1)),
        }
    }
}

/// A frame that was written, or messages that can't be.
pub(super) type Framed = (Result<u64, Refused>, Items);

/// Writes frames under ids that grow.
pub(super) struct Framer<'a> {
    pub(super) out: &'a mut BytesMut,
    pub(super) bounds: &'a Bounds,
    /// The last id that was used.
    pub(super) next_id: &'a mut u64,
}

impl Framer<'_> {
    /// Writes a batch as frames, in order.
    pub(super) fn write(&mut self, trail: &Trail, items: Items) -> Vec<Framed> {
        let head = &trail.head;
        if head.destination.len() > usize::from(u8::MAX) {
            return vec![(Err(rejected(Code::Invalid, "the name is too long")), items)];
        }
        match items {
            Items::Plain { block, fate, base, only } => {
                let mut framed = Vec::new();
                let (mut rest, mut base) = (block, base);
                while !rest.is_empty() {
                    let (id, block) = self.write_block(head, &mut rest);
                    let only = only && rest.is_empty() && framed.is_empty();
                    let count = block.count();
                    let fate = std::sync::Arc::clone(&fate);
                    framed.push((id, Items::Plain { block, fate, base, only }));
                    base += count;
                }
                framed
            }
            Items::Each(entries) if head.whole => vec![self.write_whole(head, entries)],
            Items::Each(entries) => self.write_each(head, entries),
        }
    }

    /// The front of a block; never nothing.
    fn write_block(&mut self, head: &Head, rest: &mut Block) -> (Result<u64, Refused>, Block) {
        let room = self.bounds.frame_max.saturating_sub(OVERHEAD + head.destination.len());
        let count_max = u32::try_from(self.bounds.batch_max).unwrap_or(u32::MAX);
        let front = rest.split_to(count_max, room);
        if front.is_empty() {
            return (Err(too_large()), rest.split_to(1, usize::MAX));
        }
        let mut left = front.clone();
        let id = self.frame(head, |writer| {
            writer.push_block(&mut left);
            Ok(left.is_empty())
        });
        (id.and_then(|fits| if fits { Ok(*self.next_id) } else { Err(too_large()) }), front)
    }

    fn write_whole(&mut self, head: &Head, entries: Vec<Entry>) -> Framed {
        if entries.len() > self.bounds.batch_max {
            return (Err(too_large()), Items::Each(entries));
        }
        let message_max = self.bounds.message_max;
        let written = self.frame(head, |writer| {
            for Entry { message, .. } in &entries {
                let extras = message.extras.as_deref();
                if message.payload.len() > message_max
                    || !writer.push_with(&message.payload, extras)?
                {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        let id = written.and_then(|fits| if fits { Ok(*self.next_id) } else { Err(too_large()) });
        (id, Items::Each(entries))
    }

    fn write_each(&mut self, head: &Head, entries: Vec<Entry>) -> Vec<Framed> {
        let mut framed = Vec::new();
        let mut rest = entries;
        while !rest.is_empty() {
            let Bounds { message_max, batch_max, .. } = *self.bounds;
            let mut count = 0;
            let written = self.frame(head, |writer| {
                for Entry { message, .. } in rest.iter().take(batch_max) {
                    let extras = message.extras.as_deref();
                    let fits = message.payload.len() <= message_max
                        && match writer.push_with(&message.payload, extras) {
                            // It will come first, and be refused for this.
                            Err(_) if count > 0 => false,
                            written => written?,
                        };
                    if !fits {
                        break;
                    }
                    count += 1;
                }
                Ok(count > 0)
            });
            let id = written.and_then(|any| if any { Ok(*self.next_id) } else { Err(too_large()) });
            let after = rest.split_off(count.max(1));
            framed.push((id, Items::Each(std::mem::replace(&mut rest, after))));
        }
        framed
    }

    /// One frame; nothing of it stays, and its id is free, where `fill` says that it is not right.
    fn frame(
        &mut self,
        head: &Head,
        fill: impl FnOnce(&mut PublishWriter<'_>) -> Result<bool, EncodeError>,
    ) -> Result<bool, Refused> {
        let unwritable = |error: EncodeError| rejected(Code::Invalid, &error.to_string());
        let id = *self.next_id + 1;
        let mut writer = PublishWriter::begin(self.out, id, &head.on_wire(), self.bounds.frame_max)
            .map_err(unwritable)?;
        let right = fill(&mut writer).map_err(unwritable)?;
        if right {
            writer.finish();
            *self.next_id = id;
        }
        Ok(right)
    }
}

fn too_large() -> Refused {
    rejected(Code::TooLarge, "the message, or the whole batch, is larger than the broker takes")
}

fn rejected(code: Code, text: &str) -> Refused {
    Refused::by(code, text)
}
