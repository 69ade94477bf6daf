//! What clients are told, held against what was promised.

use bytes::Bytes;
use sluice_broker::local::{Input, Parcel, ParcelContent};
use sluice_engine::{Body, Handover, read_content};
use sluice_model::{Answer, Carried, Code, LeaseId};
use sluice_wal::{BodyRef, Faults, Sequence};

use super::World;
use crate::client::{Asked, name_of};
use crate::oracle::{Delivered, Name};
use crate::roles::ROLES;

/// How often a read fails while reads do, in 10 000.
const UNREADABLE: u32 = 2_000;

impl World {
    /// Takes what the broker has released, and holds it against what was promised.
    pub(super) fn collect(&mut self) -> Result<(), String> {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        if self.disk.is_dead() {
            return Ok(());
        }
        let released: Vec<_> = broker.driver.take_released().collect();
        for (session, parcel) in released {
            let consumer = self.consumers.iter().position(|client| client.session == Some(session));
            let publisher =
                self.publishers.iter().position(|client| client.session == Some(session));
            match (consumer, publisher) {
                (Some(at), _) => self.told_consumer(at, parcel)?,
                (_, Some(at)) => self.told_publisher(at, parcel)?,
                _ => {
                    let workers = &mut self.workers;
                    let at = workers.iter().position(|worker| worker.session == Some(session));
                    if let Some(at) = at {
                        self.told_worker(at, parcel)?;
                    } else if let Some(at) = self.keeper_of(session) {
                        self.told_keeper(at, parcel)?;
                    } else if let Some(at) = self.caller_of(session) {
                        self.told_caller(at, parcel)?;
                    }
                }
            }
        }
        self.resume_publishers();
        Ok(())
    }

    /// Publishers that waited for a checkpoint go on once they are woken.
    fn resume_publishers(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        for session in broker.driver.take_woken() {
            let publisher =
                self.publishers.iter().position(|client| client.session == Some(session));
            if let Some(at) = publisher {
                self.submit(false, at);
            }
            let worker = self.workers.iter().position(|worker| worker.session == Some(session));
            if let Some(at) = worker {
                self.submit_work(at);
            }
            if let Some(at) = self.keeper_of(session) {
                self.submit_keys(at);
            }
            if let Some(at) = self.caller_of(session) {
                self.submit_calls(at);
            }
        }
    }

    fn told_publisher(&mut self, at: usize, parcel: Parcel) -> Result<(), String> {
        let client = &mut self.publishers[at];
        client.written += parcel.weight;
        let asked = client.asked.remove(&parcel.tag).ok_or("an answer that nobody asked for")?;
        let ParcelContent::Answer(answer) = parcel.content else {
            return Err("a publisher got a message".into());
        };
        match (asked, answer) {
            (Asked::Block(sent), answer) => return self.block_answered(&sent, &answer),
            (Asked::Publish(name), Answer::Published { .. }) => self.confirmed(name),
            (Asked::Publish(name), Answer::Refused(_)) => client.refused(name),
            (Asked::Fence(published, _), Answer::Fenced) => {
                for name in published {
                    self.confirmed(name);
                }
            }
            (_, Answer::Refused(_)) => {}
            (asked, answer) => return Err(format!("{asked:?} was answered by {answer:?}")),
        }
        Ok(())
    }

    pub(super) fn confirmed(&mut self, name: Name) {
        self.counters.confirmed += 1;
        self.oracle.confirmed(name);
        self.note("confirmed", &[name.0.into(), name.1]);
    }

    fn told_consumer(&mut self, at: usize, mut parcel: Parcel) -> Result<(), String> {
        if self.told_many(at, &mut parcel)? {
            return Ok(());
        }
        let client = &mut self.consumers[at];
        client.written += parcel.weight;
        let asked = client.asked.remove(&parcel.tag).ok_or("an answer that nobody asked for")?;
        match (asked, parcel.content) {
            (Asked::Receive, ParcelContent::Handovers(handovers)) => {
                handovers.into_iter().try_for_each(|handover| self.handed(at, handover))
            }
            (_, ParcelContent::Handovers(_) | ParcelContent::Peek(..)) => {
                Err("a message came that nobody asked for".into())
            }
            (asked, ParcelContent::Answer(answer)) => self.answered(at, asked, answer),
        }
    }

    pub(super) fn handed(&mut self, at: usize, handover: Handover) -> Result<(), String> {
        let run = self.counters.starts;
        let (Some(subscription), Some(lease)) = (ROLES[at].subscription, handover.lease) else {
            return self.copied(at, &handover, run);
        };
        let payload = match &handover.body {
            Body::Resident(message) => Some(message.payload.clone()),
            Body::Stored { .. } => self.read(&handover.body, &lease)?.map(|got| got.payload),
        };
        let Some(payload) = payload else { return Ok(()) };
        let name = name_of(&payload).ok_or("a payload was changed")?;
        let Handover { mut redelivered, .. } = handover;
        if self.backups.is_second_life() {
            // All of the old life is marked; what was handed over never before has its place.
            redelivered = self.marked(name, &handover)?;
        }
        self.counters.delivered += 1;
        self.counters.redelivered += u64::from(redelivered);
        self.note("delivered", &[at as u64, name.0.into(), name.1]);
        let generation = lease.generation;
        let live =
            self.broker.as_ref().is_some_and(|broker| broker.driver.place_of(&lease).is_some());
        let got = Delivered { subscription, consumer: at, name, generation, redelivered, live };
        self.backups.check_start(&lease)?;
        let seen = self.oracle.delivered(got, run)?;
        self.counters.compared += u64::from(seen.compared);
        self.counters.shared += u64::from(seen.shared);
        self.counters.overtaken += u64::from(seen.overtaken);
        self.counters.fleeting_delivered += u64::from(seen.fleeting);
        self.backups.lease(at, name, lease);
        self.consumers[at].held.push((name, lease));
        Ok(())
    }

    /// A message came to a consumer at most once.
    fn copied(&mut self, at: usize, handover: &Handover, run: u64) -> Result<(), String> {
        let (Body::Resident(message), None, false, None) =
            (&handover.body, handover.lease, handover.redelivered, ROLES[at].subscription)
        else {
            return Err(format!("consumer {at} got {handover:?}"));
        };
        let name = name_of(&message.payload).ok_or("a payload was changed")?;
        self.counters.copies += 1;
        self.note("copied", &[at as u64, name.0.into(), name.1]);
        self.copy_came(at, name, run)
    }

    pub(super) fn copy_came(&mut self, at: usize, name: Name, run: u64) -> Result<(), String> {
        self.consumers[at].copied.insert(name);
        self.oracle.copied(at, name, run)
    }

    fn answered(&mut self, at: usize, asked: Asked, answer: Answer) -> Result<(), String> {
        let client = &mut self.consumers[at];
        // A consumer at most once holds nothing that it could settle.
        let subscription = ROLES[at].subscription;
        match (asked, answer) {
            (Asked::Subscribe, Answer::Subscribed { subscription: id }) => {
                client.subscription = Some(id);
                if let Some(subscription) = subscription {
                    self.subscribed[subscription] = true;
                }
            }
            (Asked::Ack(name), Answer::Settled { .. }) => self.acked(at, name),
            (Asked::Ack(name), Answer::Refused(refusal)) => {
                client.refused(name);
                // Any other refusal leaves open whether the ack, or one before, took effect.
                if let (Code::LeaseLost, Some(subscription)) = (refusal.code, subscription) {
                    self.oracle.ack_refused(subscription, name);
                }
            }
            (Asked::OldAck(name), Answer::Settled { .. }) => {
                self.old_ack(name, true)?;
                self.acked(at, name);
            }
            (Asked::OldAck(name), Answer::Refused(refusal)) => {
                self.old_ack(name, false)?;
                if let (true, Some(subscription)) =
                    (matches!(refusal.code, Code::LeaseLost | Code::NotFound), subscription)
                {
                    self.oracle.ack_refused(subscription, name);
                }
            }
            (Asked::Fence(_, acked), Answer::Fenced) => {
                for name in acked {
                    self.acked(at, name);
                }
            }
            (Asked::Receive, Answer::Empty { .. })
            | (Asked::Nack, Answer::Settled { .. })
            | (_, Answer::Refused(_)) => {}
            (asked, answer) => return Err(format!("{asked:?} was answered by {answer:?}")),
        }
        Ok(())
    }

    pub(super) fn acked(&mut self, at: usize, name: Name) {
        self.counters.acked += 1;
        if let Some(subscription) = ROLES[at].subscription {
            self.oracle.acked(subscription, at, name);
        }
        self.note("acked", &[at as u64, name.0.into(), name.1]);
    }

    /// A message's bytes. None if they can't be read, which sends the message to the dead set, or
    /// if the process died meanwhile.
    pub(super) fn read(&mut self, body: &Body, lease: &LeaseId) -> Result<Option<Carried>, String> {
        let Body::Stored { at, bytes } = body else {
            return Err("a stored message in memory only".into());
        };
        let decode = |bytes: &Bytes| read_content(bytes).map_err(|error| error.to_string());
        if let Some(bytes) = bytes {
            return decode(bytes).map(Some);
        }
        let Some(broker) = &self.broker else { return Ok(None) };
        let (driver, reader) = (&broker.driver, broker.driver.reader());
        // What is under limits can always be read: a message that can't tells nobody its name.
        let readable = self.workload == super::Workload::Limits;
        let trouble = !readable && !self.is_calm() && self.random.percent(30);
        let place = BodyRef { segment: at.segment, offset: at.offset, len: at.len };
        self.fail_reads(trouble);
        let first = reader.read(place, Sequence(at.sequence));
        // It may have moved since; a lease that has ended needs no body any more.
        let again = || match driver.place_of(lease) {
            Some((sequence, place)) => reader.read(place, sequence).map(Some),
            None => Ok(None),
        };
        let failed = first.is_err();
        let bytes = first.map(Some).or_else(|_| again());
        self.fail_reads(false);
        match bytes {
            Ok(Some(bytes)) => {
                self.counters.read_again += u64::from(failed);
                decode(&bytes).map(Some)
            }
            Ok(None) => Ok(None),
            Err(_) if self.disk.is_dead() => Ok(None),
            Err(_) if trouble => {
                self.counters.unreadable += 1;
                self.turn(Input::Corrupt(*lease));
                Ok(None)
            }
            Err(error) => Err(format!("a message can't be read back: {error}")),
        }
    }

    /// Lets reads fail now and then, beside whatever else fails.
    pub(super) fn fail_reads(&self, now: bool) {
        let read = if now { UNREADABLE } else { 0 };
        self.disk.set_faults(Faults { read, ..self.faults });
    }
}
