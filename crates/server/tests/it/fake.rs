//! A broker in memory, as small as the doors' tests allow.
//!
//! It shows what the real one can't be made to do on demand: hold replies back, fail, panic.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sluice_broker::{Backend, BrokerError, Capabilities, ClosedBy, Link, Stats};
use sluice_model::{
    Answer, Carried, Client, Code, Command, Delivery, Generation, LeaseId, Publish, Qos, QueueNo,
    Receive, Refusal, Reply, Request, Seq, Source, SubscriptionId, Timestamp, TopicPattern,
};
use tokio::sync::watch;

/// Publishing to this topic panics.
pub(crate) const PANIC_TOPIC: &str = "panic";
/// Publishing to this topic is refused.
pub(crate) const FULL_TOPIC: &str = "full";

#[derive(Default)]
struct State {
    /// Replies wait until this is false again.
    holding: bool,
    /// Requests are left with their sessions until this is false again.
    putting_off: bool,
    failed: bool,
    next: u64,
    subscriptions: BTreeMap<u64, Subscription>,
    links: Vec<Arc<Mutex<Outbox>>>,
    failure_waker: Option<Waker>,
}

struct Subscription {
    pattern: TopicPattern,
    qos: Qos,
    client: Client,
    /// The session that has it, unless it is detached.
    session: Option<u64>,
    ready: VecDeque<(Bytes, Bytes, Qos)>,
    leased: BTreeMap<u64, (Bytes, Bytes, Qos)>,
}

#[derive(Default)]
struct Outbox {
    replies: VecDeque<Reply>,
    /// Requests may be handed in again.
    resumed: bool,
    waker: Option<Waker>,
}

/// The broker; clones are the same one.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    /// Who was told of, as sessions end.
    closed: watch::Sender<Vec<(Client, ClosedBy)>>,
    submitted: watch::Sender<usize>,
    put_off: watch::Sender<usize>,
    /// The room of a session's replies.
    room: usize,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self::with_room(1024 * 1024)
    }

    pub(crate) fn with_room(room: usize) -> Self {
        let (closed, submitted) = (watch::Sender::default(), watch::Sender::default());
        let put_off = watch::Sender::default();
        Self { state: Arc::default(), closed, submitted, put_off, room }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Holds replies back, or lets them go.
    pub(crate) fn hold(&self, holding: bool) {
        let mut state = self.state();
        state.holding = holding;
        for outbox in &state.links {
            if let Some(waker) = outbox.lock().unwrap().waker.take() {
                waker.wake();
            }
        }
    }

    /// Takes no requests, or takes those that it left from now on.
    pub(crate) fn put_off(&self, putting_off: bool) {
        let mut state = self.state();
        state.putting_off = putting_off;
        for outbox in &state.links {
            let mut outbox = outbox.lock().unwrap();
            outbox.resumed = !putting_off;
            if let Some(waker) = outbox.waker.take() {
                waker.wake();
            }
        }
    }

    /// Waits until requests were left with their session.
    pub(crate) async fn has_put_off(&self) {
        self.put_off.subscribe().wait_for(|put_off| *put_off > 0).await.unwrap();
    }

    pub(crate) fn fail(&self) {
        let mut state = self.state();
        state.failed = true;
        if let Some(waker) = state.failure_waker.take() {
            waker.wake();
        }
        drop(state);
        self.hold(false);
    }

    /// Waits until `count` sessions have ended, and says whose and how.
    pub(crate) async fn closed(&self, count: usize) -> Vec<(Client, ClosedBy)> {
        let mut closed = self.closed.subscribe();
        closed.wait_for(|closed| closed.len() >= count).await.unwrap().clone()
    }

    /// Waits until `count` requests have been submitted.
    pub(crate) async fn submitted(&self, count: usize) {
        self.submitted.subscribe().wait_for(|submitted| *submitted >= count).await.unwrap();
    }
}

impl Backend for Fake {
    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, durable_subscriptions: true, backups: false }
    }

    fn open(&self, client: Client) -> Box<dyn Link> {
        let outbox = Arc::default();
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.links.push(Arc::clone(&outbox));
        Box::new(FakeLink { fake: self.clone(), id, client, outbox, used: 0 })
    }

    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn poll_failure(&self, context: &mut Context<'_>) -> Poll<BrokerError> {
        let mut state = self.state();
        if state.failed {
            return Poll::Ready(BrokerError::Disk("no more".to_owned()));
        }
        state.failure_waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn stop(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

struct FakeLink {
    fake: Fake,
    id: u64,
    client: Client,
    outbox: Arc<Mutex<Outbox>>,
    used: usize,
}

impl FakeLink {
    fn run(&mut self, command: Command) -> Option<Answer> {
        let mut state = self.fake.state();
        match command {
            Command::Publish(publish) => publish_to_all(&mut state, publish),
            Command::Fence => Some(Answer::Fenced),
            Command::Nack { .. } => None,
            Command::Refused(refusal) => Some(Answer::Refused(*refusal)),
            Command::Subscribe(subscribe) => {
                state.next += 1;
                let number = state.next;
                let detached = state.subscriptions.iter().find_map(|(number, detached)| {
                    let same = detached.session.is_none()
                        && detached.client == self.client
                        && detached.pattern == subscribe.pattern;
                    same.then_some(*number)
                });
                let mut taken = match detached.and_then(|old| state.subscriptions.remove(&old)) {
                    Some(taken) if subscribe.qos == Qos::AtLeastOnce => taken,
                    _ => Subscription {
                        pattern: subscribe.pattern,
                        qos: subscribe.qos,
                        client: self.client.clone(),
                        session: None,
                        ready: VecDeque::new(),
                        leased: BTreeMap::new(),
                    },
                };
                for (_, message) in mem::take(&mut taken.leased).into_iter().rev() {
                    taken.ready.push_front(message);
                }
                taken.session = Some(self.id);
                state.subscriptions.insert(number, taken);
                Some(Answer::Subscribed { subscription: SubscriptionId(number) })
            }
            Command::Receive(Receive { from: Source::Subscription(subscription), .. }) => {
                state.next += 1;
                let counter = state.next;
                Some(receive(&mut state, self.id, subscription, counter))
            }
            Command::Ack { lease, .. } => {
                let counter = lease.generation.counter;
                let found = state
                    .subscriptions
                    .values_mut()
                    .any(|subscription| subscription.leased.remove(&counter).is_some());
                (!found).then(|| Answer::Refused(Refusal::new(Code::LeaseLost, "lease lost")))
            }
            other => Some(Answer::Refused(Refusal::new(Code::Invalid, format!("{other:?}")))),
        }
    }
}

fn publish_to_all(state: &mut State, publish: Publish) -> Option<Answer> {
    let Publish { to: topic, qos, message, .. } = publish;
    assert_ne!(topic.as_str(), PANIC_TOPIC, "a panic was asked for");
    if topic.as_str() == FULL_TOPIC {
        return Some(Answer::Refused(Refusal::new(Code::QueueFull, "queue full")));
    }
    for subscription in state.subscriptions.values_mut() {
        if subscription.pattern.matches(topic.as_str()) {
            let name = Bytes::copy_from_slice(topic.as_str().as_bytes());
            // A copy, as the real broker makes one: what it keeps must not hold a read buffer.
            let payload = Bytes::copy_from_slice(&message.payload);
            subscription.ready.push_back((name, payload, qos));
        }
    }
    None
}

fn receive(state: &mut State, session: u64, id: SubscriptionId, counter: u64) -> Answer {
    let mine = state.subscriptions.get_mut(&id.0).filter(|mine| mine.session == Some(session));
    let Some(mine) = mine else {
        return Answer::Refused(Refusal::new(Code::NotFound, "no such subscription"));
    };
    let Some((topic, payload, qos)) = mine.ready.pop_front() else {
        return Answer::Empty { next: None };
    };
    let lease = (mine.qos.min(qos) == Qos::AtLeastOnce).then(|| {
        mine.leased.insert(counter, (topic.clone(), payload.clone(), qos));
        let generation = Generation { start: 1, counter };
        LeaseId { queue: QueueNo(1), seq: Seq(counter), generation, secret: 1 }
    });
    let sender = Bytes::from_static(b"anonymous");
    let carried = Carried { topic, sender, payload, ..Carried::default() };
    Answer::Delivered(Box::new(Delivery::first(id, lease, Timestamp::EPOCH, carried)))
}

impl Link for FakeLink {
    fn submit(&mut self, requests: &mut VecDeque<Request>) {
        let before = requests.len();
        if self.fake.state().putting_off {
            return self.fake.put_off.send_modify(|put_off| *put_off += before);
        }
        while self.used < self.fake.room
            && let Some(Request { tag, command }) = requests.pop_front()
        {
            if let Some(answer) = self.run(command) {
                let reply = Reply { tag, answer };
                self.used += reply.weight();
                self.outbox.lock().unwrap().replies.push_back(reply);
            }
        }
        self.fake.submitted.send_modify(|submitted| *submitted += before - requests.len());
    }

    fn take_replies(&mut self, into: &mut Vec<Reply>) {
        if !self.fake.state().holding {
            into.extend(self.outbox.lock().unwrap().replies.drain(..));
        }
    }

    fn poll_replies(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let state = self.fake.state();
        let mut outbox = self.outbox.lock().unwrap();
        outbox.waker = Some(context.waker().clone());
        let resumed = mem::take(&mut outbox.resumed);
        let ready = state.failed || resumed || (!state.holding && !outbox.replies.is_empty());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }

    fn written(&mut self, weight: usize) {
        self.used = self.used.checked_sub(weight).expect("no more is given back than was taken");
    }

    fn close(self: Box<Self>, by: ClosedBy) {
        let mut state = self.fake.state();
        state.subscriptions.retain(|_, subscription| {
            let mine = subscription.session == Some(self.id);
            if mine {
                subscription.session = None;
            }
            !mine || subscription.qos == Qos::AtLeastOnce
        });
        state.links.retain(|outbox| !Arc::ptr_eq(outbox, &self.outbox));
        drop(state);
        self.fake.closed.send_modify(|closed| closed.push((self.client.clone(), by)));
    }
}
