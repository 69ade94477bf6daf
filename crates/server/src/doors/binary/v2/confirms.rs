//! CONFIRM: one for as many PUBLISH frames as are safe.

use bytes::BytesMut;
use sluice_model::Level;
use sluice_protocol::binary::v2::put_confirm;

/// What is safe and not told yet.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// The last frame, and the weakest level of all.
    waiting: Option<(u64, Option<Level>)>,
}

impl Confirms {
    /// Notes that the PUBLISH `id` is safe; none where it went to no queue.
    pub(super) fn add(&mut self, id: u64, level: Option<Level>) {
        let before = self.waiting.and_then(|(_, level)| level);
        self.waiting = Some((id, weaker(before, level)));
    }

    /// Tells what is safe, before anything that answers a later frame.
    pub(super) fn put(&mut self, out: &mut BytesMut) {
        if let Some((id, level)) = self.waiting.take() {
            put_confirm(out, id, level);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.waiting.is_none()
    }
}

/// The weaker of two levels; what went to no queue has none.
pub(super) fn weaker(one: Option<Level>, other: Option<Level>) -> Option<Level> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
