//! Why something is not being delivered.

use sluice_flow::{Ask, Reason};
use sluice_model::{
    Code, Explained, Explanation, Lane, LimitAnswer, MessageId, PRIORITY_DEFAULT, QueueName, State,
    Timestamp,
};

use super::{micros, moment, told};
use crate::engine::{Engine, Refused};
use crate::journal::Need;
use crate::queue::Queue;
use crate::queue::slots::Extra;

/// Messages that a look for the next one of a group or with a key passes at most.
const LOOK_MAX: usize = 10_000;

impl Engine {
    /// Every reason why a message, or the next one of a group, with a key, or of a queue, is not
    /// delivered now.
    pub(crate) fn explain(
        &mut self,
        now: Timestamp,
        name: &QueueName,
        what: &Explained,
    ) -> Result<(LimitAnswer, Need), Refused> {
        let no = self.named(name)?;
        let not_found = |text: &'static str| (Code::NotFound, text.into());
        let queue = self.queues.get(&no).ok_or(not_found("there is no such queue"))?;
        let found = match what {
            Explained::Message(id) => queue.find(*id),
            what => next_of(queue, what),
        };
        let seq = found.ok_or(not_found("there is no such message in the queue"))?;
        let mut need = self.queues.get(&no).map_or(Need::NONE, Queue::need);
        need.cover(self.limits_need());
        let queue = self.queues.get(&no).ok_or(not_found("there is no such queue"))?;
        let reasons = self.reasons(now, queue, seq);
        Ok((LimitAnswer::Explained { reasons, at: now }, need))
    }

    fn reasons(&self, now: Timestamp, queue: &Queue, seq: u64) -> Vec<Explanation> {
        let mut reasons = Vec::new();
        let Some((slot, extra)) = queue.slots.get_full(seq) else { return reasons };
        let lease = extra.and_then(|extra| extra.lease);
        match slot.state() {
            State::Leased => {
                let until = lease.map_or(now, |lease| lease.deadline);
                return vec![Explanation::Leased { until }];
            }
            State::Delayed => {
                let until = extra.map_or(now, |extra| extra.ready_at);
                reasons.push(Explanation::Delayed { until });
            }
            State::Ready | State::Dead => {}
        }
        if let Some(pause) = queue.pause_at(now) {
            reasons.push(Explanation::Paused { key: None, pause: pause.clone() });
        }
        if let Some(head) = held_up_by(queue, seq, extra) {
            reasons.push(Explanation::BehindHead { head });
        }
        self.explain_limits(now, queue, extra, &mut reasons);
        if let Some(than) = priority_before(queue, extra) {
            reasons.push(Explanation::LowerPriority { than });
        }
        if queue.parked.len() == 0 && queue.attached.is_empty() {
            reasons.push(Explanation::NoConsumer);
        }
        reasons
    }

    /// What its limits and pauses say.
    fn explain_limits(
        &self,
        now: Timestamp,
        queue: &Queue,
        extra: Option<&Extra>,
        reasons: &mut Vec<Explanation>,
    ) {
        let name = queue.identity.name.as_str();
        let of = self.limits.set.of_queue(name);
        let lane = extra.and_then(Extra::lane);
        let keys = lane.map_or(&[][..], |lane| &lane.keys);
        let cost = lane.map_or(1, |lane| u32::from(lane.cost));
        let asked = self.limits.asked(&of, queue.no(), keys);
        let asks: Vec<_> = asked.iter().map(|asking| asking.ask(name, keys)).collect();
        for refused in self.limits.keyed.why(&asks, cost, micros(now)) {
            if let Some(ask) = asks.get(refused.at) {
                reasons.push(self.explain_one(ask, refused.reason));
            }
        }
    }

    fn explain_one(&self, ask: &Ask<'_>, reason: Reason) -> Explanation {
        let by = self.limits.limited_by(ask.owner, ask.text);
        match reason {
            Reason::Rate { eligible_at } => {
                Explanation::Rate { by, eligible_at: moment(eligible_at) }
            }
            Reason::Window { eligible_at } => {
                Explanation::Window { by, eligible_at: moment(eligible_at) }
            }
            Reason::Concurrency { holders, max } => Explanation::Concurrency { by, holders, max },
            Reason::Paused { until } => {
                let view = self.limits.keyed.view(ask);
                let pause = told(until, view.as_ref().and_then(|view| view.pause.as_ref()));
                Explanation::Paused { key: Some(ask.text.into()), pause }
            }
            Reason::KeyCap { .. } => Explanation::KeyCap,
            Reason::Turn => Explanation::Turn { by },
        }
    }
}

/// The message of its group that is before it, where they follow each other.
fn held_up_by(queue: &Queue, seq: u64, extra: Option<&Extra>) -> Option<MessageId> {
    let lane = queue.lanes.as_ref()?.get(extra?.lane_no)?;
    let head = lane.holds_up().filter(|head| *head != seq)?;
    queue.slots.get(head).map(|slot| queue.id_of(head, slot))
}

/// The next message of a queue, of a group in it, or with a key; else one of them that is held or
/// delayed.
fn next_of(queue: &Queue, what: &Explained) -> Option<u64> {
    let is_of = |order: &Lane| match what {
        Explained::Group(group) => order.group.as_deref() == Some(&**group),
        Explained::Key(key) => order.keys.contains(key),
        Explained::Message(_) | Explained::Queue => true,
    };
    let is_all = matches!(what, Explained::Queue);
    let is_meant =
        |extra: Option<&Extra>| is_all || extra.and_then(Extra::lane).is_some_and(|it| is_of(it));
    if let Some(seq) = queue.lanes.as_ref().filter(|_| !is_all).and_then(|it| it.first_of(is_of)) {
        return Some(seq);
    }
    let (mut from, end) = (0, queue.slots.next());
    let mut other = None;
    for _ in 0..LOOK_MAX {
        let Some(seq) = queue.slots.next_alive(from, end) else { break };
        from = seq + 1;
        let Some((slot, extra)) = queue.slots.get_full(seq) else { continue };
        match slot.state() {
            State::Ready if is_meant(extra) => return Some(seq),
            State::Delayed | State::Leased if is_meant(extra) => {
                other.get_or_insert(seq);
            }
            _ => {}
        }
    }
    let is_held = |seq: &u64| queue.slots.get_full(*seq).is_some_and(|(_, it)| is_meant(it));
    other.or_else(|| queue.held().take(LOOK_MAX).find(is_held))
}

/// A higher priority than its own of which messages are ready.
fn priority_before(queue: &Queue, extra: Option<&Extra>) -> Option<u8> {
    let own = extra.and_then(Extra::lane).map_or(PRIORITY_DEFAULT, |lane| lane.priority);
    queue.highest_ready().filter(|highest| *highest > own)
}
