//! What one connection has with the broker: its session, and what of its answers the kernel has.
//!
//! ```text
//! begin -> ask: submit, replies -> the answer's last byte is hyper's: handed
//!                                       -> the kernel has all of hyper's: flushed
//! ```
//!
//! The request that is being served has a place among the workers, which it gives back while it
//! waits for something that others bring about.
//!
//! A delivery counts as written when the kernel has the last byte of the answer that carries it;
//! until then the end of the connection gives it back, uncounted. Requests of a connection are
//! served one after another, but the next may begin before the answer to the last is flushed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use sluice_broker::Session;
use sluice_flow::RoomFull;
use sluice_model::{
    Answer, Client, Code, Command, Confirm, Delivery, LeaseId, Principal, Receive, Refusal, Reply,
    Request, Timestamp,
};

use crate::admission::{ParkedPermit, Permit, client_of, full};
use crate::doors::{Notices, Peer, Shared};
use crate::places::PlaceBy;

/// A broker that wakes us so often without a reply has failed: it is ready for ever.
const EMPTY_WAKES_MAX: u32 = 64;

/// What one connection has with the broker.
pub(super) struct Exchange {
    shared: Arc<Shared>,
    peer: Peer,
    inner: Mutex<Inner>,
    /// The place of the request that is being served, if it needs one.
    permit: Mutex<Option<Permit>>,
    /// It has taken or settled something, or looked how things stand.
    is_vital: AtomicBool,
}

#[derive(Default)]
struct Inner {
    session: Option<Session>,
    /// Whose session it is, and its place among those with the same key.
    principal: Option<(Principal, Option<PlaceBy<Principal>>)>,
    last_tag: u64,
    requests: VecDeque<Request>,
    replies: Vec<Reply>,
    /// What replies came to that are in no answer that was handed on.
    taken: Receipt,
    /// The same of answers that hyper has and the kernel has not.
    handed: Receipt,
    /// Requests whose answers are not flushed.
    open: u32,
    /// Of these, those whose answers hyper has.
    handed_count: u32,
}

/// What is owed to the broker once an answer is written.
#[derive(Default)]
struct Receipt {
    /// The weight of its replies.
    weight: usize,
    /// What is acknowledged then.
    acks: Vec<LeaseId>,
}

impl Receipt {
    fn append(&mut self, other: &mut Self) {
        self.weight += std::mem::take(&mut other.weight);
        self.acks.append(&mut other.acks);
    }
}

impl Inner {
    /// Takes what the broker has answered once all from before is used up, the last in front.
    fn take_replies(&mut self) {
        if let Some(session) = &mut self.session
            && self.replies.is_empty()
        {
            session.take_replies(&mut self.replies);
            self.taken.weight += self.replies.iter().map(Reply::weight).sum::<usize>();
            self.replies.reverse();
        }
    }

    /// Ends the session; what was not written is given back, and owed to nobody.
    fn end_session(&mut self) {
        self.session = None;
        self.requests.clear();
        self.replies.clear();
        self.taken = Receipt::default();
        self.handed = Receipt::default();
    }
}

/// What a receive brought.
pub(super) struct Received {
    pub(super) deliveries: Vec<Delivery>,
    /// When there will be something, if that is known and nothing came.
    pub(super) next: Option<Timestamp>,
}

impl Exchange {
    pub(super) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        let (inner, permit, is_vital) = Default::default();
        Self { shared, peer, inner, permit, is_vital }
    }

    /// A request has come.
    pub(super) fn begin(&self) {
        self.inner.lock().open += 1;
    }

    /// Whether a request has come whose answer is not flushed.
    pub(super) fn is_open(&self) -> bool {
        self.inner.lock().open > 0
    }

    /// It is read without waiting for a turn from now on: it may hold what only it can settle.
    pub(super) fn set_vital(&self) {
        self.is_vital.store(true, Relaxed);
    }

    /// Whether it is.
    pub(super) fn is_vital(&self) -> bool {
        self.is_vital.load(Relaxed)
    }

    /// Whom its requests are counted for.
    pub(super) fn client(&self) -> sluice_flow::Client {
        let inner = self.inner.lock();
        let principal = inner.principal.as_ref().map(|(principal, _)| principal);
        client_of(principal.unwrap_or(&Principal::Anonymous), self.peer.ip)
    }

    /// hyper has the last byte of the answer to the request that is being served.
    pub(super) fn handed(&self) {
        let inner = &mut *self.inner.lock();
        inner.handed.append(&mut inner.taken);
        inner.handed_count += 1;
    }

    /// The kernel has all that hyper had. Says whether an answer was written by it.
    pub(super) fn flushed(&self) -> bool {
        let inner = &mut *self.inner.lock();
        if inner.handed_count == 0 {
            return false;
        }
        inner.open = inner.open.saturating_sub(std::mem::take(&mut inner.handed_count));
        let Receipt { weight, acks } = std::mem::take(&mut inner.handed);
        let Some(session) = &mut inner.session else { return true };
        session.written(weight);
        for lease in acks {
            inner.last_tag += 1;
            let command = Command::Ack { lease, confirm: Confirm::Refusal };
            inner.requests.push_back(Request { tag: inner.last_tag, command });
        }
        // Also what found no room before.
        if !inner.requests.is_empty() {
            session.submit(&mut inner.requests);
        }
        true
    }

    /// The request that is being served has a place, until what is returned is dropped.
    pub(super) fn seat(&self, permit: Permit) -> Seat<'_> {
        *self.permit.lock() = Some(permit);
        Seat(self)
    }

    /// Gives the place back for as long as what is returned is kept.
    ///
    /// # Errors
    /// Too many have done so.
    pub(super) fn park(&self) -> Result<Option<ParkedPermit>, Refusal> {
        let Some(permit) = self.permit.lock().take() else { return Ok(None) };
        permit.park().map(Some).map_err(|permit| {
            *self.permit.lock() = Some(permit);
            full(RoomFull::Parked, &self.shared.counters)
        })
    }

    /// Does `work`; if it can't end at once, without the place, which is asked for again behind it.
    ///
    /// # Errors
    /// Too many do so.
    pub(super) async fn parked<T>(&self, work: impl Future<Output = T>) -> Result<T, Refusal> {
        let mut work = pin!(work);
        if let Poll::Ready(done) = at_once(work.as_mut()).await {
            return Ok(done);
        }
        let parked = self.park()?;
        let done = work.await;
        if let Some(parked) = parked {
            let permit = parked.resume().await;
            *self.permit.lock() = Some(permit);
        }
        Ok(done)
    }

    /// From now on requests are those of `principal`.
    ///
    /// # Errors
    /// There are too many connections with its key.
    pub(super) fn act_for(&self, principal: &Principal) -> Result<(), Refusal> {
        let inner = &mut *self.inner.lock();
        if inner.session.as_mut().is_some_and(Session::is_revoked) {
            inner.end_session();
        }
        if inner.principal.as_ref().is_some_and(|(known, _)| known == principal) {
            return Ok(());
        }
        let place = match principal {
            Principal::Anonymous => None,
            Principal::Key(_) => match self.shared.principals.take(principal.clone()) {
                None => {
                    self.shared.counters.rejected_principal.one();
                    return Err(Refusal::new(Code::Overloaded, "too many connections"));
                }
                place => place,
            },
        };
        inner.end_session();
        inner.principal = Some((principal.clone(), place));
        Ok(())
    }

    /// Acknowledges a delivery once the answer that is being made is written.
    pub(super) fn ack_when_written(&self, lease: LeaseId) {
        self.inner.lock().taken.acks.push(lease);
    }

    /// Asks the broker something that has one answer, now, and gives the answer to wait for.
    /// Requests of other connections that are ready share its commit.
    ///
    /// # Errors
    /// It was refused.
    pub(super) fn ask(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send + '_ {
        // The command is gone before anybody waits: futures that held it would be large.
        let submitted = self.submit_by([command], Session::submit_unled);
        async move {
            let (tag, is_left) = submitted?;
            if is_left {
                // Back after every connection that has something to do on this worker.
                tokio::task::yield_now().await;
                self.lead(tag);
            }
            match self.answer(tag).await? {
                Answer::Refused(refusal) => Err(refusal),
                answer => Ok(answer),
            }
        }
    }

    /// Takes messages. A receive that waits ends early when the server drains, and when the key is
    /// gone.
    ///
    /// # Errors
    /// It was refused.
    pub(super) async fn receive(
        &self,
        receive: Receive,
        notices: &Notices,
    ) -> Result<Received, Refusal> {
        let mut received = Received { deliveries: Vec::new(), next: None };
        for answer in self.listen(receive, notices).await? {
            match answer {
                Answer::Delivered(delivery) => received.deliveries.push(*delivery),
                Answer::Empty { next } => received.next = next,
                // What can't be read is in the dead set, and counted there.
                _ => {}
            }
        }
        Ok(received)
    }

    /// The same with everything that came, as it came.
    ///
    /// # Errors
    /// It was refused.
    pub(super) async fn listen(
        &self,
        receive: Receive,
        notices: &Notices,
    ) -> Result<Vec<Answer>, Refusal> {
        self.set_vital();
        let waits = receive.wait.is_some();
        let tag = self.submit(Command::Receive(receive))?;
        let mut answer = match waits {
            false => self.answer(tag).await?,
            true => self.wait(tag, notices.clone()).await?,
        };
        let mut answers = Vec::new();
        loop {
            if let Answer::Refused(refusal) = answer {
                return Err(refusal);
            }
            let more = answer.goes_on();
            answers.push(answer);
            if !more {
                return Ok(answers);
            }
            answer = self.answer(tag).await?;
        }
    }

    /// The first answer to a receive that waits, if it may.
    async fn wait(&self, tag: u64, notices: Notices) -> Result<Answer, Refusal> {
        let refusal = match self.parked(self.wait_long(tag, notices)).await {
            Ok(answer) => return answer,
            Err(refusal) => refusal,
        };
        self.submit(Command::Withdraw { receive: tag })?;
        match self.answer(tag).await? {
            Answer::Empty { .. } => Err(refusal),
            // It has come meanwhile.
            answer => Ok(answer),
        }
    }

    async fn wait_long(&self, tag: u64, mut notices: Notices) -> Result<Answer, Refusal> {
        loop {
            let seen = notices.now().keys;
            tokio::select! {
                biased;
                answer = self.answer(tag) => return answer,
                () = notices.news(seen, true) => {}
            }
            if notices.now().draining {
                self.submit(Command::Withdraw { receive: tag })?;
                return self.answer(tag).await;
            }
        }
    }

    /// Asks the broker many things at once that have one answer each, and returns the answers in
    /// their order.
    ///
    /// # Errors
    /// The key is gone, or the broker has failed. What is refused is among the answers.
    pub(super) async fn ask_each(&self, commands: Vec<Command>) -> Result<Vec<Answer>, Refusal> {
        let count = commands.len() as u64;
        let last = self.submit_all(commands)?;
        let mut answers = Vec::new();
        for tag in last + 1 - count..=last {
            answers.push(self.answer(tag).await?);
        }
        Ok(answers)
    }

    /// Everything that was answered so far has left: for who writes no answer of it.
    pub(super) fn done(&self) {
        self.handed();
        self.flushed();
    }

    fn submit(&self, command: Command) -> Result<u64, Refusal> {
        self.submit_all([command])
    }

    /// Submits requests and returns the tag of the last.
    fn submit_all(&self, commands: impl IntoIterator<Item = Command>) -> Result<u64, Refusal> {
        self.submit_by(commands, Session::submit).map(|(tag, ())| tag)
    }

    /// The same in one of the ways that a session has, with what that says.
    fn submit_by<T>(
        &self,
        commands: impl IntoIterator<Item = Command>,
        submit: impl FnOnce(&mut Session, &mut VecDeque<Request>) -> T,
    ) -> Result<(u64, T), Refusal> {
        let inner = &mut *self.inner.lock();
        for command in commands {
            inner.last_tag += 1;
            inner.requests.push_back(Request { tag: inner.last_tag, command });
        }
        let session = inner.session.get_or_insert_with(|| {
            let principal = inner.principal.as_ref().map(|(principal, _)| principal.clone());
            let principal = principal.unwrap_or(Principal::Anonymous);
            self.shared.broker.open(Client { principal, peer: self.peer.ip })
        });
        if session.is_revoked() {
            return Err(revoked());
        }
        let said = submit(session, &mut inner.requests);
        Ok((inner.last_tag, said))
    }

    /// Commits what was left when `tag` was submitted, unless its answer is there: then somebody
    /// has.
    fn lead(&self, tag: u64) {
        let inner = &mut *self.inner.lock();
        inner.take_replies();
        if inner.replies.iter().all(|reply| reply.tag != tag)
            && let Some(session) = &mut inner.session
        {
            session.lead();
        }
    }

    /// Waits for the next answer to a request. Cancel-safe.
    async fn answer(&self, tag: u64) -> Result<Answer, Refusal> {
        let mut empty_wakes = 0;
        poll_fn(|context| self.poll_answer(tag, &mut empty_wakes, context)).await
    }

    fn poll_answer(
        &self,
        tag: u64,
        empty_wakes: &mut u32,
        context: &mut Context<'_>,
    ) -> Poll<Result<Answer, Refusal>> {
        let inner = &mut *self.inner.lock();
        loop {
            inner.take_replies();
            let Some(session) = &mut inner.session else { return Poll::Ready(Err(revoked())) };
            // Others are refusals of what was acknowledged when it was written: nobody is left to
            // hear them.
            while let Some(reply) = inner.replies.pop() {
                if reply.tag == tag {
                    return Poll::Ready(Ok(reply.answer));
                }
            }
            if session.is_revoked() {
                return Poll::Ready(Err(revoked()));
            }
            if pin!(session.replies()).poll(context).is_pending() {
                return Poll::Pending;
            }
            *empty_wakes += 1;
            if *empty_wakes > EMPTY_WAKES_MAX {
                return Poll::Ready(Err(Refusal::new(Code::Internal, "the broker has failed")));
            }
            if !inner.requests.is_empty() {
                session.submit(&mut inner.requests);
            }
        }
    }
}

/// The place of a request that is being served.
pub(super) struct Seat<'a>(&'a Exchange);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let permit = self.0.permit.lock().take();
        // Without the lock, because leaving wakes.
        drop(permit);
    }
}

/// What comes of the work without waiting.
async fn at_once<W: Future>(mut work: Pin<&mut W>) -> Poll<W::Output> {
    poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await
}

fn revoked() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the key no longer counts")
}
