//! Fetching from memory what requests are about, before they run one after the other.
//!
//! Among a hundred thousand queues the one that a request names is in no cache, and a dozen places are
//! looked at for it that would be waited for one by one. What came together is looked over first: then
//! memory answers for several queues at a time. Nothing is changed and nothing depends on it.

use std::hint::black_box;

use sluice_model::{Command, Destination, QueueNo, Request, Source};

use crate::engine::Engine;
use crate::queue::slots::Extra;
use crate::queue::{Queue, Waiting};
use crate::random::SeededMap;
use crate::record::Target;
use crate::topic::Listener;

/// Queues that are fetched together: their lines fit the first cache, and a processor waits for no
/// more of them at a time.
pub(crate) const TOGETHER: usize = 16;
/// Fewer queues stay in the caches by themselves. In tests none does.
const FEW: usize = if cfg!(debug_assertions) { 1 } else { 64 };

/// A queue, and the seq of the message in it that matters, if it is known.
pub(crate) type Wanted = (QueueNo, Option<u64>);

impl Engine {
    /// Fetches what the first of these requests are about. Gives how many were looked at; they
    /// should run before others are.
    pub fn fetch<'a>(&self, requests: impl IntoIterator<Item = &'a Request>) -> usize {
        self.fetch_for(requests, |request| self.wanted_by(&request.command), lines)
    }

    /// The same for the messages that the first of these records brought.
    pub fn fetch_targets<'a>(&self, records: impl IntoIterator<Item = &'a [Target]>) -> usize {
        let wanted =
            |targets: &[Target]| targets.first().map(|target| (target.queue, Some(target.seq.0)));
        // Whether a message is there is all that is asked.
        self.fetch_for(records, wanted, |queue| queue.slots.next())
    }

    /// The same for the first of these queues.
    pub(crate) fn fetch_listed(&self, queues: &[QueueNo]) -> usize {
        self.fetch_for(queues, |no| Some((*no, None)), lines)
    }

    /// The same for the watches among those that are served next, with the sessions that wait for them.
    pub(crate) fn fetch_stirred(&self) -> usize {
        if self.stirred.len() < FEW {
            return usize::MAX;
        }
        let mut waiting = [None; TOGETHER];
        for (place, from) in waiting.iter_mut().zip(self.stirred.iter().rev()) {
            *place = match from {
                Listener::Watch(id) => self.kv.watches.get(*id).map(|watch| &watch.parked),
                Listener::Queue(_) | Listener::Ephemeral(_) => None,
            };
        }
        // One step of all before the next step of any.
        let sessions = waiting.map(|waiting| waiting.and_then(Waiting::lone_session));
        let sessions = sessions.iter().flatten().filter_map(|id| self.sessions.get(id));
        black_box(sessions.fold(0, |sum, session| sum ^ session.out as u64 ^ session.need.written));
        TOGETHER
    }

    fn fetch_for<T>(
        &self,
        things: impl IntoIterator<Item = T>,
        wanted: impl Fn(T) -> Option<Wanted>,
        lines: impl Fn(&Queue) -> u64,
    ) -> usize {
        if self.queues.len() < FEW {
            return usize::MAX;
        }
        let mut all = [None; TOGETHER];
        let mut count = 0;
        for (place, thing) in all.iter_mut().zip(things) {
            *place = wanted(thing);
            count += 1;
        }
        fetch_queues(&self.queues, &all[..count], lines);
        count
    }

    fn wanted_by(&self, command: &Command) -> Option<Wanted> {
        let to = |to: &Destination| match to {
            Destination::Queue(name) => Some((self.names.find(name)?, None)),
            Destination::Topic(_) => None,
        };
        match command {
            Command::Publish(publish) => to(&publish.to),
            Command::PublishBlock(block) => to(&block.to),
            Command::Receive(receive) => match &receive.from {
                Source::Queue(name) => Some((self.names.find(name)?, None)),
                Source::Subscription(_) | Source::Watch(_) => None,
            },
            Command::Ack { lease, .. }
            | Command::Nack { lease, .. }
            | Command::Extend { lease, .. } => Some((lease.queue, Some(lease.seq.0))),
            Command::SettleMany(many) => {
                many.leases.first().map(|lease| (lease.queue, Some(lease.seq.0)))
            }
            _ => None,
        }
    }
}

/// Fetches of each queue a word of some `lines`, and the message that matters or the next one and the
/// last one. Gives how many queues are there.
pub(crate) fn fetch_queues(
    queues: &SeededMap<QueueNo, Queue>,
    wanted: &[Option<Wanted>],
    lines: impl Fn(&Queue) -> u64,
) -> usize {
    let mut found = [None; TOGETHER];
    for (place, wanted) in found.iter_mut().zip(wanted) {
        *place = wanted.and_then(|(no, seq)| Some((queues.get(&no)?, seq)));
    }
    // One step of all before the next step of any.
    let found = || found.iter().flatten();
    let own = found().fold(0, |sum, (queue, _)| sum ^ lines(queue));
    let messages = found().fold(own, |sum, (queue, seq)| {
        let last = queue.slots.next().saturating_sub(1);
        sum ^ match seq {
            Some(seq) => message(queue, *seq),
            None => message(queue, queue.order.cursor()) ^ message(queue, last),
        }
    });
    black_box(messages);
    found().count()
}

/// The same for what an image takes of a queue.
pub(crate) fn image_lines(queue: &Queue) -> u64 {
    let last = u64::from(queue.dirty) ^ queue.imaged_by ^ queue.doubtful_below;
    last ^ queue.slots.next() ^ queue.counters.published ^ queue.runs.iter().len() as u64
}

/// A word of each line of a queue that most requests look at.
fn lines(queue: &Queue) -> u64 {
    let words = [
        queue.slots.next(),
        queue.order.visible(),
        queue.counts.bytes,
        queue.counters.published,
        queue.last_sequence,
        queue.doubtful_below,
        queue.imaged_by,
        queue.parked.len() as u64,
        queue.work.len() as u64,
        queue.runs.iter().len() as u64,
        u64::from(queue.dirty),
        u64::from(queue.wakes_at.is_some()),
        queue.resident(),
    ];
    words.into_iter().fold(0, |sum, word| sum ^ word)
}

fn message(queue: &Queue, seq: u64) -> u64 {
    let full = queue.slots.get_full(seq);
    full.map_or(0, |(slot, extra)| slot.len() ^ extra.map_or(0, words))
}

fn words(extra: &Extra) -> u64 {
    u64::from(extra.acquires) ^ extra.lease.map_or(0, |lease| lease.generation.counter)
}
