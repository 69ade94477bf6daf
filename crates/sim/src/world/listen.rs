//! Blocks of messages to topics, and consumers that are pushed to or take many at once.

use sluice_broker::local::{Parcel, ParcelContent};
use sluice_model::{Answer, BlockDelivery, Code, Command, Qos, Request};
use sluice_wal::Faults;

use super::World;
use super::blocks::is_sure;
use crate::client::{Asked, Sent, name_of};
use crate::oracle::Name;
use crate::roles::{PUBLISHERS, ROLES};

/// The consumer at most once.
const LISTENER: usize = 6;
/// Rounds after which everything that was published has come to whoever takes it.
const ROUNDS: u32 = 200;

impl World {
    /// Publishers and consumers of topics do something that touches many messages.
    pub(super) fn listen(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..=44 => self.publish_block(),
            45..=97 => self.consume_many(),
            _ => return self.take_account(),
        }
        Ok(())
    }

    fn publish_block(&mut self) {
        let at = self.random.below(PUBLISHERS as u64) as usize;
        if self.session(false, at).is_none() {
            return;
        }
        let topic = if self.random.percent(50) { "a.x" } else { "a.y" };
        let fleeting = self.random.percent(50);
        let whole = self.random.percent(50);
        let count = 1 + self.random.below(12);
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.new_name(at, topic, fleeting));
        }
        self.counters.fleeting_published += if fleeting { count } else { 0 };
        let padding_max = if self.random.percent(30) { 900 } else { 60 };
        let padding = self.random.below(padding_max) as usize;
        if whole && !fleeting {
            self.oracle.published_whole(&names);
        }
        let qos = if fleeting { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        self.publishers[at].publish_block(topic, names, padding, qos, whole);
        self.submit(false, at);
    }

    fn consume_many(&mut self) {
        let at = match self.random.percent(40) {
            true => LISTENER,
            false => self.random.below(LISTENER as u64) as usize,
        };
        if self.session(true, at).is_none() {
            return;
        }
        let Some(subscription) = self.consumers[at].subscription else {
            return self.submit(true, at);
        };
        let calm = self.is_calm();
        let client = &mut self.consumers[at];
        match self.random.below(10) {
            0..=3 => {
                let credit = 1 + self.random.below(20) as u32;
                let client = &mut self.consumers[at];
                client.credit += credit;
                // Of what is pushed nothing is asked for besides.
                if !client.is_receiving() {
                    client.push(subscription);
                    self.counters.pushes += 1;
                }
            }
            4 => client.withdraw(),
            _ if client.push.is_some() => {}
            _ => client.receive_many(subscription, 2 + self.random.below(30) as u32),
        }
        let held = std::mem::take(&mut self.consumers[at].held);
        if !calm && self.random.percent(20) {
            self.consumers[at].held = held;
        } else if let (false, Some(number)) = (held.is_empty(), ROLES[at].subscription) {
            held.iter().for_each(|(name, _)| self.oracle.acking(number, *name));
            self.consumers[at].ack_many(held);
        }
        self.submit(true, at);
    }

    /// After a turn: what was published reaches the subscribers of this moment.
    pub(super) fn note_reach(&mut self, consumer: bool, at: usize) {
        if self.broker.is_none() {
            return;
        }
        if consumer {
            let client = &mut self.consumers[at];
            let begins = |request: &Request| matches!(request.command, Command::Subscribe(_));
            client.listens |= client.session.is_some() && !client.requests.iter().any(begins);
            return;
        }
        let listener = &self.consumers[LISTENER];
        let listener = listener.session.filter(|_| listener.listens);
        self.publishers[at].reach(listener);
    }

    /// An answer to a request for many things. Gives whether it was one.
    pub(super) fn told_many(&mut self, at: usize, parcel: &mut Parcel) -> Result<bool, String> {
        let client = &mut self.consumers[at];
        match client.asked.get(&parcel.tag) {
            Some(Asked::Many { .. }) => {}
            Some(Asked::AckMany(_)) => return self.acked_many(at, parcel),
            _ => return Ok(false),
        }
        let client = &mut self.consumers[at];
        client.written += parcel.weight;
        let (messages, goes_on) = match &parcel.content {
            ParcelContent::Handovers(all) => (all.len(), all.last().is_some_and(|last| last.more)),
            ParcelContent::Answer(Answer::DeliveredBlock(block)) => {
                (block.messages.count() as usize, block.more)
            }
            ParcelContent::Answer(answer) => (0, answer.goes_on()),
            ParcelContent::Peek(..) => (0, false),
        };
        self.counters.pushed += client.took(parcel.tag, messages, goes_on)?;
        match &mut parcel.content {
            ParcelContent::Handovers(handovers) => {
                let mut handovers = std::mem::take(handovers);
                self.fetch(&mut handovers);
                handovers.into_iter().try_for_each(|handover| self.handed(at, handover))?;
            }
            ParcelContent::Answer(Answer::DeliveredBlock(block)) => self.block_came(at, block)?,
            ParcelContent::Answer(Answer::Lost { messages }) => {
                self.counters.lost += *messages;
                self.consumers[at].lost += *messages;
            }
            ParcelContent::Answer(Answer::Empty { .. }) => self.consumers[at].is_drained = true,
            ParcelContent::Answer(Answer::Refused(_)) => {}
            content => return Err(format!("a receive of many was answered by {content:?}")),
        }
        Ok(true)
    }

    fn block_came(&mut self, at: usize, block: &BlockDelivery) -> Result<(), String> {
        let run = self.counters.starts;
        for payload in block.messages.payloads() {
            let name = name_of(payload).ok_or("a payload was changed")?;
            self.counters.block_copies += 1;
            self.note("copied", &[at as u64, name.0.into(), name.1]);
            self.copy_came(at, name, run)?;
        }
        Ok(())
    }

    fn acked_many(&mut self, at: usize, parcel: &Parcel) -> Result<bool, String> {
        let client = &mut self.consumers[at];
        client.written += parcel.weight;
        let Some(Asked::AckMany(names)) = client.asked.remove(&parcel.tag) else {
            return Ok(false);
        };
        let ParcelContent::Answer(answer) = &parcel.content else {
            return Err("acks were answered by a message".into());
        };
        match answer {
            Answer::SettledMany { refused, .. } => {
                self.counters.settled_many += 1;
                for (no, name) in (0..).zip(names) {
                    match refused.iter().find(|(refused, _)| *refused == no) {
                        None => self.acked(at, name),
                        Some((_, refusal)) => self.ack_of_many_refused(at, name, refusal.code),
                    }
                }
            }
            Answer::Refused(_) => {}
            answer => return Err(format!("acks were answered by {answer:?}")),
        }
        Ok(true)
    }

    fn ack_of_many_refused(&mut self, at: usize, name: Name, code: Code) {
        self.counters.settled_refused += 1;
        if let (Code::LeaseLost, Some(subscription)) = (code, ROLES[at].subscription) {
            self.oracle.ack_refused(subscription, name);
        }
    }

    /// A publisher is told of a block. Gives whether it was one.
    pub(super) fn block_answered(&mut self, sent: &Sent, answer: &Answer) -> Result<(), String> {
        let listener = self.consumers[LISTENER].session;
        let reached = listener.is_some() && sent.reached == Some(listener);
        match answer {
            Answer::PublishedBlock(published) if published.count as usize == sent.names.len() => {
                self.counters.blocks_whole += u64::from(sent.whole);
                sent.names.iter().for_each(|name| self.block_taken(*name, reached));
            }
            Answer::PublishedEach(all) if all.len() == sent.names.len() && !sent.whole => {
                self.counters.blocks_parted += 1;
                for (name, each) in sent.names.iter().zip(all) {
                    match each {
                        Ok(_) => self.block_taken(*name, reached),
                        Err(_) => self.oracle.refused(*name)?,
                    }
                }
            }
            Answer::Refused(refusal) if is_sure(refusal) => {
                sent.names.iter().try_for_each(|name| self.oracle.refused(*name))?;
            }
            Answer::Refused(_) => {}
            answer => return Err(format!("{sent:?} was answered by {answer:?}")),
        }
        Ok(())
    }

    fn block_taken(&mut self, name: Name, reached: bool) {
        self.confirmed(name);
        self.reached(name, reached);
    }

    /// The subscriber at most once gets this message, or is told that it lost it.
    pub(super) fn reached(&mut self, name: Name, reached: bool) {
        if reached {
            self.consumers[LISTENER].reached.insert(name);
        }
    }

    /// What was published while the subscriber at most once lived has come to it, or was counted
    /// as lost, to the message.
    pub(super) fn take_account(&mut self) -> Result<(), String> {
        self.set_faults(Faults::default());
        let (mut round, mut asked_last) = (0, false);
        while !asked_last || !self.consumers[LISTENER].is_drained {
            round += 1;
            self.commit();
            self.collect()?;
            if round == ROUNDS || self.broker.is_none() || self.disk.is_dead() {
                return Ok(());
            }
            let answered = self.publishers.iter().all(|client| client.asked.is_empty());
            let client = &mut self.consumers[LISTENER];
            let Some(subscription) = client.subscription else { return Ok(()) };
            if !client.asked.is_empty() {
                client.withdraw();
            } else if answered {
                (client.is_drained, asked_last) = (false, true);
                client.receive_many(subscription, u32::MAX);
            }
            self.submit(true, LISTENER);
            self.collect()?;
        }
        let client = &self.consumers[LISTENER];
        if client.is_unsure {
            return Ok(());
        }
        self.counters.accounts += 1;
        self.counters.accounts_lost += u64::from(client.lost > 0);
        let missing = client.reached.difference(&client.copied).count() as u64;
        let strange = client.copied.difference(&client.reached).next();
        match strange {
            Some(name) => Err(format!("{name:?} came to who had not subscribed")),
            None if missing != client.lost => {
                Err(format!("{missing} messages did not come, {} were lost", client.lost))
            }
            None => Ok(()),
        }
    }
}
