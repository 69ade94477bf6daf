//! A survey of all queues for those who watch the broker: part after part, each of which costs
//! little whatever there is in the queues.

use sluice_model::{QueueFigures, QueueKind, QueueName, QueueNo, SurveyPart, Timestamp};

use crate::engine::Engine;

/// What one part of a survey may cost: a queue costs [`QUEUE_COST`], a message that is passed on
/// the way to the oldest ready one costs 1.
const PART_COST: u64 = 512;
const QUEUE_COST: u64 = 8;

impl Engine {
    /// The figures of queues of one kind behind `after`, in the order of their names, as many as one
    /// part has. It may have none and go on all the same: who asks again with the same `after` goes
    /// on where this one stopped.
    pub fn survey(
        &mut self,
        now: Timestamp,
        kind: QueueKind,
        after: Option<&QueueName>,
    ) -> SurveyPart {
        let mut left = PART_COST;
        let queues_max = (PART_COST / QUEUE_COST) as usize;
        let numbers: Vec<QueueNo> =
            self.names_of(kind, after).take(queues_max).map(|(_, no)| *no).collect();
        let mut queues = Vec::with_capacity(numbers.len());
        for no in &numbers {
            let Some(queue) = self.queues.get_mut(no) else { continue };
            let oldest_ready = if queue.counts.by_state.ready == 0 {
                None
            } else if queue.order.approach(&queue.slots, &mut left) {
                queue.oldest_ready().and_then(|seq| queue.slots.get(seq))
            } else {
                return SurveyPart { queues, more: true };
            };
            queues.push(QueueFigures {
                name: queue.identity.name.clone(),
                messages: queue.counts.by_state,
                bytes: queue.counts.bytes_by_state(),
                oldest_ready: oldest_ready.map(|slot| now.since(slot.enqueued_at())),
                oldest_leased: queue
                    .held_leases()
                    .next()
                    .map(|(_, lease)| now.since(lease.granted_at)),
            });
            left = left.saturating_sub(QUEUE_COST);
            if left == 0 {
                return SurveyPart { queues, more: true };
            }
        }
        SurveyPart { queues, more: numbers.len() == queues_max }
    }
}
