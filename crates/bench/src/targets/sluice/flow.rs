//! Messages at most once: many in a frame, on their way out and on their way in.

use std::io;

use bytes::BytesMut;
use sluice_model::var;
use sluice_protocol::binary::frame::{HEADER_BYTES, LENGTH_BYTES, LENGTH_MAX, peek_header_of};
use sluice_protocol::binary::v2::{Credit, FrameType};

use super::wire::CREDIT;
use crate::load::{Inflow, Outflow, Pack, Tally};
use crate::wire::unexpected;

/// Frames of a publisher: the same bytes, numbered anew.
pub(super) struct Frames {
    pack: Pack,
    /// One frame with as many messages as it may have.
    frame: Vec<u8>,
}

impl Frames {
    pub(super) fn new(pack: Pack) -> Self {
        let mut frame = Vec::new();
        pack.put(1, pack.max, &mut frame);
        Self { pack, frame }
    }
}

impl Outflow for Frames {
    fn next(&mut self, first: u64, max: u64) -> (&[u8], u64) {
        let Self { pack, frame } = self;
        let (count, step) = (pack.max.min(max), pack.message.frame_bytes());
        let (head, messages) = frame.split_at_mut(pack.head.len());
        pack.head(first, count, head);
        for (number, message) in (first..first + count).zip(messages.chunks_exact_mut(step)) {
            pack.message.number(number, message);
        }
        let bytes = pack.head.len() + count as usize * step;
        (&frame[..bytes], count)
    }
}

/// Pushed messages as they arrive. A frame may be longer than what was read: its messages count
/// as they come.
pub(super) struct Blocks {
    consumer: u64,
    /// Messages and bytes that are left of the frame at hand.
    messages: u32,
    bytes: usize,
    /// Credit that is used.
    used: u32,
}

impl Blocks {
    pub(super) fn new(consumer: u64) -> Self {
        Self { consumer, messages: 0, bytes: 0, used: 0 }
    }

    /// Takes the head of a frame; none if it is not all there.
    fn head(&mut self, input: &[u8]) -> io::Result<Option<usize>> {
        let header = peek_header_of::<FrameType>(input, LENGTH_MAX).map_err(io::Error::other)?;
        let Some(header) = header else { return Ok(None) };
        if header.msg_type != FrameType::Deliver {
            return Err(unexpected("no DELIVER", &input[..input.len().min(64)]));
        }
        // flags, topic, sender, count, published_at
        let mut at = HEADER_BYTES + 1;
        for _ in 0..2 {
            let Some(length) = input.get(at) else { return Ok(None) };
            at += 1 + usize::from(*length);
        }
        let Some(&[high, low]) = input.get(at..at + 2) else { return Ok(None) };
        let end = at + 2 + 8;
        if input.len() < end {
            return Ok(None);
        }
        self.messages = u16::from_be_bytes([high, low]).into();
        self.bytes = HEADER_BYTES + header.payload_bytes - end;
        Ok(Some(end))
    }

    /// Takes messages of the frame at hand; gives how many bytes.
    fn messages(&mut self, input: &[u8], tally: &mut Tally) -> usize {
        let whole = &input[..input.len().min(self.bytes)];
        let mut rest = whole;
        let mut count = 0;
        while let Ok((head, after)) = var::read(rest)
            && let Some((payload, next)) = after.split_at_checked((head >> 1) as usize)
        {
            tally.message(payload);
            count += 1;
            rest = next;
        }
        self.messages -= count.min(self.messages);
        self.used += count;
        let taken = whole.len() - rest.len();
        self.bytes -= taken;
        taken
    }
}

impl Inflow for Blocks {
    fn take(&mut self, input: &[u8], tally: &mut Tally, out: &mut Vec<u8>) -> io::Result<usize> {
        let mut at = 0;
        loop {
            if self.messages == 0 {
                match self.head(&input[at..])? {
                    Some(end) => at += end,
                    None => break,
                }
            }
            let taken = self.messages(&input[at..], tally);
            at += taken;
            if taken == 0 {
                break;
            }
        }
        if self.used >= CREDIT / 2 {
            let mut credit = BytesMut::with_capacity(LENGTH_BYTES + HEADER_BYTES + 16);
            Credit { consumer: self.consumer, messages: self.used }.put(&mut credit, 0);
            out.extend_from_slice(&credit);
            self.used = 0;
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use sluice_model::{BlockBuilder, Timestamp};
    use sluice_protocol::binary::v2::{DeliverHead, ServerFrame, put_deliver_block_head};

    use super::super::wire;
    use super::*;
    use crate::load::Message;

    const MESSAGE: Message = Message { bytes: 16, content: true };

    #[test]
    fn frames_hold_as_many_messages_as_they_say() {
        let mut frames = Frames::new(wire::topic_pack(MESSAGE, "bench").unwrap());
        for (first, max) in [(1, 3), (4, u64::MAX), (9_000, 1)] {
            let (bytes, count) = frames.next(first, max);
            let header = peek_header_of::<FrameType>(bytes, LENGTH_MAX).unwrap().unwrap();
            assert_eq!(HEADER_BYTES + header.payload_bytes, bytes.len());
            assert_eq!(header.correlation_id, first + count - 1);
            assert!(count <= max);
        }
    }

    #[test]
    fn messages_are_found_wherever_the_input_is_cut() {
        let mut builder = BlockBuilder::default();
        let mut blank = Vec::new();
        let template = crate::load::Template::new(MESSAGE.blank(), 0, MESSAGE);
        for number in 1..=5 {
            blank.clear();
            template.put(number, &mut blank);
            builder.push(&blank);
        }
        let block = builder.finish();
        let mut frame = BytesMut::new();
        let head = DeliverHead { pushed: true, topic: b"bench", sender: b"s" };
        put_deliver_block_head(&mut frame, 7, &head, false, Timestamp::EPOCH, &block).unwrap();
        frame.extend_from_slice(block.bytes());
        assert!(matches!(wire::frame(&frame).unwrap(), Some((ServerFrame::Deliver(_), _))));
        for cut in 0..frame.len() {
            let (mut blocks, mut tally) = (Blocks::new(7), Tally::of(MESSAGE));
            let mut out = Vec::new();
            let taken = blocks.take(&frame[..cut], &mut tally, &mut out).unwrap();
            let rest = blocks.take(&frame[taken..], &mut tally, &mut out).unwrap();
            assert_eq!((taken + rest, tally.fault(5)), (frame.len(), None), "cut at {cut}");
        }
    }
}
