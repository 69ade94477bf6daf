//! What several clients did with one queue, and whether one order of all of it explains it.
//!
//! Each operation has the moment at which it was asked and the one at which its answer was seen;
//! it took effect at one moment between the two, or, without an answer, before its connection went
//! or never. To search for an order of whole histories (Wing and Gong) is exponential; a queue
//! needs less. Every rule below names two or three operations whose moments cannot be put in any
//! order that explains their answers, so each violation is one of linearizability:
//!
//! - what is over (acked, removed) before a receive was asked for does not come by it, and nothing
//!   is over twice;
//! - while somebody surely holds a lease, nobody else gets the message;
//! - a receive that began when a message was surely there, and ended before the message's first
//!   lease was asked for, does not find the queue empty; nor does a purge of that time leave it;
//! - a message that was surely there when another of lower priority, or of the same and surely
//!   published later, was first handed over, is not first handed over after that;
//! - what was rejected comes only after a redrive that may have been after the rejection.
//!
//! *Surely there*: its publish is confirmed, it has no delay, and it was never leased, which its
//! own first delivery proves. All rules hold across crashes.

mod blocks;
mod restored;

use std::collections::{BTreeMap, BTreeSet};

use sluice_model::{Generation, MessageId, Seq, Timestamp};

use crate::oracle::Name;
use crate::worker::Draft;

pub(crate) use blocks::Many;

/// What was asked, and when.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) asked: u64,
    pub(crate) what: What,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Declare,
    Publish(Vec<Draft>),
    /// To be stored whole, or each by itself.
    Block {
        drafts: Vec<Draft>,
        whole: bool,
    },
    Receive {
        bound: bool,
    },
    /// A receive that waits until it is answered or withdrawn.
    Push,
    SettleMany {
        leases: Vec<(Name, Generation)>,
        how: Many,
    },
    Ack(Name),
    /// By a lease of a life before this one.
    OldAck(Name),
    Nack(Name),
    Reject(Name),
    Remove(Name),
    Purge,
    Redrive {
        paced: bool,
    },
    Stats,
}

/// A time in which something took effect at one moment, or, if it was not answered, maybe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) asked: u64,
    pub(crate) ended: u64,
    pub(crate) answered: bool,
}

/// What puts messages back that were rejected.
#[derive(Clone, Copy, Debug)]
struct Redrive {
    /// One at a pace goes on after its answer, and after crashes: it ends never.
    span: Span,
    paced: bool,
    /// The start of the broker in which it was asked for.
    run: u64,
}

/// One handing-over of a message.
#[derive(Clone, Debug)]
struct Handed {
    span: Span,
    generation: Generation,
    deadline: Timestamp,
    /// It may have ended since: its holder gave it back, or its connection or record may be lost.
    may_be_over: bool,
    /// Whose connection it ends with, if with one.
    bound_to: Option<usize>,
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    pub(crate) name: Name,
    pub(crate) id: MessageId,
    pub(crate) generation: Generation,
    pub(crate) deadline: Timestamp,
    pub(crate) seq: Seq,
    /// Never leased before, as far as the broker knows.
    pub(crate) fresh: bool,
    /// When its receive was asked for.
    pub(crate) asked: u64,
    /// To whom, and whether its lease ends with that connection.
    pub(crate) at: usize,
    pub(crate) bound: bool,
}

#[derive(Clone, Debug)]
struct Message {
    asked: u64,
    confirmed: Option<u64>,
    id: Option<MessageId>,
    priority: u8,
    delayed: bool,
    batch: u64,
    block: Option<u64>,
    /// It was refused for sure.
    refused: bool,
    handed: Vec<Handed>,
    /// Its end was confirmed.
    over: Option<u64>,
    /// The lease by which it was, if it was settled with others.
    over_by: Option<Generation>,
    /// An end was asked for, whatever came of it.
    may_be_over: bool,
    rejected: Option<Span>,
    /// Where it stood when it came last, and whether what stood there could not be read since.
    seq: Option<Seq>,
    unread: bool,
}

/// What was compared: a history that compares nothing proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    pub(crate) exclusive: u64,
    pub(crate) ranked: u64,
    pub(crate) ordered: u64,
    pub(crate) empties: u64,
    pub(crate) purges: u64,
    /// Messages that came back by a redrive that went on after a crash.
    pub(crate) resumed: u64,
    /// First deliveries compared with the one before or after of the same block.
    pub(crate) in_block: u64,
}

/// All that happened to the queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    clock: u64,
    messages: BTreeMap<Name, Message>,
    generations: BTreeSet<Generation>,
    batches: u64,
    blocks: u64,
    in_blocks: BTreeMap<u64, blocks::InBlock>,
    empties: Vec<Span>,
    purges: Vec<Span>,
    redrives: Vec<Redrive>,
    /// Starts of the broker so far.
    pub(crate) run: u64,
    /// First deliveries: when, of which message, in their order.
    first: Vec<(Span, Name)>,
    pub(crate) compared: Compared,
}

impl History {
    /// The moment that was last.
    pub(crate) fn now(&self) -> u64 {
        self.clock
    }

    /// The next moment.
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Something is asked now.
    pub(crate) fn ask(&mut self, what: What) -> Op {
        let asked = self.tick();
        if let What::Publish(drafts) = &what {
            self.batches += 1;
            for draft in drafts {
                self.register(draft, asked, None);
            }
        }
        self.ask_many(&what, asked);
        if let What::Ack(name) | What::Remove(name) = &what
            && let Some(message) = self.messages.get_mut(name)
        {
            message.may_be_over = true;
        }
        if let What::Nack(name) | What::Reject(name) = &what {
            self.give_back(*name);
        }
        if let What::Redrive { paced } = what {
            // It may take effect before its answer is seen.
            let span = Span { asked, ended: u64::MAX, answered: false };
            self.redrives.push(Redrive { span, paced, run: self.run });
        }
        Op { asked, what }
    }

    fn register(&mut self, draft: &Draft, asked: u64, block: Option<u64>) {
        self.messages.entry(draft.name).or_insert(Message {
            asked,
            confirmed: None,
            id: None,
            priority: draft.priority,
            delayed: draft.delay.is_some(),
            batch: self.batches,
            block,
            refused: false,
            handed: Vec::new(),
            over: None,
            over_by: None,
            may_be_over: false,
            rejected: None,
            seq: None,
            unread: false,
        });
    }

    /// What is asked of a lease from now on, or has befallen its connection, may have ended it.
    pub(crate) fn give_back(&mut self, name: Name) {
        if let Some(message) = self.messages.get_mut(&name) {
            message.handed.iter_mut().for_each(|handed| handed.may_be_over = true);
        }
    }

    /// A connection went away, and with it the leases that are bound to it.
    pub(crate) fn lose_bound(&mut self, at: usize) {
        for handed in self.messages.values_mut().flat_map(|message| &mut message.handed) {
            handed.may_be_over |= handed.bound_to == Some(at);
        }
    }

    /// One of the last messages that a client had confirmed.
    pub(crate) fn recent(&self, of: u32, back: usize) -> Option<(Name, MessageId)> {
        let theirs = self.messages.range((of, 0)..=(of, u64::MAX)).rev();
        theirs.filter_map(|(name, message)| Some((*name, message.id?))).nth(back)
    }

    /// The log lost what was not on the disk, grants among it.
    pub(crate) fn lose_power(&mut self) {
        for message in self.messages.values_mut() {
            message.handed.iter_mut().for_each(|handed| handed.may_be_over = true);
        }
    }

    /// An operation was answered, or never will be.
    pub(crate) fn end(&mut self, op: &Op, answered: bool) {
        let span = Span { asked: op.asked, ended: self.tick(), answered };
        match &op.what {
            What::Purge => self.purges.push(span),
            What::Redrive { paced } => {
                let ended = if *paced { u64::MAX } else { span.ended };
                let mut all = self.redrives.iter_mut();
                if let Some(ours) = all.rfind(|redrive| redrive.span.asked == op.asked) {
                    ours.span = Span { ended, ..span };
                }
            }
            What::Reject(name) => {
                if let Some(message) = self.messages.get_mut(name).filter(|_| answered) {
                    message.rejected = Some(span);
                }
            }
            _ => {}
        }
    }

    /// A receive found nothing.
    pub(crate) fn empty(&mut self, op: &Op) {
        let ended = self.tick();
        self.empties.push(Span { asked: op.asked, ended, answered: true });
    }

    /// A publish was confirmed.
    pub(crate) fn confirmed(&mut self, name: Name, id: MessageId) -> Result<(), String> {
        let now = self.tick();
        let message = self.messages.get_mut(&name).ok_or("never published")?;
        message.confirmed.get_or_insert(now);
        same_id(message, name, id)
    }

    /// The end of a message was confirmed.
    pub(crate) fn over(&mut self, name: Name) -> Result<(), String> {
        let now = self.tick();
        let message = self.messages.get_mut(&name).ok_or("never published")?;
        match message.over.replace(now) {
            None => Ok(()),
            Some(_) => Err(format!("{name:?} is over twice")),
        }
    }

    /// A message came that could not be read: it goes to the dead set.
    pub(crate) fn unread(&mut self, seq: Seq) {
        for message in self.messages.values_mut() {
            message.unread |= message.seq == Some(seq);
        }
    }

    /// A message came. Gives which rule that breaks.
    pub(crate) fn came(&mut self, came: &Came, now: Timestamp) -> Result<(), String> {
        let Came { name, id, seq, generation, deadline, fresh, asked, at, bound } = *came;
        let span = Span { asked, ended: self.tick(), answered: true };
        if !self.generations.insert(generation) {
            return Err(format!("{generation:?} was granted twice"));
        }
        let message = self.messages.get_mut(&name).ok_or("it was never published")?;
        same_id(message, name, id)?;
        if message.refused {
            return Err(format!("{name:?} was refused and came"));
        }
        if message.over.is_some_and(|over| over < asked) {
            return Err(format!("{name:?} came after its end was confirmed"));
        }
        for before in &message.handed {
            if before.span.ended < asked && !before.may_be_over && now < before.deadline {
                return Err(format!("{name:?} came to a second consumer: {before:?}"));
            }
            self.compared.exclusive += 1;
            if fresh && before.generation < generation {
                return Err(format!("{name:?} came again as new"));
            }
        }
        if let Some(rejected) = message.rejected.filter(|rejected| rejected.ended < asked) {
            let mut by = self.redrives.iter().filter(|redrive| {
                redrive.span.ended > rejected.asked && redrive.span.asked < span.ended
            });
            let by_now = |redrive: &Redrive| !redrive.paced || redrive.run == self.run;
            match by.clone().next() {
                None => return Err(format!("{name:?} was rejected and came without a redrive")),
                Some(_) => self.compared.resumed += u64::from(!by.any(by_now)),
            }
        }
        message.seq = Some(seq);
        let bound_to = bound.then_some(at);
        let handed = Handed { span, generation, deadline, may_be_over: false, bound_to };
        message.handed.push(handed);
        if fresh {
            self.came_in_block(name, generation)?;
            self.came_first(name, span)?;
        }
        Ok(())
    }

    /// The first delivery of a message proves that it was there, and free, from its publish on.
    fn came_first(&mut self, name: Name, span: Span) -> Result<(), String> {
        let message = &self.messages[&name];
        let Some(since) = message.confirmed.filter(|_| !message.delayed) else { return Ok(()) };
        for (what, spans, count) in [
            ("a receive found nothing", &self.empties, &mut self.compared.empties),
            ("a purge left it", &self.purges, &mut self.compared.purges),
        ] {
            // The latest are the ones that count.
            for other in spans.iter().rev().take(64).filter(|other| other.answered) {
                *count += u64::from(since < other.ended);
                if since < other.asked && other.ended < span.asked {
                    return Err(format!("{what} while {name:?} was there: {other:?}"));
                }
            }
        }
        for (before, other) in self.first.iter().rev().take(64) {
            let behind = &self.messages[other];
            let earlier = before.ended < span.asked || before.asked == span.asked;
            if !earlier || since >= before.asked {
                continue;
            }
            if message.priority > behind.priority {
                return Err(format!("{other:?} came before {name:?} of a higher priority"));
            }
            self.compared.ranked += u64::from(message.priority < behind.priority);
            if message.priority == behind.priority && !behind.delayed {
                if since < behind.asked {
                    return Err(format!("{other:?} came before {name:?}, published earlier"));
                }
                self.compared.ordered += 1;
            }
        }
        self.first.push((span, name));
        Ok(())
    }

    /// What a redrive at a pace has left in the dead set when it has had all the time it needs.
    pub(crate) fn left_dead(&self) -> Vec<Name> {
        let paced = self.redrives.iter().filter(|redrive| redrive.paced && redrive.span.answered);
        let Some(last) = paced.map(|redrive| redrive.span.asked).max() else { return Vec::new() };
        let purged = |since: u64| self.purges.iter().any(|purge| purge.ended > since);
        let left = |message: &Message| {
            let Some(rejected) = message.rejected.filter(|rejected| rejected.ended < last) else {
                return false;
            };
            let came = message.handed.iter().any(|handed| handed.span.ended > rejected.asked);
            !came && !message.unread && !message.may_be_over && !purged(rejected.asked)
        };
        self.messages.iter().filter(|(_, m)| left(m)).map(|(name, _)| *name).collect()
    }

    /// What is missing when everything that there is was taken: a confirmed message, or one of a
    /// batch of which another one was seen, that nobody may have ended.
    pub(crate) fn missing(&self) -> Vec<Name> {
        let seen = |message: &Message| message.confirmed.is_some() || !message.handed.is_empty();
        let all = self.messages.values();
        let batches: BTreeSet<u64> = all.filter(|m| seen(m)).map(|m| m.batch).collect();
        let missing = |message: &Message| {
            let purged = self.purges.iter().any(|purge| purge.ended > message.asked);
            batches.contains(&message.batch) && !message.may_be_over && !purged
        };
        self.messages.iter().filter(|(_, m)| missing(m)).map(|(name, _)| *name).collect()
    }
}

fn same_id(message: &mut Message, name: Name, id: MessageId) -> Result<(), String> {
    match *message.id.get_or_insert(id) {
        same if same == id => Ok(()),
        other => Err(format!("{name:?} was stored as {other:?} and as {id:?}")),
    }
}
