//! RECEIPT: as many frames as one PUBLISH needs.

use bytes::BytesMut;
use sluice_model::{MessageId, Published, PublishedBlock, Refusal};
use sluice_protocol::binary::v2::ReceiptWriter;

/// Appends what became of the messages of a PUBLISH.
pub(super) fn put_receipts<'a>(
    out: &mut BytesMut,
    id: u64,
    all: impl Iterator<Item = Result<Published, &'a Refusal>>,
    length_max: usize,
) {
    let mut all = all.peekable();
    while all.peek().is_some() {
        let Ok(mut frame) = ReceiptWriter::begin(out, id, length_max) else { return };
        while all.next_if(|one| push(&mut frame, one)).is_some() {}
        // A text that is longer than a frame is left out.
        if frame.count() == 0
            && let Some(Err(refusal)) = all.next()
        {
            let _ = frame.push_refused(&Refusal::new(refusal.code, ""));
        }
        frame.finish(all.peek().is_some());
    }
}

fn push(frame: &mut ReceiptWriter<'_>, one: &Result<Published, &Refusal>) -> bool {
    match one {
        Ok(published) => frame.push(published),
        Err(refusal) => frame.push_refused(refusal),
    }
}

/// The messages of a block, each by itself.
pub(super) fn each(block: PublishedBlock) -> impl Iterator<Item = Published> {
    let PublishedBlock { first, count, matched, level, each: _ } = block;
    (0..u64::from(count)).map(move |at| {
        let id = MessageId { start: first.start, counter: first.counter + at };
        Published { id, matched, level, duplicate: false }
    })
}
