//! What is done to a service, with all its numbers.

use std::time::Duration;

use crate::compare::{Case, KeyWork, Plan};
use crate::load::Message;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What is done.
    pub work: Work,
    /// With what. Where every byte is checked, nothing is timed.
    pub message: Message,
    /// Time that counts, where the work takes time.
    pub duration: Duration,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Messages at QoS 0 from one publisher to each subscriber.
    Pass {
        /// Each gets every message.
        subscribers: usize,
    },
    /// Confirmed publishes as fast as they go.
    Confirm {
        /// Connections.
        connections: usize,
        /// Publishes in flight on each.
        in_flight: usize,
    },
    /// Confirmed publishes on a schedule.
    Pace {
        /// A second.
        rate: u64,
    },
    /// A queue is filled, then emptied.
    Queue(Queue),
    /// Put, answer, take, ack, one after the other.
    Cycle,
    /// Connections that do nothing.
    Idle {
        /// As many, if descriptors allow.
        connections: u64,
    },
    /// Messages are posted over HTTP, one in flight on each connection.
    Http {
        /// Connections.
        connections: usize,
    },
    /// Keys are set or read.
    Keys {
        /// Which of both.
        work: KeyWork,
        /// Connections.
        connections: usize,
        /// Requests in flight on each.
        pipeline: usize,
    },
    /// A limit hands messages out one by one to receives that wait, and then none at all.
    Wake,
    /// A start after SIGKILL.
    Restart {
        /// Messages that wait.
        messages: u64,
    },
}

/// How a queue is filled and emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Messages that are put, if there is time.
    pub messages: u64,
    /// Time to put them.
    pub fill_max: Duration,
    /// Puts in flight.
    pub in_flight: usize,
    /// Consumers, all at once.
    pub consumers: usize,
    /// Messages that each takes at once.
    pub take: usize,
}

impl Queue {
    /// As the comparison does it.
    pub const COMPARED: Self = Self {
        messages: 200_000,
        // A target that syncs each put alone fills less than is asked for.
        fill_max: Duration::from_secs(20),
        in_flight: 256,
        consumers: 4,
        take: 100,
    };
}

/// Part of the messages, or of the time, that a run needs that is not timed.
const CONTENT_PART: u32 = 8;

/// Connections over HTTP, as `wrk -c 100`.
const HTTP_CONNECTIONS: usize = 100;

/// Connections of those who set and read keys, as `redis-benchmark` has them.
const KEY_CONNECTIONS: usize = 50;

impl Job {
    /// That of a case.
    pub fn of(plan: &Plan, case: Case, content: bool) -> Self {
        let part = if content { CONTENT_PART } else { 1 };
        let scale = plan.scale;
        let work = match case {
            Case::Pass { subscribers, .. } => Work::Pass { subscribers },
            Case::Confirm { connections, in_flight, .. } => {
                Work::Confirm { connections, in_flight }
            }
            Case::Pace { rate, .. } => Work::Pace { rate },
            Case::Queue { take, .. } => {
                let messages = scale.queued / u64::from(part);
                Work::Queue(Queue { messages, take, ..Queue::COMPARED })
            }
            Case::Cycle { .. } => Work::Cycle,
            Case::Idle => Work::Idle { connections: scale.connections },
            Case::Http { .. } => Work::Http { connections: HTTP_CONNECTIONS },
            Case::Keys { work, pipeline, .. } => {
                Work::Keys { work, connections: KEY_CONNECTIONS, pipeline }
            }
            Case::Keyed { .. } => {
                let messages = scale.queued / u64::from(part);
                Work::Queue(Queue { messages, ..Queue::COMPARED })
            }
            Case::Held => Work::Wake,
            Case::Restart => Work::Restart { messages: scale.waiting },
        };
        let message = Message { bytes: case.message_bytes(), content };
        Self { work, message, duration: plan.duration(case) / part }
    }

    /// Time before anything counts.
    pub fn warm_up(&self) -> Duration {
        self.duration / 8
    }
}
