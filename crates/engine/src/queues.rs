//! Looking after queues: making, changing, naming and ending them, and single messages in them.

use std::borrow::Cow;
use std::collections::btree_map;
use std::ops::Bound;

use sluice_model::{
    Answer, Code, Level, MessageId, QueueKind, QueueName, QueueNo, QueueRequest, QueueSettings,
    QueueSummary, Seq, SessionId, Setting, State, Timestamp,
};

use crate::deadlines::Due;
use crate::engine::{Engine, Refused, Turn, need_of};
use crate::journal::Need;
use crate::queue::Queue;
use crate::queue::work::Work;
use crate::record::{Record, Removal, Target};
use crate::topic::Listener;

impl Engine {
    /// Runs a request about a queue, or about all of them.
    pub(crate) fn queue_request(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        request: &QueueRequest,
    ) {
        let outcome = match request {
            QueueRequest::Declare { name, settings, update } => {
                self.declare(turn, session, name, settings, *update).map(Some)
            }
            QueueRequest::Delete { name, force } => self.delete(turn, name, *force).map(Some),
            QueueRequest::List { kind, after, limit } => {
                Ok(Some(self.list(*kind, after.as_ref(), *limit)))
            }
            QueueRequest::Stats { name } => self.stats_of(turn.now, name).map(Some),
            QueueRequest::Purge { name, what } => self.begin_purge(turn, session, tag, name, *what),
            QueueRequest::Browse { name, filter, after, limit } => {
                self.browse(turn.now, name, filter, *after, *limit).map(Some)
            }
            QueueRequest::Peek { name, id } => self.peek(turn, session, tag, name, *id),
            QueueRequest::Remove { name, id, force } => {
                self.remove_one(turn, name, *id, *force).map(Some)
            }
            QueueRequest::Cancel { name, id } => self.cancel(turn, name, *id).map(Some),
            QueueRequest::Reschedule { name, id, at } => {
                self.reschedule(turn, name, *id, *at).map(Some)
            }
            QueueRequest::Redrive { name, which, per_second } => {
                self.begin_redrive(turn, session, tag, name, which, *per_second)
            }
        };
        match outcome {
            Ok(Some((answer, need))) => self.reply(turn.effects, session, tag, answer, need),
            Ok(None) => {}
            Err(refused) => {
                let queue = request.queue().and_then(|name| self.named(name).ok());
                let queue = queue.and_then(|no| self.queues.get(&no));
                let need = queue.map_or(Need::NONE, Queue::need);
                self.refuse_after(turn.effects, session, tag, refused, need);
            }
        }
    }

    /// The number of the queue of that name.
    pub(crate) fn named(&self, name: &QueueName) -> Result<QueueNo, Refused> {
        let found = self.names.find(name);
        found.ok_or_else(|| (Code::NotFound, "there is no such queue".into()))
    }

    fn declare(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        name: &QueueName,
        settings: &QueueSettings,
        update: bool,
    ) -> Result<(Answer, Need), Refused> {
        if let Some(no) = self.names.find(name) {
            return self.redeclare(turn, no, settings, update);
        }
        if name.is_subscription() {
            let text = "a subscription makes its queue, and there is none of that name";
            return Err((Code::NotFound, text.into()));
        }
        if self.plain_queues() >= self.config.queues_max {
            let text = "the broker has as many queues as queues_max allows";
            return Err((Code::Overloaded, text.into()));
        }
        let owner = self.sessions.get(&session).map(|state| state.owner.clone());
        let held = owner.as_ref().map_or(0, |owner| self.queues_held.of(owner));
        if held >= self.config.queues_per_principal() {
            let text = "the key has as many queues as queues_per_principal allows";
            return Err((Code::Overloaded, text.into()));
        }
        let checked = self.defaults.queue.with(settings);
        checked.map_err(|error| (Code::Invalid, error.to_string().into()))?;
        let record = Record::Declared {
            queue: QueueNo(self.next.queue + 1),
            at: turn.now,
            name: Some(name.as_str().into()),
            pattern: None,
            owner: owner.as_ref().map_or("", |owner| owner.as_str()).into(),
            settings: Cow::Borrowed(settings),
        };
        let sequence = self.commit(turn.journal, &record).sequence;
        Ok((Answer::Declared { created: true }, need_of(Level::Sync, sequence)))
    }

    /// Compares an existing queue with what is asked, or changes it.
    fn redeclare(
        &mut self,
        turn: &mut Turn<'_>,
        no: QueueNo,
        asked: &QueueSettings,
        update: bool,
    ) -> Result<(Answer, Need), Refused> {
        let Some(queue) = self.queues.get(&no) else {
            return Err((Code::NotFound, "there is no such queue".into()));
        };
        let need = need_of(Level::Sync, queue.last_sequence);
        let differences = queue.rules.differences(asked);
        if differences.is_empty() {
            return Ok((Answer::Declared { created: false }, need));
        }
        if !update {
            return Ok((Answer::Differs(differences), need));
        }
        let mut settings = queue.settings.clone();
        settings.extend(asked);
        let unnamed = queue.identity.unnamed;
        let base = if unnamed { &self.defaults.unnamed } else { &self.defaults.queue };
        let checked = base.with(&settings);
        checked.map_err(|error| (Code::Invalid, error.to_string().into()))?;
        let reorders = differences.iter().any(|difference| difference.setting == Setting::Order);
        if reorders && queue.counts.present() > 0 {
            let text = "order changes only while the queue is empty";
            return Err((Code::Conflict, text.into()));
        }
        let fewer = differences.iter().any(|difference| {
            let lowered = difference.asked < difference.is || difference.is == 0;
            difference.setting == Setting::MaxFailures && difference.asked > 0 && lowered
        });
        let end = queue.slots.next();
        let record = Record::Configured { queue: no, settings: Cow::Owned(settings) };
        let sequence = self.commit(turn.journal, &record).sequence;
        if fewer {
            self.begin_work(turn.now, no, Work::Recheck { next: 0, end });
        }
        if let Some(queue) = self.queues.get_mut(&no)
            && let Some(at) = queue.inactive_at.take()
        {
            self.deadlines.cancel(at, Due::Inactive(no));
        }
        self.let_expire(turn.now, no);
        self.trim_dead(turn, no, &mut 0);
        Ok((Answer::Declared { created: false }, need_of(Level::Sync, sequence)))
    }

    fn delete(
        &mut self,
        turn: &mut Turn<'_>,
        name: &QueueName,
        force: bool,
    ) -> Result<(Answer, Need), Refused> {
        let no = self.named(name)?;
        let Some(queue) = self.queues.get(&no) else { return Ok((removed(0), Need::NONE)) };
        if !force && queue.counts.by_state.leased > 0 {
            let text = "consumers hold messages of the queue; they lose them if it is forced";
            return Err((Code::Conflict, text.into()));
        }
        if !force && !queue.attached.is_empty() {
            let text = "consumers are subscribed to the queue; they lose it if it is forced";
            return Err((Code::Conflict, text.into()));
        }
        let messages = queue.counts.present();
        self.end_waits(turn, no);
        let sequence = self.commit(turn.journal, &Record::Ended { queue: no }).sequence;
        Ok((removed(messages), need_of(Level::Sync, sequence)))
    }

    /// Answers those who wait for a message of a queue that ends, or for work on it.
    pub(crate) fn end_waits(&mut self, turn: &mut Turn<'_>, no: QueueNo) {
        let tickets = |queue: &Queue| queue.parked.tickets().collect::<Vec<_>>();
        for ticket in self.queues.get(&no).map(tickets).unwrap_or_default() {
            self.end_wait(turn, Listener::Queue(no), ticket);
        }
        let works = self.queues.get_mut(&no).map(|queue| std::mem::take(&mut queue.work));
        for (_, work) in works.unwrap_or_default() {
            self.work_is_done(turn, no, &work);
        }
    }

    fn list(&self, kind: QueueKind, after: Option<&QueueName>, limit: u16) -> (Answer, Need) {
        let limit = usize::from(limit).clamp(1, self.config.batch_max);
        let mut need = Need::NONE;
        let mut queues = Vec::new();
        let mut names = self.names_of(kind, after);
        for (name, no) in names.by_ref().take(limit) {
            let Some(queue) = self.queues.get(no) else { continue };
            need.cover(queue.need());
            let pattern =
                queue.identity.pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
            queues.push(QueueSummary {
                name: name.clone(),
                pattern,
                counts: queue.counts.by_state,
            });
        }
        let more = names.next().is_some();
        let next = queues.last().filter(|_| more).map(|last| last.name.clone());
        (Answer::Queues { queues, next }, need)
    }

    /// The names of one kind behind `after`, in their order.
    pub(crate) fn names_of(
        &self,
        kind: QueueKind,
        after: Option<&QueueName>,
    ) -> impl Iterator<Item = (&QueueName, &QueueNo)> {
        let after = after.map(QueueName::as_str);
        // The names of subscriptions' queues are those that begin with `$`.
        let (first, rest) = match kind {
            QueueKind::Subscription => (self.names_between(after, "$", Some("%")), None),
            QueueKind::Plain => (
                self.names_between(after, "", Some("$")),
                Some(self.names_between(after, "%", None)),
            ),
        };
        first.chain(rest.into_iter().flatten())
    }

    /// The names from `from` to before `to`, of which those behind `after`.
    fn names_between(
        &self,
        after: Option<&str>,
        from: &str,
        to: Option<&str>,
    ) -> btree_map::Range<'_, QueueName, QueueNo> {
        let past = after.is_some_and(|after| to.is_some_and(|to| after >= to));
        let start = match (after, to) {
            (_, Some(to)) if past => Bound::Included(to),
            (Some(after), _) if after >= from => Bound::Excluded(after),
            _ => Bound::Included(from),
        };
        self.names.range((start, to.map_or(Bound::Unbounded, Bound::Excluded)))
    }

    /// The place of a message in a queue, and its state.
    fn one(&self, name: &QueueName, id: MessageId) -> Result<(Target, State, Level), Refused> {
        let no = self.named(name)?;
        let not_found = || (Code::NotFound, "there is no such message in the queue".into());
        let queue = self.queues.get(&no).ok_or_else(not_found)?;
        let seq = queue.find(id).ok_or_else(not_found)?;
        let slot = queue.slots.get(seq).ok_or_else(not_found)?;
        Ok((Target::new(no, Seq(seq)), slot.state(), slot.level()))
    }

    /// T21: deletes one message.
    fn remove_one(
        &mut self,
        turn: &mut Turn<'_>,
        name: &QueueName,
        id: MessageId,
        force: bool,
    ) -> Result<(Answer, Need), Refused> {
        let (target, state, level) = self.one(name, id)?;
        if state == State::Leased && !force {
            let text = "a consumer holds the message; it loses it if that is forced";
            return Err((Code::Conflict, text.into()));
        }
        Ok((removed(1), self.delete_message(turn, target, level)))
    }

    fn delete_message(&mut self, turn: &mut Turn<'_>, target: Target, level: Level) -> Need {
        let record = Record::Removed { target, why: Removal::Deleted };
        let sequence = self.change(turn, &record, level == Level::Memory);
        need_of(level, sequence)
    }

    /// T7: deletes a message that is delayed.
    fn cancel(
        &mut self,
        turn: &mut Turn<'_>,
        name: &QueueName,
        id: MessageId,
    ) -> Result<(Answer, Need), Refused> {
        let (target, state, level) = self.one(name, id)?;
        not_delayed(state)?;
        Ok((removed(1), self.delete_message(turn, target, level)))
    }

    /// T7: lets a delayed message come at another time.
    fn reschedule(
        &mut self,
        turn: &mut Turn<'_>,
        name: &QueueName,
        id: MessageId,
        at: Timestamp,
    ) -> Result<(Answer, Need), Refused> {
        let (target, state, level) = self.one(name, id)?;
        not_delayed(state)?;
        if at.since(turn.now) > sluice_model::DELAY_MAX {
            return Err((Code::Invalid, "the delay is longer than 366 days".into()));
        }
        let queue = self.queues.get(&target.queue);
        let extra = queue.and_then(|queue| queue.slots.get_full(target.seq.0)?.1);
        if extra.is_some_and(|extra| extra.has_expired(at)) {
            return Err((Code::Invalid, "the message runs out of time before that".into()));
        }
        let due = Some(at).filter(|at| *at > turn.now);
        let ready_at = due.unwrap_or(Timestamp::EPOCH);
        let record = Record::Rescheduled { target, at: turn.now, ready_at };
        let sequence = self.change(turn, &record, level == Level::Memory);
        Ok((Answer::Rescheduled { at: due }, need_of(level, sequence)))
    }
}

fn removed(messages: u64) -> Answer {
    Answer::Removed { messages }
}

fn not_delayed(state: State) -> Result<(), Refused> {
    if state == State::Delayed {
        return Ok(());
    }
    Err((Code::Conflict, format!("the message is {state}, not delayed").into()))
}
