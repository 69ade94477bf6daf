//! Random commands and crashes against a model that knows only what clients may rely on.

use std::collections::BTreeMap;

use sluice_engine::{EndedBy, Record};
use sluice_flow::Backoff;
use sluice_model::{
    Answer, Client, Code, Extras, LeaseId, Outcome, Published, Qos, QueueNo, SessionId,
    SubscriptionId, Timestamp, TopicPattern,
};

use crate::dice::Dice;
use crate::rig::{Got, Rig, Said, config, key, ms, one_by_one, peer, publish, take};

const SEEDS: u64 = 60;
const STEPS: u64 = 500;

/// A lease as its holder sees it.
#[derive(Clone, Debug)]
struct Held {
    lease: LeaseId,
    session: SessionId,
    /// It is surely valid before this moment, unless it was given back.
    until: Timestamp,
    /// It surely can't ack any more, by this record (0: by none that can be lost).
    void: Option<u64>,
}

#[derive(Debug, Default)]
struct Message {
    /// The record that brought it; 0 for one in memory.
    record: u64,
    /// The run in which it was published.
    run: u64,
    expires_at: Option<Timestamp>,
    delayed_until: Option<Timestamp>,
    delivered: bool,
    /// The last one is the valid one, if any is.
    leases: Vec<Held>,
    /// By which lease, and the record of the ack.
    acked: Option<(LeaseId, u64)>,
}

#[derive(Debug)]
struct Queue {
    /// The record that made it.
    record: u64,
    pattern: TopicPattern,
    /// None for a named one.
    owner: Option<Client>,
    name: Option<&'static str>,
    attached: Vec<SessionId>,
    messages: BTreeMap<String, Message>,
    /// The seq of the last first delivery in order.
    last_fresh: Option<u64>,
}

struct World {
    rig: Rig,
    dice: Dice,
    queues: BTreeMap<QueueNo, Queue>,
    sessions: BTreeMap<SessionId, Vec<(SubscriptionId, QueueNo)>>,
    next: u64,
    run: u64,
    /// Until then a lease of the run before may be valid, whatever its deadline was.
    grace: Timestamp,
    delivered: u64,
    acked: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = config();
        for queue in [&mut config.queue, &mut config.unnamed] {
            queue.lease = ms(5_000);
            queue.max_failures = 0;
            queue.max_releases = u32::MAX;
            queue.backoff = Backoff { min: ms(100), max: ms(1_000), ..Backoff::default() };
        }
        config.unnamed.inactive_expiry = Some(ms(1_000 * 3_600_000));
        let mut dice = Dice(seed);
        if dice.one_in(2) {
            config.deadlines_per_turn = dice.between(1, 4) as usize;
        }
        let mut rig = Rig::new(config);
        rig.commits = false;
        Self {
            rig,
            dice,
            queues: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next: 0,
            run: 1,
            grace: Timestamp::EPOCH,
            delivered: 0,
            acked: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..4 => self.open(),
            4..6 => self.close(),
            6..9 => self.subscribe(),
            9..29 => self.publish(),
            29..54 => self.receive(),
            54..70 => self.ack(),
            70..76 => self.nack(),
            76..88 => self.commit(),
            88..94 => self.pass(),
            94..96 => self.relocate(),
            96..98 => self.image(),
            _ => self.restart(),
        }
        if self.in_slices() {
            self.rig.fire();
        }
        if self.dice.one_in(3) {
            self.rig.image_slice();
        }
        self.absorb();
    }

    /// What is due may wait for a later turn.
    fn in_slices(&self) -> bool {
        self.rig.config.deadlines_per_turn < 10
    }

    fn session(&mut self) -> Option<SessionId> {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        self.dice.pick(&sessions)
    }

    fn owners() -> [Client; 3] {
        [peer(1), peer(2), key("k", 2)]
    }

    fn open(&mut self) {
        if self.sessions.len() < 5 {
            let client = self.dice.pick(&Self::owners()).unwrap();
            let session = self.rig.open(client.clone());
            self.sessions.insert(session, Vec::new());
            self.subscribe_as(session, &client);
        }
    }

    fn subscribe(&mut self) {
        if let Some(session) = self.session()
            && let Some((_, no)) = self.sessions[&session].first()
            && let Some(owner) = self.queues[no].owner.clone()
        {
            self.subscribe_as(session, &owner);
        }
    }

    fn subscribe_as(&mut self, session: SessionId, client: &Client) {
        match self.dice.below(4) {
            0 => self.subscribe_named(session, "one", "t.*"),
            1 => self.subscribe_named(session, "two", "t.a"),
            _ => self.subscribe_unnamed(session, client),
        }
    }

    fn made_since(&self, before: u64) -> Option<(u64, QueueNo)> {
        (before + 1..=self.rig.tape.last()).find_map(|n| match self.rig.tape.record(n) {
            Record::Declared { queue, .. } => Some((n, queue)),
            _ => None,
        })
    }

    fn make(&mut self, made: (u64, QueueNo), pattern: &str, owner: Option<Client>) -> &mut Queue {
        let queue = Queue {
            record: made.0,
            pattern: pattern.parse().unwrap(),
            owner,
            name: None,
            attached: Vec::new(),
            messages: BTreeMap::new(),
            last_fresh: None,
        };
        assert!(self.queues.insert(made.1, queue).is_none(), "the number of a queue is its own");
        self.queues.get_mut(&made.1).unwrap()
    }

    fn subscribe_named(&mut self, session: SessionId, name: &'static str, pattern: &str) {
        let known = self.queues.iter().find(|(_, queue)| queue.name == Some(name));
        let known = known.map(|(no, _)| *no);
        let before = self.rig.tape.last();
        let subscription = self.rig.named(session, name, pattern);
        let made = self.made_since(before);
        assert_eq!(made.is_none(), known.is_some(), "subscription {name}");
        let no = known.or(made.map(|made| made.1)).unwrap();
        if let Some(made) = made {
            self.make(made, pattern, None).name = Some(name);
        }
        self.queues.get_mut(&no).unwrap().attached.push(session);
        self.sessions.get_mut(&session).unwrap().push((subscription, no));
    }

    fn subscribe_unnamed(&mut self, session: SessionId, client: &Client) {
        let theirs = |queue: &Queue| {
            let owner = queue.owner.as_ref();
            let same = |owner: &Client| match client.principal {
                sluice_model::Principal::Anonymous => owner == client,
                _ => owner.principal == client.principal,
            };
            owner.is_some_and(same) && queue.attached.is_empty()
        };
        let detached = self.queues.iter().find(|(_, queue)| theirs(queue)).map(|(no, _)| *no);
        let before = self.rig.tape.last();
        let subscription = self.rig.unnamed(session, "t.>");
        let made = self.made_since(before);
        assert_eq!(made.is_none(), detached.is_some(), "there is one to take over");
        let no = detached.or(made.map(|made| made.1)).unwrap();
        if let Some(made) = made {
            self.make(made, "t.>", Some(client.clone()));
        }
        let now = self.rig.now;
        let queue = self.queues.get_mut(&no).unwrap();
        queue.attached.push(session);
        let ended = |lease: &LeaseId| {
            (before + 1..=self.rig.tape.last()).find(|n| {
                matches!(self.rig.tape.record(*n), Record::Returned { target, .. }
                    if target.seq == lease.seq)
            })
        };
        for message in queue.messages.values_mut() {
            // What the model knows of a deadline is only that it is not before `until`.
            if let Some(held) = message.leases.last_mut() {
                let in_memory = (message.record == 0 && held.until > now).then_some(0);
                held.until = held.until.min(now);
                held.void = held.void.or(in_memory).or(ended(&held.lease));
            }
        }
        self.sessions.get_mut(&session).unwrap().push((subscription, no));
    }

    fn close(&mut self) {
        let Some(session) = self.session() else { return };
        let by = if self.dice.one_in(3) { EndedBy::Broker } else { EndedBy::Client };
        let (now, grace) = (self.rig.now, self.rig.config.lost_grace);
        let mut unsent = Vec::new();
        for queue in self.queues.values_mut() {
            queue.attached.retain(|attached| *attached != session);
            for held in queue.messages.values_mut().flat_map(|message| message.leases.last_mut()) {
                if held.session != session || held.until <= now {
                    continue;
                }
                let never_sent = self.dice.one_in(4);
                if never_sent {
                    unsent.push(held.lease);
                }
                let back_at_once = never_sent || by == EndedBy::Broker;
                let until = if back_at_once { now } else { now.after(grace) };
                held.until = held.until.min(until);
            }
        }
        self.sessions.remove(&session);
        self.rig.close(session, by, &unsent);
    }

    fn publish(&mut self) {
        let Some(session) = self.session() else { return };
        let topic = self.dice.pick(&["t.a", "t.b", "t.a.c", "u"]).unwrap();
        let qos = if self.dice.one_in(4) { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let name = format!("{:06}", self.next);
        self.next += 1;
        let ttl = self.dice.one_in(8).then(|| ms(self.dice.between(1, 20_000)));
        let delay = self.dice.one_in(8).then(|| ms(self.dice.between(1, 3_000)));
        let delay = delay.filter(|delay| ttl.is_none_or(|ttl| *delay < ttl));
        let extras = Extras { ttl, delay, ..Extras::default() };
        let before = self.rig.tape.last();
        let out = self.rig.ask(session, publish(topic, qos, &name, Some(extras))).unwrap();
        let Said::Answer(Answer::Published(Published { matched, .. })) = out.said else {
            panic!("{out:?}")
        };
        let after = self.rig.tape.last();
        let record = if qos == Qos::AtLeastOnce && matched > 0 { before + 1 } else { 0 };
        assert_eq!(after, record.max(before), "one record with one body, or none");
        assert_eq!(out.need.synced, record);
        let mut expected = 0;
        for queue in self.queues.values_mut().filter(|queue| queue.pattern.matches(topic)) {
            expected += 1;
            let message = Message {
                record,
                run: self.run,
                expires_at: ttl.map(|ttl| self.rig.now.after(ttl)),
                delayed_until: delay.map(|delay| self.rig.now.after(delay)),
                ..Message::default()
            };
            queue.messages.insert(name.clone(), message);
        }
        assert_eq!(matched, expected, "it reaches whoever listens");
    }

    fn receive(&mut self) {
        let Some(session) = self.session() else { return };
        let Some((subscription, _)) = self.dice.pick(&self.sessions[&session]) else { return };
        let _ = self.rig.run(session, take(subscription));
    }

    /// Takes note of every delivery, and checks that it had to be or could be.
    fn absorb(&mut self) {
        let mut deliveries = Vec::new();
        for (session, outs) in std::mem::take(&mut self.rig.outs) {
            for out in outs {
                if let Said::Got(got) = out.said {
                    assert!(out.need.written >= 1 || got.at.is_none());
                    deliveries.push((session, got));
                }
            }
        }
        // One commit may answer several sessions; generations tell the order.
        deliveries.sort_by_key(|(_, got)| got.lease().generation);
        for (session, got) in deliveries {
            self.note(session, &got);
        }
    }

    fn note(&mut self, session: SessionId, got: &Got) {
        let (now, lease) = (self.rig.now, got.lease());
        let no = lease.queue;
        let theirs = &self.sessions[&session];
        assert!(theirs.iter().any(|(_, theirs)| *theirs == no), "a message of another queue");
        let queue = self.queues.get_mut(&no).unwrap();
        let message = queue.messages.get_mut(&got.payload);
        let message = message.unwrap_or_else(|| panic!("{got:?} was lost or never published"));
        assert_eq!(message.acked, None, "{got:?} was acked");
        assert!(message.record <= self.rig.progress.synced, "{got:?} is not safe yet");
        assert_eq!(message.record == 0, got.at.is_none());
        assert!(message.expires_at.is_none_or(|at| at > now), "{got:?} has expired");
        assert!(message.delayed_until.is_none_or(|at| at <= now), "{got:?} is not due");
        if let Some(last) = message.leases.last() {
            assert!(last.until <= now, "{got:?} is held under {last:?} at {now}");
            assert!(last.lease.generation < lease.generation, "generations grow");
        }
        if got.redelivered {
            assert!(message.delivered || message.run < self.run, "{got:?} is new");
        } else {
            assert!(!message.delivered, "{got:?} was delivered before");
            if message.delayed_until.is_none() {
                assert!(queue.last_fresh < Some(lease.seq.0), "{got:?} out of order");
                queue.last_fresh = Some(lease.seq.0);
            }
        }
        message.delivered = true;
        let until = now.after(self.rig.config.queue.lease);
        message.leases.push(Held { lease, session, until, void: None });
        self.delivered += 1;
    }

    /// One of the deliveries that any client ever saw, rather a recent one.
    fn delivery(&mut self) -> Option<(QueueNo, String, usize)> {
        let numbers: Vec<_> = self.queues.keys().copied().collect();
        let no = self.dice.pick(&numbers)?;
        let now = self.rig.now;
        let held = |message: &Message| message.leases.last().is_some_and(|held| held.until > now);
        let valid = !self.dice.one_in(3);
        let messages = self.queues[&no].messages.iter();
        let names: Vec<_> = messages
            .filter(|(_, m)| !m.leases.is_empty() && (!valid || m.acked.is_none() && held(m)))
            .map(|(name, message)| (name.clone(), message.leases.len()))
            .collect();
        let (name, leases) = self.dice.pick(&names)?;
        let at = if valid { leases - 1 } else { self.dice.below(leases as u64) as usize };
        Some((no, name, at))
    }

    fn ack(&mut self) {
        let Some(session) = self.session() else { return };
        let Some((no, name, at)) = self.delivery() else { return };
        let now = self.rig.now;
        let message = self.queues.get_mut(&no).unwrap().messages.get_mut(&name).unwrap();
        let held = message.leases[at].clone();
        let last = message.leases.len() - 1;
        let somebody_holds = message.leases[last].until > now;
        let result = self.rig.ack(session, held.lease);
        let context = format!("ack of {name} in {no:?} under {held:?}: {result:?}, {message:?}");
        match (result, message.acked) {
            (Ok(true), Some((by, _))) => assert_eq!(by, held.lease, "{context}"),
            (Err(Code::NotFound), Some(_)) => {}
            (_, Some(_)) => panic!("{context}"),
            (Ok(true), None) => panic!("{context}"),
            (Ok(false), None) => {
                assert_eq!(held.void, None, "{context}");
                assert!(at == last || !somebody_holds, "{context}");
                // One in memory leaves no record, and does not outlive the process.
                message.acked =
                    Some((held.lease, if message.record == 0 { 0 } else { self.rig.tape.last() }));
                self.acked += 1;
            }
            (Err(Code::LeaseLost | Code::NotFound), None) => {
                assert!(at != last || !somebody_holds, "{context}");
                let void = held.void.is_some();
                let expired = message.expires_at.is_some_and(|at| at <= now);
                let raised = message.leases[at..].iter().any(|held| held.void.is_some());
                let holds = somebody_holds || now < self.grace || at != last && self.in_slices();
                assert!(void || expired || raised || holds, "{context}");
            }
            (Err(_), None) => panic!("{context}"),
        }
    }

    fn nack(&mut self) {
        let Some(session) = self.session() else { return };
        let Some((no, name, at)) = self.delivery() else { return };
        let delay = self.dice.one_in(2).then(|| ms(self.dice.below(2_000)));
        let outcome = if self.dice.one_in(2) {
            Outcome::Failed { delay, note: None }
        } else {
            Outcome::Released { delay }
        };
        let now = self.rig.now;
        let message = self.queues.get_mut(&no).unwrap().messages.get_mut(&name).unwrap();
        let last = message.leases.len() - 1;
        let result = self.rig.nack(session, message.leases[at].lease, outcome);
        let held = &mut message.leases[at];
        let valid = at == last && held.until > now && message.acked.is_none();
        assert!(!valid || result == Ok(false), "nack of {name}: {result:?}");
        if result == Ok(false) {
            assert!(at == last && held.void.is_none() && message.acked.is_none());
            held.until = now;
            held.void = Some(if message.record == 0 { 0 } else { self.rig.tape.last() });
        }
    }

    fn commit(&mut self) {
        let (progress, last) = (self.rig.progress, self.rig.tape.last());
        let written = self.dice.between(progress.written, last);
        let synced = self.dice.between(progress.synced, written);
        if self.dice.one_in(2) {
            self.rig.commit();
        } else {
            self.rig.commit_to(written, synced);
        }
    }

    fn pass(&mut self) {
        let time = if self.dice.one_in(5) { 6_000 } else { 500 };
        let time = ms(self.dice.below(time));
        self.rig.pass(time);
    }

    fn relocate(&mut self) {
        let record = self.dice.between(1, self.rig.tape.last());
        self.rig.relocate(record);
    }

    fn image(&mut self) {
        if self.rig.imaging.is_none() {
            self.rig.begin_image();
        }
        if self.dice.one_in(5) {
            // It is lost before it is published, in the middle or whole.
            self.rig.image_slice();
            self.rig.imaging = None;
            self.rig.engine.forget_image();
            self.rig.image = Default::default();
        }
        self.rig.image_slice();
    }

    /// The process ends, or the machine: what was not written, or not synced, may be lost.
    fn restart(&mut self) {
        let progress = self.rig.progress;
        let safe = if self.dice.one_in(2) { progress.written } else { progress.synced };
        let kept = self.dice.between(safe, self.rig.tape.last());
        let image = self.rig.image.covers;
        let with_image = image > 0 && image <= kept && self.dice.one_in(2);
        self.rig.now = self.rig.now.after(ms(self.dice.below(3_000)));
        self.forget_after(kept);
        self.rig.restart(kept, with_image, true);
        self.rig.fire();
        let grace = self.rig.now.after(self.rig.config.lost_grace);
        self.grace = grace;
        for queue in self.queues.values_mut() {
            for message in queue.messages.values_mut() {
                // Of which grants the log still knows depends on the records that were kept.
                let is_kept = |held: &Held| {
                    let mut known = (1..=kept).flat_map(|n| one_by_one(self.rig.tape.record(n)));
                    known.any(|record| {
                        matches!(record, Record::Granted { target, generation, .. }
                            if target.queue == held.lease.queue
                                && target.seq == held.lease.seq
                                && generation == held.lease.generation)
                    })
                };
                for held in &mut message.leases {
                    let valid = held.void.is_none() && is_kept(held);
                    held.until = if valid { held.until.min(grace) } else { self.rig.now };
                }
                // If one is valid, it is the last one that is still known.
                message.leases.sort_by_cached_key(is_kept);
            }
        }
    }

    fn forget_after(&mut self, kept: u64) {
        self.run += 1;
        self.sessions.clear();
        self.queues.retain(|_, queue| queue.record <= kept);
        for queue in self.queues.values_mut() {
            queue.attached.clear();
            queue.last_fresh = None;
            queue.messages.retain(|_, message| (1..=kept).contains(&message.record));
            for message in queue.messages.values_mut() {
                message.acked = message.acked.filter(|(_, record)| *record <= kept);
                for held in &mut message.leases {
                    held.void = held.void.filter(|record| *record <= kept);
                }
            }
        }
    }

    /// In the end everybody comes back and takes what is there: nothing may be missing.
    fn finish(&mut self) {
        self.rig.commits = true;
        self.rig.commit();
        self.absorb();
        while !self.sessions.is_empty() {
            self.close();
        }
        self.rig.fire_all();
        let mut consumers = Vec::new();
        for client in Self::owners() {
            let session = self.rig.open(client.clone());
            self.sessions.insert(session, Vec::new());
            self.subscribe_named(session, "one", "t.*");
            self.subscribe_named(session, "two", "t.a");
            while self
                .queues
                .values()
                .any(|queue| queue.attached.is_empty() && queue.owner.as_ref() == Some(&client))
            {
                self.subscribe_unnamed(session, &client);
            }
            consumers.push(session);
        }
        for _ in 0..10 {
            for session in &consumers {
                for (subscription, no) in self.sessions[session].clone() {
                    while let Some(got) = self.rig.receive(*session, subscription) {
                        self.note(*session, &got);
                        assert_eq!(self.rig.ack(*session, got.lease()), Ok(false));
                        let queue = self.queues.get_mut(&no).unwrap();
                        let message = queue.messages.get_mut(&got.payload).unwrap();
                        message.acked = Some((got.lease(), 0));
                    }
                }
            }
            self.rig.pass(ms(5_000));
            self.rig.fire_all();
        }
        for queue in self.queues.values() {
            for (name, message) in &queue.messages {
                let settled = message.acked.is_some() || message.expires_at.is_some();
                assert!(settled, "{name} was lost: {message:?}");
            }
        }
        assert_eq!((self.rig.engine.queued(), self.rig.engine.live_bytes()), (0, 0));
    }
}

#[test]
fn random_commands_and_crashes_keep_what_clients_rely_on() {
    let (mut delivered, mut acked) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step()));
            assert!(outcome.is_ok(), "seed {seed}, step {step}");
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.finish()));
        assert!(outcome.is_ok(), "seed {seed}, at the end");
        delivered += world.delivered;
        acked += world.acked;
    }
    assert!(delivered > 20 * SEEDS && acked > 10 * SEEDS, "{delivered} and {acked} are too few");
}
