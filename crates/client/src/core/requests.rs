//! Requests that have one answer each: control, receives, tokens, fences.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use bytes::BytesMut;
use sluice_model::{Code, LeaseId, Timestamp};
use sluice_protocol::binary::v2::{
    ControlRef, EncodeError, LeaseSet, ReceiveRef, RefusedLease, SettledRef, Source, TagRange,
    put_extend, put_ping,
};
use tokio::sync::oneshot;

use super::delivered::Delivered;
use super::settlements::{How, refused_lease};
use crate::error::{Error, Refused};

/// What EMPTY says where the broker does not know when there will be something.
const NOT_KNOWN: u32 = u32::MAX;
const IN_DOUBT: &str = "the lease is gone: it was settled before the connection was lost, or not";

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Anything that can be asked of a queue.
    Control { verb: Cow<'static, str>, json: String },
    /// Messages of a queue.
    Receive { queue: Box<str>, max: u16, wait_ms: u32, lease_ms: u32, unbound: bool },
    /// Leases that any connection may settle; `again`: an earlier try may have done it.
    Settle { how: How, tokens: Vec<LeaseId>, again: bool },
    /// More time.
    Extend { by_ms: u32, leases: Leases },
    /// An answer once all that was published before is safe; the mark of the last of it.
    Fence { mark: u64 },
}

/// What is to be extended.
#[derive(Clone, Debug)]
pub(crate) enum Leases {
    /// One of the connection with that epoch.
    Tag {
        epoch: u64,
        tag: u64,
    },
    Tokens(Vec<LeaseId>),
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Json(String),
    /// None where nothing was there, and when there will be something if the broker knows.
    Delivered {
        messages: Vec<Delivered>,
        next_eligible: Option<Duration>,
    },
    Settled {
        refused: Vec<(Option<LeaseId>, Refused)>,
        deadline: Timestamp,
    },
    Fenced,
}

/// Who waits for it, if anybody does.
pub(crate) struct Reply(pub(crate) Option<oneshot::Sender<Result<Answer, Error>>>);

impl Reply {
    /// Whoever waited does not any more.
    fn is_closed(&self) -> bool {
        self.0.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Tells the answer, also to nobody.
    pub(crate) fn tell(self, answer: Result<Answer, Error>) {
        let _ = self.send(answer);
    }

    /// Tells the answer; what could not be told comes back.
    fn send(self, answer: Result<Answer, Error>) -> Result<(), Result<Answer, Error>> {
        match self.0 {
            Some(reply) => reply.send(answer),
            None => Err(answer),
        }
    }
}

/// Requests on their way.
pub(crate) struct Requests {
    max: usize,
    waiting: VecDeque<(Ask, Reply)>,
    flying: HashMap<u64, Flying>,
    /// Settlements by token that the broker refused and nobody waited for.
    pub(crate) settlements_refused: u64,
}

struct Flying {
    ask: Ask,
    reply: Reply,
    /// What came in earlier frames of the same answer.
    delivered: Vec<Delivered>,
    refused: Vec<(Option<LeaseId>, Refused)>,
}

impl Flying {
    /// Answers with the messages that came; those that nobody waits for any more come back.
    fn hand_out(self, next_eligible: Option<Duration>) -> Vec<Delivered> {
        let next_eligible = next_eligible.filter(|_| self.delivered.is_empty());
        let answer = Answer::Delivered { messages: self.delivered, next_eligible };
        match self.reply.send(Ok(answer)) {
            Err(Ok(Answer::Delivered { messages, .. })) => messages,
            _ => Vec::new(),
        }
    }
}

impl Ask {
    /// Asking twice is as good as once.
    fn may_repeat(&self) -> bool {
        match self {
            Self::Control { verb, .. } => matches!(
                &**verb,
                "queue.list"
                    | "queue.stats"
                    | "queue.browse"
                    | "queue.peek"
                    | "queue.explain"
                    | "subscription.list"
                    | "limit.list"
                    | "limit.top"
                    | "kv.get"
                    | "kv.exists"
                    | "kv.scan"
                    | "kv.changes"
            ),
            Self::Receive { .. } | Self::Settle { .. } => true,
            Self::Extend { leases, .. } => matches!(leases, Leases::Tokens(_)),
            Self::Fence { .. } => false,
        }
    }

    /// The epoch of the connection whose deliveries it names, if it names any by tag.
    pub(super) const fn epoch(&self) -> Option<u64> {
        match self {
            Self::Extend { leases: Leases::Tag { epoch, .. }, .. } => Some(*epoch),
            _ => None,
        }
    }

    /// A lease of it that is lost may be one that an earlier try settled.
    fn what_is_lost_is_in_doubt(&self) -> bool {
        matches!(self, Self::Settle { again: true, .. })
    }

    fn put(&self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        match self {
            Self::Control { verb, json } => ControlRef { verb, json }.put(out, id),
            Self::Receive { queue, max, wait_ms, lease_ms, unbound } => {
                let (max, wait_ms, lease_ms) = (*max, *wait_ms, *lease_ms);
                let from = Source::Queue(queue);
                ReceiveRef { max, wait_ms, lease_ms, unbound: *unbound, from }.put(out, id)
            }
            Self::Settle { how, tokens, .. } => {
                how.head(true).put(out, id, LeaseSet::Tokens(tokens))
            }
            Self::Extend { by_ms, leases: Leases::Tag { tag, .. } } => {
                put_extend(out, id, true, *by_ms, LeaseSet::Tags(&[TagRange::one(*tag)]))
            }
            Self::Extend { by_ms, leases: Leases::Tokens(tokens) } => {
                put_extend(out, id, true, *by_ms, LeaseSet::Tokens(tokens))
            }
            Self::Fence { .. } => {
                put_ping(out, id);
                Ok(())
            }
        }
    }
}

impl Requests {
    pub(crate) fn new(max: usize) -> Self {
        let settlements_refused = 0;
        Self { max, waiting: VecDeque::new(), flying: HashMap::new(), settlements_refused }
    }

    pub(crate) fn add(&mut self, ask: Ask, reply: Reply) {
        if self.waiting.len() + self.flying.len() >= self.max {
            self.forget_the_abandoned();
        }
        if self.waiting.len() + self.flying.len() < self.max {
            self.waiting.push_back((ask, reply));
        } else {
            reply.tell(Err(Error::TooManyRequests));
        }
    }

    /// Those that wait for nobody; of the others the answers are due, and then thrown away.
    fn forget_the_abandoned(&mut self) {
        self.waiting.retain(|(_, reply)| !reply.is_closed());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.iter().all(|(_, reply)| reply.is_closed())
            && self.flying.values().all(|flying| flying.reply.is_closed())
    }

    /// Writes what waits; a fence only behind what it is about.
    pub(crate) fn take(
        &mut self,
        out: &mut BytesMut,
        next_id: &mut u64,
        is_taken: impl Fn(u64) -> bool,
    ) {
        for (ask, reply) in mem::take(&mut self.waiting) {
            if reply.is_closed() {
                continue;
            }
            if matches!(ask, Ask::Fence { mark } if !is_taken(mark)) {
                self.waiting.push_back((ask, reply));
                continue;
            }
            *next_id += 1;
            match ask.put(out, *next_id) {
                Err(error) => {
                    reply.tell(Err(error.into()));
                }
                Ok(()) => {
                    let (delivered, refused) = (Vec::new(), Vec::new());
                    self.flying.insert(*next_id, Flying { ask, reply, delivered, refused });
                }
            }
        }
    }

    /// Whether `id` is that of a request; the answer to any other is a broken protocol.
    pub(crate) fn json(&mut self, id: u64, json: &str) -> Result<(), Error> {
        let is_control = |ask: &Ask| matches!(ask, Ask::Control { .. });
        let flying = self.flying(id, "RESULT", is_control)?;
        flying.reply.tell(Ok(Answer::Json(json.to_owned())));
        Ok(())
    }

    pub(crate) fn pong(&mut self, id: u64) -> Result<(), Error> {
        let flying = self.flying(id, "PONG", |ask| matches!(ask, Ask::Fence { .. }))?;
        flying.reply.tell(Ok(Answer::Fenced));
        Ok(())
    }

    /// There is nothing, or nothing behind what came before. The messages that nobody waits for any
    /// more come back.
    pub(crate) fn empty(&mut self, id: u64, next_ms: u32) -> Result<Vec<Delivered>, Error> {
        let flying = self.flying(id, "EMPTY", |ask| matches!(ask, Ask::Receive { .. }))?;
        let next = (next_ms != NOT_KNOWN).then(|| Duration::from_millis(next_ms.into()));
        Ok(flying.hand_out(next))
    }

    /// The messages that nobody waits for any more come back.
    pub(crate) fn delivered(
        &mut self,
        id: u64,
        messages: Vec<Delivered>,
        more: bool,
    ) -> Result<Vec<Delivered>, Error> {
        let mut flying = self.flying(id, "DELIVER", |ask| matches!(ask, Ask::Receive { .. }))?;
        flying.delivered.extend(messages);
        let max = match flying.ask {
            Ask::Receive { max, .. } => usize::from(max),
            _ => 0,
        };
        if flying.delivered.len() > max {
            return Err(Error::protocol("more messages than were asked for"));
        }
        if more {
            self.flying.insert(id, flying);
            return Ok(Vec::new());
        }
        Ok(flying.hand_out(None))
    }

    /// False where `id` is something else's.
    pub(crate) fn settled(&mut self, id: u64, settled: &SettledRef<'_>) -> Result<bool, Error> {
        if !self.flying.contains_key(&id) {
            return Ok(false);
        }
        let settles = |ask: &Ask| matches!(ask, Ask::Settle { .. } | Ask::Extend { .. });
        let mut flying = self.flying(id, "SETTLED", settles)?;
        let in_doubt = flying.ask.what_is_lost_is_in_doubt();
        flying.refused.extend(settled.refused().map(|lease| match lease {
            RefusedLease::Tag { status, code, .. } => (None, refused_lease(status, code)),
            RefusedLease::Token { lease, code, .. }
                if in_doubt && code == Code::LeaseLost.name() =>
            {
                (Some(lease), Refused::by(Code::Indeterminate, IN_DOUBT))
            }
            RefusedLease::Token { lease, status, code } => {
                (Some(lease), refused_lease(status, code))
            }
        }));
        if settled.more {
            self.flying.insert(id, flying);
        } else {
            let Flying { reply, refused, .. } = flying;
            self.settlements_refused += reply.0.as_ref().map_or(refused.len() as u64, |_| 0);
            reply.tell(Ok(Answer::Settled { refused, deadline: settled.deadline }));
        }
        Ok(true)
    }

    /// False where `id` is something else's.
    pub(crate) fn refused(&mut self, id: u64, refused: &Refused) -> bool {
        let Some(flying) = self.flying.remove(&id) else { return false };
        if let (Ask::Settle { tokens, .. }, None) = (&flying.ask, &flying.reply.0) {
            self.settlements_refused += tokens.len() as u64;
        }
        flying.reply.tell(Err(refused.clone().into()));
        true
    }

    /// The request of that id, which then waits no more.
    fn flying(
        &mut self,
        id: u64,
        answer: &str,
        fits: impl Fn(&Ask) -> bool,
    ) -> Result<Flying, Error> {
        match self.flying.remove(&id) {
            Some(flying) if fits(&flying.ask) => Ok(flying),
            Some(flying) => {
                self.flying.insert(id, flying);
                Err(Error::protocol(format_args!("a {answer} for another kind of request")))
            }
            None => Err(Error::protocol(format_args!("a {answer} for no request"))),
        }
    }

    /// What may be asked again waits for the next connection.
    pub(crate) fn disconnected(&mut self) {
        let mut flying: Vec<_> = mem::take(&mut self.flying).into_iter().collect();
        flying.sort_unstable_by_key(|(id, _)| *id);
        let mut waiting = VecDeque::new();
        for (_, Flying { mut ask, reply, .. }) in flying {
            if let Ask::Settle { again, .. } = &mut ask {
                *again = true;
            }
            if ask.may_repeat() {
                waiting.push_back((ask, reply));
            } else {
                reply.tell(Err(lost(&ask)));
            }
        }
        waiting.append(&mut self.waiting);
        for (ask, reply) in waiting {
            if ask.epoch().is_some() {
                reply.tell(Err(Error::LeaseLost));
            } else {
                self.waiting.push_back((ask, reply));
            }
        }
    }

    /// There will be no further connection.
    pub(crate) fn closed(&mut self, why: &Error) {
        for (_, reply) in mem::take(&mut self.waiting) {
            reply.tell(Err(why.clone()));
        }
        for flying in mem::take(&mut self.flying).into_values() {
            flying.reply.tell(Err(lost(&flying.ask)));
        }
    }
}

fn lost(ask: &Ask) -> Error {
    if ask.epoch().is_some() { Error::LeaseLost } else { Error::Lost }
}
