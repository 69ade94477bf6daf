//! The queues as they are shown: the first ones by name one by one, queues before subscriptions,
//! all others as one.

use std::time::Duration;

use sluice_model::{QueueFigures, QueueKind, StateCounts};

use crate::doors::Shared;

/// What the queues beyond the bound are called together; no queue can be.
pub(super) const OTHERS: &str = "$other";

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Those that are shown one by one.
    pub(super) queues: Vec<QueueFigures>,
    /// How many others there are.
    pub(super) folded: u64,
    /// Their sum; of ages the greatest.
    pub(super) others: Sum,
    /// The sum of all.
    pub(super) all: Sum,
}

/// The sum of the figures of queues; of ages the greatest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) messages: StateCounts,
    pub(super) bytes: StateCounts,
    pub(super) oldest_ready: Option<Duration>,
    pub(super) oldest_leased: Option<Duration>,
}

impl Sum {
    fn add(&mut self, queue: &QueueFigures) {
        add(&mut self.messages, queue.messages);
        add(&mut self.bytes, queue.bytes);
        self.oldest_ready = self.oldest_ready.max(queue.oldest_ready);
        self.oldest_leased = self.oldest_leased.max(queue.oldest_leased);
    }
}

fn add(sum: &mut StateCounts, more: StateCounts) {
    sum.ready += more.ready;
    sum.delayed += more.delayed;
    sum.leased += more.leased;
    sum.dead += more.dead;
}

impl Shown {
    fn add(&mut self, queue: QueueFigures, queues_max: usize) {
        self.all.add(&queue);
        if self.queues.len() < queues_max {
            self.queues.push(queue);
        } else {
            self.folded += 1;
            self.others.add(&queue);
        }
    }
}

/// Looks at all queues, part after part, and lets others run between two.
pub(super) async fn survey(shared: &Shared) -> Shown {
    let queues_max = shared.config.metrics.queues_max;
    let mut shown = Shown::default();
    for kind in [QueueKind::Plain, QueueKind::Subscription] {
        let mut after = None;
        loop {
            let part = shared.broker.survey(kind, after.as_ref());
            if let Some(last) = part.queues.last() {
                after = Some(last.name.clone());
            }
            for queue in part.queues {
                shown.add(queue, queues_max);
            }
            if !part.more {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use sluice_model::QueueName;

    use super::*;

    #[test]
    fn queues_beyond_the_bound_are_shown_as_their_sum() {
        let mut shown = Shown::default();
        for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
            let count = 10u64.pow(at as u32);
            let messages = StateCounts { ready: count, delayed: 1, leased: 2, dead: 3 };
            let queue = QueueFigures {
                name: QueueName::new(name).unwrap(),
                messages,
                bytes: StateCounts { ready: 5 * count, ..messages },
                oldest_ready: Some(Duration::from_secs(count)),
                oldest_leased: None,
            };
            shown.add(queue, 1);
        }
        assert_eq!((shown.queues.len(), shown.folded), (1, 2));
        let others = Sum {
            messages: StateCounts { ready: 110, delayed: 2, leased: 4, dead: 6 },
            bytes: StateCounts { ready: 550, delayed: 2, leased: 4, dead: 6 },
            oldest_ready: Some(Duration::from_secs(100)),
            oldest_leased: None,
        };
        assert_eq!(shown.others, others);
        assert_eq!(shown.all.messages.ready, 111);
        assert!(QueueName::new(OTHERS).is_err(), "it is nobody's name");
    }
}
