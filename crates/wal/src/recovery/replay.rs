//! Hands what was kept to the owner, record by record.

use crate::disk::Disk;
use crate::error::WalError;
use crate::format::{BodyRef, FRAME_HEADER, FrameHeader, Position, Records, Sequence};
use crate::history::History;

/// A record that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed<'a> {
    /// Its number.
    pub sequence: Sequence,
    /// Its head.
    pub head: &'a [u8],
    /// Where its body is; of length 0 without one.
    pub body: BodyRef,
    /// The owner's clock when it was committed.
    pub time_ms: u64,
}

/// Visits the records of all whole frames from `start` on.
pub(crate) fn replay<D: Disk>(
    history: &History<D>,
    start: Position,
    mut visit: impl FnMut(Replayed<'_>) -> Result<(), WalError>,
) -> Result<(), WalError> {
    history.walk(start, |frame| {
        replay_frame(frame.segment, frame.offset, &frame.header, frame.payload, &mut visit)
    })?;
    Ok(())
}

/// Visits the records of a whole frame.
pub(crate) fn replay_frame(
    segment: u32,
    offset: u32,
    header: &FrameHeader,
    payload: &[u8],
    visit: &mut impl FnMut(Replayed<'_>) -> Result<(), WalError>,
) -> Result<(), WalError> {
    let payload_at = offset + FRAME_HEADER as u32;
    let mut sequence = header.first;
    for record in Records::new(payload) {
        let len = record.body.len() as u32;
        let body = BodyRef { segment, offset: payload_at + record.body_at as u32, len };
        let body = if record.body.is_empty() { BodyRef::default() } else { body };
        visit(Replayed { sequence, head: record.head, body, time_ms: header.time_ms })?;
        sequence = Sequence(sequence.0 + 1);
    }
    Ok(())
}
