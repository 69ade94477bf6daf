//! One client's way into the local broker.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use sluice_engine::{Body, EndedBy, Handover, read_content};
use sluice_model::{
    Answer, Carried, Code, Delivery, LeaseId, Peeked, Refusal, Reply, Request, SessionId,
};
use sluice_wal::Disk;

use crate::backend::{ClosedBy, Link};
use crate::local::backend::Shared;
use crate::local::driver::Input;
use crate::local::journal::place;
use crate::local::mailbox::Mailbox;
use crate::local::outbox::{Parcel, ParcelContent};

/// Replies that a worker keeps room for.
const READY_MAX: usize = 1_024;

thread_local! {
    /// Room for replies that are ready when requests have run. No link keeps any when they have been
    /// taken, so all that a worker serves share it.
    static READY: Cell<Vec<Reply>> = const { Cell::new(Vec::new()) };
}

/// One client's way into the local broker.
pub(crate) struct LocalLink<D: Disk> {
    shared: Arc<Shared<D>>,
    session: SessionId,
    mailbox: Arc<Mailbox>,
    /// Replies that go before those in the mailbox.
    ready: Vec<Reply>,
    /// The client has more to hand in.
    expects_more: bool,
    /// What was handed in last may still have to be committed, by us.
    owes_lead: bool,
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
        Self {
            shared,
            session,
            mailbox,
            ready: Vec::new(),
            expects_more: false,
            owes_lead: false,
            given_back: 0,
            taken: 0,
            written: 0,
            unwritten,
        }
    }

    /// Requests as a turn takes them, which gets room for replies.
    fn input<'a>(&mut self, requests: &'a mut VecDeque<Request>) -> Input<'a, D> {
        if self.ready.capacity() == 0 {
            self.ready = READY.take();
        }
        // Whoever submits looks for replies next. To wake it meanwhile would have its task run once
        // more for nothing, and another worker woken to take it.
        self.mailbox.forget_waker();
        let written = std::mem::take(&mut self.given_back);
        Input::Requests { session: self.session, written, requests }
    }

    /// Gives the room for replies to who works next on this thread, if none is in it.
    fn give_room(&mut self) {
        if self.ready.is_empty() && self.ready.capacity() > 0 {
            self.ready.shrink_to(READY_MAX);
            READY.set(std::mem::take(&mut self.ready));
        }
    }

    /// Appends the replies in a parcel.
    fn open_parcel(&mut self, parcel: Parcel, into: &mut Vec<Reply>) {
        let Parcel { tag, weight, content } = parcel;
        let before = self.taken;
        match content {
            ParcelContent::Answer(answer) => self.take_reply(Reply { tag, answer }, into),
            ParcelContent::Handovers(mut handovers) => {
                self.fetch(&mut handovers);
                for handover in handovers {
                    let answer = self.deliver(handover);
                    self.take_reply(Reply { tag, answer }, into);
                }
            }
            ParcelContent::Peek(info, body) => {
                let answer = match self.carried(body, None) {
                    Some(carried) => Answer::Peeked(Box::new(Peeked { info: *info, carried })),
                    None => {
                        let text = "what the message carries can't be read back";
                        Answer::Refused(Refusal::new(Code::Internal, text))
                    }
                };
                self.take_reply(Reply { tag, answer }, into);
            }
        }
        // The engine counted the stored form, which is never smaller.
        self.given_back += weight.saturating_sub((self.taken - before) as usize);
    }

    fn take_reply(&mut self, reply: Reply, into: &mut Vec<Reply>) {
        self.taken += reply.weight() as u64;
        if let Answer::Delivered(delivery) = &reply.answer
            && let Some(lease) = delivery.lease
        {
            self.unwritten.push_back((self.taken, lease));
        }
        into.push(reply);
    }

    /// Reads the bodies that are not at hand, neighbours in the log at once. What can't be read
    /// is left out.
    fn fetch(&self, handovers: &mut [Handover]) {
        let missing = handovers.iter_mut().filter_map(|handover| match &mut handover.body {
            Body::Stored { at, bytes: bytes @ None } => Some((place(*at), bytes)),
            _ => None,
        });
        let (places, into): (Vec<_>, Vec<_>) = missing.unzip();
        if places.is_empty() {
            return;
        }
        for (bytes, read) in into.into_iter().zip(self.shared.read_many(&places)) {
            *bytes = read.ok();
        }
    }

    fn deliver(&self, handover: Handover) -> Answer {
        let Handover { subscription, lease, deadline, redelivered, attempt, .. } = handover;
        let Handover { failures, lane, body, more, .. } = handover;
        let Some(carried) = self.carried(body, lease) else {
            return Answer::Unreadable { more };
        };
        Answer::Delivered(Box::new(Delivery {
            subscription,
            lease,
            deadline,
            redelivered,
            attempt,
            failures,
            lane,
            carried,
            more,
        }))
    }

    /// What a message carries.
    fn carried(&self, body: Body, lease: Option<LeaseId>) -> Option<Carried> {
        match body {
            Body::Resident(message) => Some((*message).clone()),
            Body::Stored { at, bytes } => {
                let carried = bytes.and_then(|bytes| read_content(&bytes).ok());
                carried.or_else(|| self.read(at, lease))
            }
        }
    }

    /// Reads a body; once more at its present place if it has moved. One that can't be read goes
    /// to the dead set, and its consumer is told that there is nothing.
    fn read(&self, at: sluice_engine::BodyRef, lease: Option<LeaseId>) -> Option<Carried> {
        let (sequence, body) = place(at);
        let read = |sequence, body| {
            let bytes = self.shared.read(body, sequence).ok()?;
            read_content(&bytes).ok()
        };
        if let Some(carried) = read(sequence, body) {
            return Some(carried);
        }
        let lease = lease?;
        let present = self.shared.place_of(&lease)?;
        let again = read(present.0, present.1);
        if again.is_none() {
            tracing::error!(queue = lease.queue.0, seq = lease.seq.0, "a body can't be read back");
            self.shared.turn(Input::Corrupt(lease));
        }
        again
    }
}

impl<D: Disk> Link for LocalLink<D> {
    fn submit(&mut self, requests: &mut VecDeque<Request>) {
        let (session, more) = (self.session, self.expects_more);
        let input = self.input(requests);
        self.shared.turn_for(session, input, more, &mut self.ready);
        self.give_room();
    }

    fn submit_unled(&mut self, requests: &mut VecDeque<Request>) -> bool {
        let input = self.input(requests);
        let is_left = self.shared.turn_unled(input, &mut self.ready);
        self.give_room();
        self.owes_lead |= is_left;
        is_left
    }

    fn lead(&mut self) {
        if std::mem::take(&mut self.owes_lead) {
            self.shared.lead_for(self.session);
        }
    }

    fn expect_more(&mut self, more: bool) {
        self.expects_more = more;
    }

    fn take_replies(&mut self, into: &mut Vec<Reply>) {
        self.taken += self.ready.iter().map(|reply| reply.weight() as u64).sum::<u64>();
        into.append(&mut self.ready);
        self.give_room();
        for parcel in self.mailbox.take() {
            self.open_parcel(parcel, into);
        }
    }

    fn poll_replies(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.ready.is_empty() {
            return Poll::Ready(());
        }
        self.mailbox.poll(context)
    }

    fn written(&mut self, weight: usize) {
        self.given_back += weight;
        self.written += weight as u64;
        while self.unwritten.pop_front_if(|(upto, _)| *upto <= self.written).is_some() {}
    }

    fn close(self: Box<Self>, by: ClosedBy) {
        let mut unsent: Vec<LeaseId> = self.unwritten.iter().map(|(_, lease)| *lease).collect();
        self.mailbox.take().for_each(|parcel| unsent.extend(parcel.leases()));
        let by = match by {
            ClosedBy::Client => EndedBy::Client,
            ClosedBy::Broker => EndedBy::Broker,
        };
        self.shared.forget_mailbox(self.session);
        self.shared.turn(Input::Close { session: self.session, by, unsent });
    }
}
