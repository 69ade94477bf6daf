//! The engine's own account of itself, held against the model's.

use sluice_model::{
    Answer, Code, Command, Filter, MessageId, MessageInfo, QueueNo, QueueRequest, SessionId, State,
};

use super::World;
use super::state::{Message, Where};
use crate::rig::{Said, peer, queue};

/// What was told, or why not.
pub(super) fn result(answer: Answer) -> Result<Answer, Code> {
    match answer {
        Answer::Refused(refusal) => Err(refusal.code),
        answer => Ok(answer),
    }
}

impl World {
    fn looker(&mut self) -> SessionId {
        *self.looker.get_or_insert_with(|| self.rig.open(peer(9)))
    }

    /// Takes the answer to a request out of what its session was told.
    pub(super) fn answer_to(&mut self, session: SessionId, tag: u64) -> Result<Answer, Code> {
        let outs = self.rig.outs.entry(session).or_default();
        let ours = |out: &crate::rig::Out| out.tag == tag && matches!(out.said, Said::Answer(_));
        let at = outs.iter().position(ours);
        let out = at.and_then(|at| outs.remove(at));
        match out.unwrap_or_else(|| panic!("{session:?} was not told of {tag}")).said {
            Said::Answer(answer) => result(answer),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn browse(&mut self, no: QueueNo) -> Vec<MessageInfo> {
        let (looker, name) = (self.looker(), queue(&self.queue(no).name));
        let (filter, after) = (Filter::default(), None);
        let request = QueueRequest::Browse { name, filter, after, limit: 1_000 };
        match self.rig.queue(looker, request) {
            Answer::Browsed { messages, next: None } => messages,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn find(&mut self, no: QueueNo, id: MessageId) -> Option<MessageInfo> {
        self.browse(no).into_iter().find(|info| info.id == id)
    }

    /// Every queue, every message and every counter is as the model says.
    pub(super) fn look(&mut self) {
        // Looking costs a request, whose tag the model does not know of.
        let tag = self.rig.tag;
        for no in self.queues() {
            let infos = self.browse(no);
            let messages: Vec<_> = self.queue(no).messages.values().cloned().collect();
            assert_eq!(infos.len(), messages.len(), "{infos:?}\n{messages:?}");
            for (info, message) in infos.iter().zip(&messages) {
                same(info, message);
            }
            self.counts(no);
        }
        if let Some(no) = self.a_queue()
            && let Some(message) = {
                let messages: Vec<_> = self.queue(no).messages.values().cloned().collect();
                self.dice.pick(&messages)
            }
        {
            let (looker, name) = (self.looker(), queue(&self.queue(no).name));
            let request = QueueRequest::Peek { name, id: message.id };
            match self.rig.answer(looker, Command::Queue(Box::new(request))) {
                Answer::Peeked(peeked) => {
                    same(&peeked.info, &message);
                    assert_eq!(&peeked.carried.payload[..], message.payload.as_bytes());
                }
                other => panic!("{other:?}"),
            }
        }
        self.rig.tag = self.rig.tag.max(tag);
    }

    fn counts(&mut self, no: QueueNo) {
        let (looker, name) = (self.looker(), self.queue(no).name.clone());
        let stats = self.rig.stats(looker, &name);
        let queue = self.queue(no);
        let c = queue.counted;
        let counted = (stats.published, stats.acked, stats.expired, stats.deleted, stats.dropped);
        let expected = (c.published, c.acked, c.expired, c.deleted, c.dropped);
        assert_eq!(counted, expected, "counters of {no:?}");
        let present = queue.messages.len() as u64;
        assert_eq!(c.published, c.acked + c.expired + c.deleted + c.dropped + present);
        let of = |state| queue.messages.values().filter(move |m| m.state() == state);
        let count = |state| of(state).count() as u64;
        let counts = stats.counts;
        assert_eq!(
            [counts.ready, counts.delayed, counts.leased, counts.dead],
            [State::Ready, State::Delayed, State::Leased, State::Dead].map(count)
        );
        let dead: u64 = of(State::Dead).map(|m| m.bytes).sum();
        let all: u64 = queue.messages.values().map(|m| m.bytes).sum();
        assert_eq!((stats.bytes, stats.dead_bytes), (all - dead, dead));
        let due = queue.messages.values().filter_map(|m| match m.at {
            Where::Delayed(at) => Some(at),
            _ => None,
        });
        assert_eq!(stats.next_due, due.min());
        let leased = of(State::Leased).filter_map(|m| Some(m.held()?.granted_at)).min();
        assert_eq!(stats.oldest_leased, leased.map(|at| self.rig.now.since(at)));
        let waiting = self.parked.iter().filter(|parked| parked.queue == no).count();
        assert_eq!(stats.waiting, waiting as u64, "receives that wait");
        assert!(self.rig.progress.written == 0 || present == 0 || stats.published > 0);
    }
}

fn same(info: &MessageInfo, message: &Message) {
    let Message { id, seq, enqueued_at, expires_at, acquires, failures, releases, .. } = message;
    assert_eq!((info.id, info.seq.0, info.state), (*id, *seq, message.state()), "{message:?}");
    assert_eq!((info.enqueued_at, info.expires_at), (*enqueued_at, *expires_at), "{message:?}");
    let ready_at = match message.at {
        Where::Delayed(at) => Some(at),
        _ => None,
    };
    let dead = match message.at {
        Where::Dead(reason, at) => Some((reason, at)),
        _ => None,
    };
    let deadline = message.held().map(|held| held.deadline);
    assert_eq!(
        (info.ready_at, info.deadline, info.dead),
        (ready_at, deadline, dead),
        "{message:?}"
    );
    let counts = (info.acquires, info.failures, info.releases, info.redriven);
    assert_eq!(counts, (*acquires, *failures, *releases, message.redriven), "{message:?}");
    let priority = info.lane.as_ref().map_or(5, |lane| lane.priority);
    assert_eq!((priority, info.bytes), (message.priority, message.bytes), "{message:?}");
    assert_eq!(info.last_error.as_deref(), message.note.as_deref(), "{message:?}");
    assert_eq!(info.last_change, message.last, "{message:?}");
}
