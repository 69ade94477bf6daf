//! An engine with everything around it made of plain data.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sluice_engine::{
    Body, BodyRef, Config, Effect, Effects, EndedBy, Engine, Handover, Journal, Key, Loader, Need,
    Piece, Place, Progress, QueueConfig, Ran, Record, Target, Ticket, read_content,
};
use sluice_flow::Backoff;
use sluice_model::{
    Answer, Carried, Client, Code, Command, Confirm, Destination, Extras, Generation, LeaseId,
    Message, MessageId, MessageInfo, Outcome, Principal, Publish, Published, Qos, QueueName,
    QueueRequest, QueueSettings, QueueStats, Receive, Reply, Request, SessionId, Source, Subscribe,
    SubscriptionId, Timestamp,
};

/// Records in a segment of the log.
const SEGMENT: u64 = 64;

/// A log in memory: a head and a body for each record, the first one's number is 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape {
    records: Vec<(Vec<u8>, Bytes)>,
    batch: Option<(u64, usize)>,
    /// Records of a batch: behind the first number, up to the second.
    pub(crate) batches: Vec<(u64, u64)>,
}

impl Tape {
    pub(crate) fn last(&self) -> u64 {
        self.records.len() as u64
    }

    fn place(&self, sequence: u64) -> BodyRef {
        let (_, body) = &self.records[sequence as usize - 1];
        BodyRef {
            sequence,
            segment: 1 + (sequence / SEGMENT) as u32,
            offset: 64 * (sequence % SEGMENT) as u32,
            len: body.len() as u32,
        }
    }

    /// The body that stands where `at` says.
    pub(crate) fn body(&self, at: BodyRef) -> Bytes {
        assert_eq!(self.place(at.sequence), at, "a body's place");
        self.records[at.sequence as usize - 1].1.clone()
    }

    pub(crate) fn record(&self, sequence: u64) -> Record<'_> {
        Record::decode(&self.records[sequence as usize - 1].0).unwrap()
    }
}

impl Journal for Tape {
    fn append(&mut self, record: &Record<'_>) -> BodyRef {
        let mut head = Vec::new();
        record.encode(&mut head);
        let body = match record {
            Record::Published { content: Some(content), .. } => {
                let mut body = Vec::new();
                content.encode_head(&mut body);
                body.extend_from_slice(content.payload);
                assert_eq!(body.len(), content.len());
                body
            }
            Record::Moved { body: Some(body), .. } => body.to_vec(),
            _ => Vec::new(),
        };
        self.records.push((head, body.into()));
        self.place(self.last())
    }

    fn begin_batch(&mut self, bytes: usize) {
        self.batch = Some((self.last(), bytes));
    }

    fn end_batch(&mut self) {
        let (from, bytes) = self.batch.take().expect("a batch has begun");
        let size = |(head, body): &(Vec<u8>, Bytes)| head.len() + body.len();
        let used: usize = self.records[from as usize..].iter().map(size).sum();
        assert!(used <= bytes, "a batch of {used} bytes, {bytes} were announced");
        self.batches.push((from, self.last()));
    }
}

/// What a record says of each message: one of many as so many records of one.
pub(crate) fn one_by_one(record: Record<'_>) -> Vec<Record<'_>> {
    match record {
        Record::GrantedMany { queue, runs, generation, at, deadline, bound } => {
            let seqs = runs.iter().flat_map(|run| run.seqs()).zip(generation.counter..);
            let one = |(seq, counter)| Record::Granted {
                target: Target::new(queue, seq),
                generation: Generation { counter, ..generation },
                at,
                deadline,
                bound,
            };
            seqs.map(one).collect()
        }
        Record::AckedMany { queue, runs } => {
            let each = runs.iter().flat_map(|run| run.each());
            let one =
                |(seq, generation)| Record::Acked { target: Target::new(queue, seq), generation };
            each.map(one).collect()
        }
        record => vec![record],
    }
}

/// What an image holds, and the last record that it covers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) pieces: BTreeMap<Key, Vec<u8>>,
    pub(crate) covers: u64,
}

impl Image {
    pub(crate) fn put(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            let mut bytes = Vec::new();
            if piece.encode(&mut bytes) {
                self.pieces.insert(piece.key(), bytes);
            } else {
                self.pieces.remove(&piece.key());
            }
        }
    }
}

/// A message as its consumer sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Got {
    pub(crate) payload: String,
    pub(crate) topic: String,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) redelivered: bool,
    /// Where its body is, if it is in the log.
    pub(crate) at: Option<BodyRef>,
}

impl Got {
    pub(crate) fn lease(&self) -> LeaseId {
        self.lease.unwrap()
    }
}

/// What a session was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Answer(Answer),
    Got(Got),
    /// Nothing yet: an answer will come in this place.
    Parked(Ticket),
}

/// One thing that a session was told, and what has to be safe before it may know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Out {
    pub(crate) tag: u64,
    pub(crate) place: Option<Place>,
    pub(crate) need: Need,
    pub(crate) weight: usize,
    pub(crate) said: Said,
}

/// The engine and its surroundings.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    pub(crate) tape: Tape,
    pub(crate) image: Image,
    /// Pieces of an image that was begun, and the last record that it covers.
    pub(crate) imaging: Option<(Vec<Piece>, u64)>,
    pub(crate) now: Timestamp,
    pub(crate) progress: Progress,
    /// Each verb is followed by a commit of all that it wrote.
    pub(crate) commits: bool,
    /// The engine is checked whenever it did something.
    pub(crate) checks: bool,
    /// Replies leave as soon as they are made.
    pub(crate) drains: bool,
    pub(crate) outs: BTreeMap<SessionId, VecDeque<Out>>,
    effects: Effects,
    pub(crate) tag: u64,
    runs: u64,
}

/// Small and predictable: no jitter in retry delays.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    for queue in [&mut config.queue, &mut config.unnamed] {
        queue.backoff = Backoff { jitter: 0.0, ..Backoff::default() };
    }
    config
}

/// The default rules of named subscriptions, changed.
pub(crate) fn with(change: impl FnOnce(&mut QueueConfig)) -> Config {
    let mut config = config();
    change(&mut config.queue);
    config
}

/// There is nothing, and nobody knows when there will be.
pub(crate) const EMPTY: Answer = Answer::Empty { next: None };

/// Takes one message of a subscription.
pub(crate) fn take(subscription: SubscriptionId) -> Command {
    Command::Receive(Receive::one(Source::Subscription(subscription)))
}

pub(crate) fn queue(name: &str) -> QueueName {
    name.parse().unwrap()
}

pub(crate) fn settings(chosen: &[(&str, &str)]) -> QueueSettings {
    let mut settings = QueueSettings::default();
    for (name, value) in chosen {
        settings.set_text(name, value).unwrap();
    }
    settings
}

/// Puts a message into a queue.
pub(crate) fn put(to: &str, payload: &str, extras: Extras) -> Command {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Command::Publish(Publish {
        to: Destination::Queue(queue(to)),
        qos: Qos::AtLeastOnce,
        level: None,
        message: Message { payload, extras: Some(Box::new(extras)) },
        confirm: Confirm::Always,
    })
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn peer(last: u8) -> Client {
    Client { principal: Principal::Anonymous, peer: [192, 0, 2, last].into() }
}

pub(crate) fn key(id: &str, last: u8) -> Client {
    Client { principal: Principal::Key(id.into()), ..peer(last) }
}

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        // Tests of the room for keys have less than any broker starts with.
        let live_keys_max = config.live_keys_max.max(40);
        Config { live_keys_max, ..config.clone() }.validate().unwrap();
        let mut rig = Self {
            engine: Engine::new(config.clone(), 7),
            config,
            tape: Tape::default(),
            image: Image::default(),
            imaging: None,
            now: Timestamp::from_millis(1_000_000),
            progress: Progress::default(),
            commits: true,
            checks: true,
            drains: true,
            outs: BTreeMap::new(),
            effects: Effects::default(),
            tag: 0,
            runs: 1,
        };
        rig.engine.start(rig.now, false, &mut rig.tape);
        rig.commit();
        rig
    }

    // The world around.

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.fire();
    }

    /// Fires until nothing is due.
    pub(crate) fn fire_all(&mut self) {
        self.fire();
        while self.engine.next_deadline().is_some_and(|at| at <= self.now) {
            self.fire();
        }
    }

    pub(crate) fn fire(&mut self) {
        self.engine.fire(self.now, &mut self.tape, &mut self.effects);
        self.after();
    }

    /// Everything written so far is on the disk.
    pub(crate) fn commit(&mut self) {
        let last = self.tape.last();
        self.commit_to(last, last);
    }

    pub(crate) fn commit_to(&mut self, written: u64, synced: u64) {
        assert!(synced <= written && written <= self.tape.last());
        self.progress = Progress { written, synced };
        self.engine.progress(self.now, self.progress, &mut self.tape, &mut self.effects);
        self.collect();
    }

    /// The process is gone, and of the log all after the first `kept` records; then a start.
    pub(crate) fn restart(&mut self, kept: u64, with_image: bool, unclean: bool) {
        assert!(kept <= self.tape.last());
        self.runs += 1;
        self.imaging = None;
        self.tape.records.truncate(kept as usize);
        let engine = Engine::new(self.config.clone(), 7 * self.runs);
        let mut from = 0;
        self.engine = if with_image {
            assert!(self.image.covers <= kept, "an image is published when the log is safe");
            from = self.image.covers;
            let mut loader = Loader::new(engine);
            for (key, bytes) in &self.image.pieces {
                loader.add(key, bytes).unwrap();
            }
            loader.finish()
        } else {
            self.image = Image::default();
            engine
        };
        for sequence in from + 1..=kept {
            let (head, _) = &self.tape.records[sequence as usize - 1];
            let record = Record::decode(head).unwrap();
            self.engine.replay(&record, self.tape.place(sequence));
        }
        self.outs.clear();
        self.effects = Effects::default();
        self.engine.start(self.now, unclean, &mut self.tape);
        self.commit();
        self.engine.check();
    }

    /// A crash of the machine that loses what was not synced.
    pub(crate) fn crash(&mut self) {
        self.restart(self.progress.synced, false, true);
    }

    /// Begins an image; it counts once its last slice is taken.
    pub(crate) fn begin_image(&mut self) {
        self.imaging = Some((self.engine.begin_image(), self.tape.last()));
    }

    /// Takes a slice of the image that was begun.
    pub(crate) fn image_slice(&mut self) {
        let Some((pieces, covers)) = &mut self.imaging else { return };
        if !self.engine.image_slice(pieces) {
            self.image.put(pieces);
            self.image.covers = *covers;
            self.imaging = None;
        }
    }

    pub(crate) fn take_image(&mut self) {
        self.image.put(&self.engine.take_image());
        self.image.covers = self.tape.last();
    }

    /// Copies the body at `from` to the end of the log.
    pub(crate) fn relocate(&mut self, from: u64) -> bool {
        let targets: Vec<Target> = match self.tape.record(from) {
            Record::Published { targets, .. } | Record::Moved { targets, .. } => targets.to_vec(),
            _ => return false,
        };
        let body = self.tape.body(self.tape.place(from));
        let moved = self.engine.relocate(&targets, from, &body, &mut self.tape);
        self.after();
        moved
    }

    /// The body of a delivery turned out to be unreadable.
    pub(crate) fn corrupt(&mut self, lease: LeaseId) {
        self.engine.corrupt(self.now, &lease, &mut self.tape, &mut self.effects);
        self.after();
    }

    fn after(&mut self) {
        self.collect();
        if self.commits {
            self.commit();
        }
    }

    fn collect(&mut self) {
        for effect in self.effects.drain().collect::<Vec<_>>() {
            let (session, out) = match effect {
                Effect::Reply { session, tag, place, answer, need } => {
                    let reply = Reply { tag, answer };
                    let weight = reply.weight();
                    let said = Said::Answer(reply.answer);
                    (session, Out { tag, place: Some(place), need, weight, said })
                }
                Effect::Peek { session, tag, info, body, need } => {
                    let (carried, _) = self.carried(&body);
                    let peeked = Box::new(sluice_model::Peeked { info: *info, carried });
                    let said = Said::Answer(Answer::Peeked(peeked));
                    let weight = Reply::peek_weight(body.bytes());
                    (session, Out { tag, place: Some(Place::Next), need, weight, said })
                }
                Effect::Deliver { session, tag, place, handovers, need } => {
                    for handover in &handovers {
                        let weight = Reply::delivery_weight(handover.bytes());
                        let said = Said::Got(self.open_up(handover));
                        let out = Out { tag, place: Some(place), need, weight, said };
                        self.say(session, out);
                    }
                    continue;
                }
                Effect::Park { session, ticket, weight } => {
                    let said = Said::Parked(ticket);
                    (session, Out { tag: 0, place: None, need: Need::NONE, weight, said })
                }
            };
            self.say(session, out);
        }
        // It looks at every message: with many of them now and then is enough.
        if self.checks && (self.engine.queued() < 200 || self.tag.is_multiple_of(64)) {
            self.engine.check();
        }
    }

    fn say(&mut self, session: SessionId, out: Out) {
        if self.drains && out.place.is_some() {
            self.engine.written(session, out.weight);
        }
        self.outs.entry(session).or_default().push_back(out);
    }

    fn open_up(&self, handover: &Handover) -> Got {
        let (Carried { payload, topic, .. }, at) = self.carried(&handover.body);
        Got {
            payload: String::from_utf8(payload.to_vec()).unwrap(),
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            lease: handover.lease,
            redelivered: handover.redelivered,
            at,
        }
    }

    fn carried(&self, body: &Body) -> (Carried, Option<BodyRef>) {
        match body {
            Body::Stored { at, .. } => (read_content(&self.tape.body(*at)).unwrap(), Some(*at)),
            Body::Resident(message) => ((**message).clone(), None),
        }
    }

    // What clients do.

    pub(crate) fn open(&mut self, client: Client) -> SessionId {
        self.engine.open(client)
    }

    pub(crate) fn close(&mut self, session: SessionId, by: EndedBy, unsent: &[LeaseId]) {
        self.engine.close(self.now, session, by, unsent);
        self.fire();
    }

    /// Runs a command and forgets what the session was told before.
    pub(crate) fn run(&mut self, session: SessionId, command: Command) -> Ran {
        self.outs.remove(&session);
        self.tag += 1;
        let request = Request { tag: self.tag, command };
        self.engine.fetch([&request]);
        let (now, tape, effects) = (self.now, &mut self.tape, &mut self.effects);
        let ran = self.engine.request(now, session, &request, tape, effects);
        self.after();
        ran
    }

    /// Runs a command; what the session is told at once, if anything.
    pub(crate) fn ask(&mut self, session: SessionId, command: Command) -> Option<Out> {
        assert_eq!(self.run(session, command), Ran::Done);
        self.told(session)
    }

    /// What a session was told next.
    pub(crate) fn told(&mut self, session: SessionId) -> Option<Out> {
        self.outs.get_mut(&session).and_then(VecDeque::pop_front)
    }

    pub(crate) fn answer(&mut self, session: SessionId, command: Command) -> Answer {
        match self.ask(session, command).unwrap().said {
            Said::Answer(answer) => answer,
            other => panic!("{other:?} is no answer"),
        }
    }

    pub(crate) fn subscribe_to(
        &mut self,
        session: SessionId,
        pattern: &str,
        qos: Qos,
        name: Option<&str>,
    ) -> Result<SubscriptionId, Code> {
        let pattern = pattern.parse().unwrap();
        let name = name.map(|name| name.parse().unwrap());
        let settings = QueueSettings::default();
        let command = Command::Subscribe(Subscribe { pattern, qos, name, settings });
        let mut out = self.ask(session, command).unwrap();
        while let Said::Parked(_) = out.said {
            // It takes over what another connection held.
            self.fire();
            out = self.told(session).unwrap_or(out);
        }
        let Said::Answer(answer) = out.said else { panic!("{out:?} is no answer") };
        match answer {
            Answer::Subscribed { subscription } => Ok(subscription),
            Answer::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }

    /// The durable subscription `name`.
    pub(crate) fn named(&mut self, session: SessionId, name: &str, on: &str) -> SubscriptionId {
        self.subscribe_to(session, on, Qos::AtLeastOnce, Some(name)).unwrap()
    }

    /// A durable subscription without a name.
    pub(crate) fn unnamed(&mut self, session: SessionId, pattern: &str) -> SubscriptionId {
        self.subscribe_to(session, pattern, Qos::AtLeastOnce, None).unwrap()
    }

    /// A subscription at most once.
    pub(crate) fn ephemeral(&mut self, session: SessionId, pattern: &str) -> SubscriptionId {
        self.subscribe_to(session, pattern, Qos::AtMostOnce, None).unwrap()
    }

    /// A session of its own with the durable subscription `all` to all topics.
    pub(crate) fn consumer(&mut self) -> (SessionId, SubscriptionId) {
        let session = self.open(peer(1));
        let subscription = self.named(session, "all", ">");
        (session, subscription)
    }

    pub(crate) fn publish(&mut self, session: SessionId, topic: &str, payload: &str) {
        let answer = self.answer(session, publish(topic, Qos::AtLeastOnce, payload, None));
        assert!(matches!(answer, Answer::Published { .. }), "{answer:?}");
    }

    pub(crate) fn publish_lightly(&mut self, session: SessionId, topic: &str, payload: &str) {
        let answer = self.answer(session, publish(topic, Qos::AtMostOnce, payload, None));
        assert!(matches!(answer, Answer::Published { .. }), "{answer:?}");
    }

    pub(crate) fn publish_with(&mut self, session: SessionId, payload: &str, extras: Extras) {
        let command = publish("t", Qos::AtLeastOnce, payload, Some(extras));
        let answer = self.answer(session, command);
        assert!(matches!(answer, Answer::Published { .. }), "{answer:?}");
    }

    /// The next message, if there is one.
    pub(crate) fn receive(&mut self, session: SessionId, from: SubscriptionId) -> Option<Got> {
        match self.ask(session, take(from)).unwrap().said {
            Said::Got(got) => Some(got),
            Said::Answer(Answer::Empty { .. }) => None,
            other => panic!("{other:?}"),
        }
    }

    /// The payload of the next message, which stays held; empty if there is none.
    pub(crate) fn next(&mut self, session: SessionId, from: SubscriptionId) -> String {
        self.receive(session, from).map(|got| got.payload).unwrap_or_default()
    }

    /// Receives until there is nothing, without an ack.
    pub(crate) fn drain(&mut self, session: SessionId, from: SubscriptionId) -> Vec<Got> {
        std::iter::from_fn(|| self.receive(session, from)).collect()
    }

    pub(crate) fn queue(&mut self, session: SessionId, request: QueueRequest) -> Answer {
        self.answer(session, Command::Queue(Box::new(request)))
    }

    /// Makes a queue, or changes it.
    pub(crate) fn declare(&mut self, session: SessionId, name: &str, chosen: &[(&str, &str)]) {
        let (name, settings) = (queue(name), settings(chosen));
        let answer = self.queue(session, QueueRequest::Declare { name, settings, update: true });
        assert!(matches!(answer, Answer::Declared { .. }), "{answer:?}");
    }

    /// Puts a message into a queue.
    pub(crate) fn put(
        &mut self,
        session: SessionId,
        to: &str,
        payload: &str,
        extras: Extras,
    ) -> Result<Published, Code> {
        match self.answer(session, put(to, payload, extras)) {
            Answer::Published(published) => Ok(published),
            Answer::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }

    /// Up to `max` messages of a queue that are there now.
    pub(crate) fn take(&mut self, session: SessionId, from: &str, max: u32) -> Vec<Got> {
        let receive = Receive { max, ..Receive::one(Source::Queue(queue(from))) };
        assert_eq!(self.run(session, Command::Receive(receive)), Ran::Done);
        self.gots(session)
    }

    /// What a session was given lately.
    pub(crate) fn gots(&mut self, session: SessionId) -> Vec<Got> {
        let mut gots = Vec::new();
        while let Some(out) = self.told(session) {
            match out.said {
                Said::Got(got) => gots.push(got),
                Said::Answer(Answer::Empty { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        gots
    }

    /// The payloads of all messages of a queue that are there now.
    pub(crate) fn taken(&mut self, session: SessionId, from: &str) -> Vec<String> {
        self.take(session, from, 1_000).into_iter().map(|got| got.payload).collect()
    }

    pub(crate) fn stats(&mut self, session: SessionId, name: &str) -> QueueStats {
        match self.queue(session, QueueRequest::Stats { name: queue(name) }) {
            Answer::Stats(stats) => *stats,
            other => panic!("{other:?}"),
        }
    }

    /// One message's full state.
    pub(crate) fn look(&mut self, session: SessionId, name: &str, id: MessageId) -> MessageInfo {
        match self.queue(session, QueueRequest::Peek { name: queue(name), id }) {
            Answer::Peeked(peeked) => peeked.info,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn payloads(&mut self, session: SessionId, from: SubscriptionId) -> Vec<String> {
        self.drain(session, from).into_iter().map(|got| got.payload).collect()
    }

    /// Says whether it was known already, or the code of the refusal.
    pub(crate) fn ack(&mut self, session: SessionId, lease: LeaseId) -> Result<bool, Code> {
        settled(self.answer(session, Command::Ack { lease, confirm: Confirm::Always }))
    }

    pub(crate) fn nack(
        &mut self,
        session: SessionId,
        lease: LeaseId,
        outcome: Outcome,
    ) -> Result<bool, Code> {
        let confirm = Confirm::Always;
        settled(self.answer(session, Command::Nack { lease, outcome, confirm }))
    }

    pub(crate) fn fail(&mut self, session: SessionId, lease: LeaseId) {
        assert_eq!(self.nack(session, lease, FAILED), Ok(false));
    }

    pub(crate) fn release(&mut self, session: SessionId, lease: LeaseId) {
        assert_eq!(self.nack(session, lease, RELEASED), Ok(false));
    }
}

pub(crate) const FAILED: Outcome = Outcome::Failed { delay: None, note: None };
pub(crate) const RELEASED: Outcome = Outcome::Released { delay: None };

fn settled(answer: Answer) -> Result<bool, Code> {
    match answer {
        Answer::Settled { already } => Ok(already),
        Answer::Refused(refusal) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn publish(topic: &str, qos: Qos, payload: &str, extras: Option<Extras>) -> Command {
    let message = Message {
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        extras: extras.map(Box::new),
    };
    let topic = topic.parse().unwrap();
    let to = Destination::Topic(topic);
    Command::Publish(Publish { to, qos, level: None, message, confirm: Confirm::Always })
}

pub(crate) fn ttl(ttl: Duration) -> Extras {
    Extras { ttl: Some(ttl), ..Extras::default() }
}

pub(crate) fn delay(delay: Duration) -> Extras {
    Extras { delay: Some(delay), ..Extras::default() }
}
