//! How much of each log segment is still needed: what live records would take if they were written
//! anew, each body counted once and every queue that holds it.
//!
//! Bodies alone would not do: a log full of tiny live messages is mostly heads, and would be
//! copied again and again for the space that they seem to waste.

use std::collections::BTreeMap;

use crate::queue::slots::Slot;

/// Bytes of a moved record beside its body: its header, kind, flags, count and checksum.
const RECORD: u64 = 16;
/// Bytes of a record for each queue that holds its body.
const TARGET: u64 = 12;

/// Live records of the log's segments.
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
                return self.count(slot, TARGET);
            }
        }
        self.count(slot, RECORD + TARGET + slot.len());
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
                return self.discount(slot, TARGET);
            }
            self.shared.remove(&slot.sequence());
        }
        self.discount(slot, RECORD + TARGET + slot.len());
    }

    fn count(&mut self, slot: &Slot, len: u64) {
        *self.bytes.entry(slot.body().segment).or_default() += len;
        self.total += len;
    }

    fn discount(&mut self, slot: &Slot, len: u64) {
        let segment = slot.body().segment;
        if let Some(bytes) = self.bytes.get_mut(&segment) {
            *bytes = bytes.saturating_sub(len);
            if *bytes == 0 {
                self.bytes.remove(&segment);
            }
        }
        self.total = self.total.saturating_sub(len);
    }

    /// Bytes of live records in a segment.
    pub(crate) fn of(&self, segment: u32) -> u64 {
        self.bytes.get(&segment).copied().unwrap_or_default()
    }

    /// Bytes of live records in all segments.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}
