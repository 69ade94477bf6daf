//! The engine's records in the log's frames.

use sluice_engine::{BodyRef, Journal, Record};
use sluice_wal::{Disk, Log};

/// Writes the engine's records to a log, each once and straight into its frame.
pub(crate) struct LogJournal<'a, D: Disk> {
    log: &'a mut Log<D>,
    scratch: &'a mut Vec<u8>,
}

impl<'a, D: Disk> LogJournal<'a, D> {
    /// `scratch` is a buffer whose allocation is used again and again.
    pub(crate) fn new(log: &'a mut Log<D>, scratch: &'a mut Vec<u8>) -> Self {
        Self { log, scratch }
    }
}

impl<D: Disk> Journal for LogJournal<'_, D> {
    fn append(&mut self, record: &Record<'_>) -> BodyRef {
        self.scratch.clear();
        let stamp = match record {
            Record::Published { content: Some(content), .. } => {
                content.encode_head(self.scratch);
                let body: [&[u8]; 2] = [self.scratch, content.payload];
                self.log.append(|out| record.encode(out), &body)
            }
            Record::Moved { body: Some(body), .. } => {
                self.log.append(|out| record.encode(out), &[body])
            }
            _ => self.log.append(|out| record.encode(out), &[]),
        };
        body_ref(stamp.sequence, stamp.body)
    }

    fn begin_batch(&mut self, bytes: usize) {
        self.log.begin_batch(bytes);
    }

    fn end_batch(&mut self) {
        self.log.end_batch();
    }
}

/// The engine's view of a body's place.
pub(crate) fn body_ref(sequence: sluice_wal::Sequence, body: sluice_wal::BodyRef) -> BodyRef {
    BodyRef { sequence: sequence.0, segment: body.segment, offset: body.offset, len: body.len }
}

/// The log's view of a body's place.
pub(crate) fn place(body: BodyRef) -> (sluice_wal::Sequence, sluice_wal::BodyRef) {
    let BodyRef { sequence, segment, offset, len } = body;
    (sluice_wal::Sequence(sequence), sluice_wal::BodyRef { segment, offset, len })
}
