//! One client's way into the local broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use sluice_engine::{Body, EndedBy, Handover, Stored};
use sluice_model::{Answer, Delivery, LeaseId, Reply, Request, SessionId};
use sluice_wal::Disk;

use crate::backend::{ClosedBy, Link};
use crate::local::backend::Shared;
use crate::local::driver::Input;
use crate::local::journal::place;
use crate::local::mailbox::Mailbox;
use crate::local::outbox::{Parcel, ParcelContent};

/// One client's way into the local broker.
pub(crate) struct LocalLink<D: Disk> {
    shared: Arc<Shared<D>>,
    session: SessionId,
    mailbox: Arc<Mailbox>,
    /// Weight of replies that have left since the engine was last told.
    given_back: usize,
    /// Weight of all replies taken and of all that have left.
    taken: u64,
    written: u64,
    /// Deliveries taken that have not left, by the weight taken up to them.
    unwritten: VecDeque<(u64, LeaseId)>,
}

impl<D: Disk> LocalLink<D> {
    /// A link for a session that was opened, with its mailbox.
    pub(crate) fn new(shared: Arc<Shared<D>>, session: SessionId, mailbox: Arc<Mailbox>) -> Self {
        let unwritten = VecDeque::new();
        Self { shared, session, mailbox, given_back: 0, taken: 0, written: 0, unwritten }
    }

    /// The reply in a parcel; none where its body can't be read and nothing is to be said.
    fn open_parcel(&mut self, parcel: Parcel) -> Reply {
        let tag = parcel.tag;
        let answer = match parcel.content {
            ParcelContent::Answer(answer) => answer,
            ParcelContent::Handover(handover) => self.deliver(handover, parcel.resident),
        };
        let reply = Reply { tag, answer };
        let weight = reply.weight();
        // The engine counted the stored form, which is never smaller.
        self.given_back += parcel.weight.saturating_sub(weight);
        self.taken += weight as u64;
        if let Answer::Delivered(Delivery { lease: Some(lease), .. }) = &reply.answer {
            self.unwritten.push_back((self.taken, *lease));
        }
        reply
    }

    fn deliver(&self, handover: Handover, resident: Option<Bytes>) -> Answer {
        let Handover { subscription, lease, redelivered, body } = handover;
        let (id, published_at, topic, sender, payload) = match body {
            Body::Resident(message) => {
                let topic = Bytes::copy_from_slice(message.topic.as_str().as_bytes());
                let sender = Bytes::copy_from_slice(message.sender.as_str().as_bytes());
                (message.id, message.published_at, topic, sender, message.payload.clone())
            }
            Body::Stored(at) => {
                let stored = resident.and_then(|bytes| Stored::decode(&bytes).ok());
                let Some(stored) = stored.or_else(|| self.read(at, lease)) else {
                    return Answer::Empty;
                };
                (stored.id, stored.published_at, stored.topic, stored.sender, stored.payload)
            }
        };
        Answer::Delivered(Delivery {
            subscription,
            lease,
            redelivered,
            id,
            published_at,
            topic,
            sender,
            payload,
        })
    }

    /// Reads a body; once more at its present place if it has moved. One that can't be read goes
    /// to the dead set, and its consumer is told that there is nothing.
    fn read(&self, at: sluice_engine::BodyRef, lease: Option<LeaseId>) -> Option<Stored> {
        let (sequence, body) = place(at);
        let read = |sequence, body| {
            let bytes = self.shared.read(body, sequence).ok()?;
            Stored::decode(&bytes).ok()
        };
        if let Some(stored) = read(sequence, body) {
            return Some(stored);
        }
        let lease = lease?;
        let present = self.shared.place_of(&lease)?;
        let again = read(present.0, present.1);
        if again.is_none() {
            tracing::error!(queue = lease.queue.0, seq = lease.seq.0, "a body can't be read back");
            self.shared.turn(None, Input::Corrupt(lease));
        }
        again
    }
}

impl<D: Disk> Link for LocalLink<D> {
    fn submit(&mut self, requests: &mut VecDeque<Request>) {
        let written = std::mem::take(&mut self.given_back);
        let input = Input::Requests { session: self.session, written, requests };
        self.shared.turn(Some(self.session), input);
    }

    fn take_replies(&mut self, into: &mut Vec<Reply>) {
        for parcel in self.mailbox.take() {
            let reply = self.open_parcel(parcel);
            into.push(reply);
        }
    }

    fn poll_replies(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll(context)
    }

    fn written(&mut self, weight: usize) {
        self.given_back += weight;
        self.written += weight as u64;
        while self.unwritten.pop_front_if(|(upto, _)| *upto <= self.written).is_some() {}
    }

    fn close(self: Box<Self>, by: ClosedBy) {
        let mut unsent: Vec<LeaseId> = self.unwritten.iter().map(|(_, lease)| *lease).collect();
        unsent.extend(self.mailbox.take().iter().filter_map(Parcel::lease));
        let by = match by {
            ClosedBy::Client => EndedBy::Client,
            ClosedBy::Broker => EndedBy::Broker,
        };
        self.shared.forget_mailbox(self.session);
        self.shared.turn(None, Input::Close { session: self.session, by, unsent });
    }
}
