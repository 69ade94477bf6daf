//! Looking without touching: a queue's figures, its messages page by page, and a single one.

use std::time::Duration;

use sluice_model::{
    Answer, Code, Filter, MessageId, MessageInfo, QueueName, QueueSettings, QueueStats, Reply, Seq,
    SessionId, Setting, State, Timestamp, Transition,
};

use crate::effects::{Body, Effect};
use crate::engine::{Engine, Refused, Turn};
use crate::journal::Need;
use crate::queue::Queue;
use crate::queue::slots::{Extra, Slot};

/// Messages that one page looks at, at most, whatever it finds.
const LOOK_MAX: usize = 4_096;

impl Engine {
    /// Settings, counters and gauges of a queue.
    pub(crate) fn stats_of(
        &mut self,
        now: Timestamp,
        name: &QueueName,
    ) -> Result<(Answer, Need), Refused> {
        let no = self.named(name)?;
        let Some(queue) = self.queues.get_mut(&no) else {
            return Err((Code::NotFound, "there is no such queue".into()));
        };
        let need = queue.need();
        let mut settings = QueueSettings::default();
        for setting in Setting::ALL {
            // Rules that were never chosen may lie outside what can be chosen.
            let range = setting.range();
            let value = queue.rules.value(*setting).clamp(*range.start(), *range.end());
            let _in_range = settings.set(*setting, value);
        }
        let oldest_ready = queue.oldest_ready();
        let age = |at: Timestamp| now.since(at);
        let leased = queue.held_leases().next().map(|(_, lease)| lease.granted_at);
        let counters = queue.counters;
        let stats = QueueStats {
            name: queue.identity.name.clone(),
            pattern: queue.identity.pattern.as_ref().map(|pattern| pattern.as_str().to_owned()),
            made_at: queue.identity.made_at,
            settings,
            counts: queue.counts.by_state,
            bytes: queue.counts.bytes,
            dead_bytes: queue.counts.dead_bytes,
            published: counters.published,
            acked: counters.acked,
            expired: counters.expired,
            deleted: counters.deleted,
            dropped: counters.dropped,
            oldest_ready: oldest_ready
                .and_then(|seq| queue.slots.get(seq))
                .map(|slot| age(slot.enqueued_at())),
            oldest_leased: leased.map(age),
            next_due: queue.next_due(),
            consumers: queue.attached.len() as u64,
            waiting: queue.parked.len() as u64,
            redriving: queue.is_redriving(),
            degraded: queue.degraded,
        };
        Ok((Answer::Stats(Box::new(stats)), need))
    }

    /// Messages of a queue, from behind a cursor, in the order of their seqs.
    pub(crate) fn browse(
        &self,
        now: Timestamp,
        name: &QueueName,
        filter: &Filter,
        after: Option<u64>,
        limit: u16,
    ) -> Result<(Answer, Need), Refused> {
        let no = self.named(name)?;
        let Some(queue) = self.queues.get(&no) else {
            return Err((Code::NotFound, "there is no such queue".into()));
        };
        let limit = usize::from(limit).clamp(1, self.config.batch_max);
        let end = queue.slots.next();
        let mut from = after.map_or(0, |seq| seq.saturating_add(1));
        let mut messages = Vec::new();
        let mut next = None;
        for _ in 0..LOOK_MAX {
            let Some(seq) = queue.slots.next_alive(from, end) else {
                next = None;
                break;
            };
            if messages.len() == limit {
                break;
            }
            from = seq + 1;
            next = Some(seq);
            if let Some((slot, extra)) = queue.slots.get_full(seq)
                && passes(filter, now, slot, extra)
            {
                messages.push(describe(queue, seq, slot, extra));
            }
        }
        Ok((Answer::Browsed { messages, next }, queue.need()))
    }

    /// One message and what it carries.
    pub(crate) fn peek(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        name: &QueueName,
        id: MessageId,
    ) -> Result<Option<(Answer, Need)>, Refused> {
        let no = self.named(name)?;
        let not_found = || (Code::NotFound, "there is no such message in the queue".into());
        let queue = self.queues.get(&no).ok_or_else(not_found)?;
        let seq = queue.find(id).ok_or_else(not_found)?;
        let (slot, extra) = queue.slots.get_full(seq).ok_or_else(not_found)?;
        let body = match extra.and_then(|extra| extra.resident.clone()) {
            Some(message) => Body::Resident(message),
            None => Body::stored(slot.body()),
        };
        let info = Box::new(describe(queue, seq, slot, extra));
        let need = queue.need();
        if let Some(state) = self.sessions.get_mut(&session) {
            state.out += Reply::peek_weight(body.bytes());
        }
        self.wanted.cover(need);
        turn.effects.push(Effect::Peek { session, tag, info, body, need });
        Ok(None)
    }
}

fn passes(filter: &Filter, now: Timestamp, slot: &Slot, extra: Option<&Extra>) -> bool {
    let Filter { state, group, key, age_min, reason } = filter;
    let lane = extra.and_then(Extra::lane);
    let old = |min: Duration| now.since(slot.enqueued_at()) >= min;
    let died = extra.and_then(Extra::dead).map(|(reason, _)| reason);
    let group_is = |wanted: &str| lane.and_then(|lane| lane.group.as_deref()) == Some(wanted);
    let has_key = |wanted: &str| lane.is_some_and(|lane| lane.keys.iter().any(|k| **k == *wanted));
    state.is_none_or(|state| slot.state() == state)
        && age_min.is_none_or(old)
        && reason.is_none_or(|reason| died == Some(reason))
        && group.as_deref().is_none_or(group_is)
        && key.as_deref().is_none_or(has_key)
}

fn describe(queue: &Queue, seq: u64, slot: &Slot, extra: Option<&Extra>) -> MessageInfo {
    let plain = Extra::default();
    let extra = extra.unwrap_or(&plain);
    let set = |at: Timestamp| Some(at).filter(|at| *at != Timestamp::EPOCH);
    MessageInfo {
        id: queue.id_of(seq, slot),
        seq: Seq(seq),
        state: slot.state(),
        enqueued_at: slot.enqueued_at(),
        ready_at: set(extra.ready_at).filter(|_| slot.state() == State::Delayed),
        expires_at: set(extra.expires_at),
        deadline: extra.lease.map(|lease| lease.deadline),
        lane: extra.lane().cloned(),
        bytes: slot.len(),
        acquires: extra.acquires,
        failures: extra.failures,
        releases: extra.releases,
        redriven: extra.more.as_ref().map_or(0, |more| more.redriven),
        last_error: extra.more.as_ref().and_then(|more| more.note.clone()),
        dead: extra.dead(),
        last_change: extra.last.unwrap_or((Transition::Published, slot.enqueued_at())),
    }
}
