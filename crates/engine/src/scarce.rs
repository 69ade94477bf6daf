//! What the broker asks of the engine when the log can't take everything.

use sluice_model::{QueueName, SessionId, Subscribe};

use crate::engine::Engine;
use crate::topic::Listener;

impl Engine {
    /// Hands no messages to receives that wait, or does so again.
    pub fn hold_deliveries(&mut self, hold: bool) {
        if self.holds_deliveries == hold {
            return;
        }
        self.holds_deliveries = hold;
        if !hold {
            let waiting = self.queues.iter().filter(|(_, queue)| !queue.parked.nobody_in_line());
            let mut waiting: Vec<_> = waiting.map(|(no, _)| Listener::Queue(*no)).collect();
            waiting.sort_unstable();
            waiting.into_iter().for_each(|from| self.stir(from));
        }
    }

    /// Whether there is a queue of that name.
    pub fn has_queue(&self, name: &QueueName) -> bool {
        self.names.find(name).is_some()
    }

    /// Whether a durable subscription would be a new one.
    pub fn would_make(&self, session: SessionId, subscribe: &Subscribe) -> bool {
        match &subscribe.name {
            Some(name) => !self.has_queue(&QueueName::of_subscription(name)),
            None => self.oldest_detached(session, subscribe).is_none(),
        }
    }
}
