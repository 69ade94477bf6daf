//! How much of each log segment is still needed: bytes of live bodies, shared ones counted once.

use std::collections::BTreeMap;

use crate::journal::BodyRef;
use crate::queue::slots::Slot;

/// Live bodies of the log's segments.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    bytes: BTreeMap<u32, u64>,
    /// How many queues hold a body that more than one took, by its record.
    shared: BTreeMap<u64, u32>,
    total: u64,
}

impl Usage {
    /// A message in one more queue refers to its body.
    pub(crate) fn add(&mut self, slot: &Slot) {
        if slot.sequence() == 0 {
            return;
        }
        if slot.is_shared() {
            let holders = self.shared.entry(slot.sequence()).or_default();
            *holders += 1;
            if *holders > 1 {
                return;
            }
        }
        self.count(slot.body(), slot.len());
    }

    /// A message that referred to its body is gone.
    pub(crate) fn release(&mut self, slot: &Slot) {
        if slot.sequence() == 0 {
            return;
        }
        if slot.is_shared()
            && let Some(holders) = self.shared.get_mut(&slot.sequence())
        {
            *holders -= 1;
            if *holders > 0 {
                return;
            }
            self.shared.remove(&slot.sequence());
        }
        let BodyRef { segment, .. } = slot.body();
        if let Some(bytes) = self.bytes.get_mut(&segment) {
            *bytes = bytes.saturating_sub(slot.len());
            if *bytes == 0 {
                self.bytes.remove(&segment);
            }
        }
        self.total = self.total.saturating_sub(slot.len());
    }

    fn count(&mut self, body: BodyRef, len: u64) {
        *self.bytes.entry(body.segment).or_default() += len;
        self.total += len;
    }

    /// Bytes of live bodies in a segment.
    pub(crate) fn of(&self, segment: u32) -> u64 {
        self.bytes.get(&segment).copied().unwrap_or_default()
    }

    /// Bytes of live bodies in all segments.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}
