//! A subscription at most once: a bounded buffer in memory that belongs to one session.

use std::collections::VecDeque;
use std::sync::Arc;

use sluice_model::SessionId;

use crate::effects::Resident;
use crate::topic::Owner;

/// A subscription at most once. It loses its oldest messages when it can't keep up.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
    pub(crate) pattern: sluice_model::TopicPattern,
    waiting: VecDeque<Arc<Resident>>,
    bytes: usize,
}

impl Ephemeral {
    pub(crate) fn new(
        session: SessionId,
        owner: Owner,
        pattern: sluice_model::TopicPattern,
    ) -> Self {
        Self { session, owner, pattern, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Adds a message and drops the oldest ones past `bytes_max`, but never the new one. Says how
    /// many were dropped.
    pub(crate) fn push(&mut self, message: Arc<Resident>, bytes_max: usize) -> u64 {
        self.bytes += message.bytes();
        self.waiting.push_back(message);
        let mut dropped = 0;
        while self.bytes > bytes_max && self.waiting.len() > 1 {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    /// Bytes of the next message.
    pub(crate) fn next_bytes(&self) -> Option<usize> {
        self.waiting.front().map(|message| message.bytes())
    }

    /// Takes the next message.
    pub(crate) fn pop(&mut self) -> Option<Arc<Resident>> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }
}
