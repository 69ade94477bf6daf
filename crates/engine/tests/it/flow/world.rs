//! Clients that publish, receive and settle at random, and somebody who changes limits.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sluice_model::{
    Answer, Code, Command, Extras, Lane, LeaseId, Limit, LimitAnswer, LimitRequest, Outcome,
    Pausable, Receive, SessionId, Source, Throttled,
};

use super::judge::{Judge, Known, QUEUES, State};
use crate::dice::Dice;
use crate::limits::limit;
use crate::rig::{Rig, Said, config, ms, peer, queue};

const LEASE: u64 = 20_000;
const KEYS: [&str; 5] = ["s:1", "s:2", "t", "s:1x", "u"];
const GROUPS: [&str; 3] = ["red", "green", "blue"];

pub(super) struct World {
    rig: Rig,
    dice: Dice,
    judge: Judge,
    messages: BTreeMap<u64, Known>,
    leases: BTreeMap<u64, LeaseId>,
    /// The connections that leases end with.
    bound: BTreeMap<u64, SessionId>,
    sessions: Vec<SessionId>,
    /// Receives that wait, by session: where, and whether their leases are bound.
    waits: BTreeMap<SessionId, (usize, bool)>,
    /// Whether the leases of a session's last receive are bound.
    binds: BTreeMap<SessionId, bool>,
    is_fifo: [bool; 2],
    /// The queue is paused until.
    paused: [u64; 2],
    last: u64,
    pub(super) delivered: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut config = config();
        config.deadlines_per_turn = [3, 20, 1_000][dice.below(3) as usize];
        if dice.one_in(4) {
            config.live_keys_max = 6;
        }
        let mut rig = Rig::new(config);
        let sessions: Vec<_> = (0..4).map(|last| rig.open(peer(last))).collect();
        let mut is_fifo = [false; 2];
        for (at, name) in QUEUES.iter().enumerate() {
            is_fifo[at] = dice.one_in(3);
            let order = if is_fifo[at] { "group_fifo" } else { "none" };
            let fairness = if dice.one_in(4) { "none" } else { "round_robin" };
            let lease = LEASE.to_string();
            rig.declare(
                sessions[0],
                name,
                &[
                    ("order", order),
                    ("fairness", fairness),
                    ("lease_ms", &lease),
                    ("max_failures", "0"),
                ],
            );
        }
        let (judge, messages, leases) = (Judge::default(), BTreeMap::new(), BTreeMap::new());
        let (bound, binds) = (BTreeMap::new(), BTreeMap::new());
        let (waits, paused) = (BTreeMap::new(), [0; 2]);
        Self {
            rig,
            dice,
            judge,
            messages,
            leases,
            bound,
            binds,
            sessions,
            waits,
            is_fifo,
            paused,
            last: 0,
            delivered: 0,
        }
    }

    fn now(&self) -> u64 {
        self.rig.now.as_millis()
    }

    pub(super) fn step(&mut self) {
        match self.dice.below(40) {
            0..12 => self.publish(),
            12..20 => self.receive(),
            20..27 => self.settle(),
            27..32 => {
                let most = [5, 300, 3_000, 25_000][self.dice.below(4) as usize];
                let millis = self.dice.below(most);
                self.pass(millis);
            }
            32..35 => self.change_limit(),
            35 => self.pause(),
            36 => self.restart(),
            37 => self.rig.take_image(),
            38 => self.leave(),
            _ => {
                let group = GROUPS[self.dice.below(3) as usize].into();
                let (name, weight) = (self.name(), 1 + self.dice.below(3) as u16);
                let weigh = LimitRequest::Weigh { queue: queue(name), group, weight };
                self.ask(weigh).unwrap();
            }
        }
        self.look();
    }

    fn name(&mut self) -> &'static str {
        QUEUES[self.dice.below(2) as usize]
    }

    fn ask(&mut self, request: LimitRequest) -> Result<LimitAnswer, Code> {
        let told = self.rig.limit(self.sessions[0], request);
        self.look();
        told
    }

    fn publish(&mut self) {
        let at = self.dice.below(2) as usize;
        let mut keys: Vec<String> = Vec::new();
        for _ in 0..[0, 1, 1, 2][self.dice.below(4) as usize] {
            keys.push(KEYS[self.dice.below(5) as usize].into());
        }
        let group = self.dice.one_in(2).then(|| GROUPS[self.dice.below(3) as usize].to_owned());
        let priority = if self.dice.one_in(3) { self.dice.below(10) as u8 } else { 5 };
        let cost = if self.dice.one_in(5) { 1 + self.dice.below(4) } else { 1 };
        let delay = self.dice.one_in(6).then(|| 1 + self.dice.below(2_000));
        self.last += 1;
        let lane = Lane {
            priority,
            group: group.as_deref().map(Box::from),
            keys: keys.iter().map(|key| Box::from(&**key)).collect(),
            cost: cost as u16,
        };
        let extras = Extras { lane, delay: delay.map(ms), ..Extras::default() };
        let id = self.last;
        self.rig.put(self.sessions[0], QUEUES[at], &id.to_string(), extras).unwrap();
        let state = delay.map_or(State::Ready, |delay| State::Delayed(self.now() + delay));
        let placed = (self.now() + delay.unwrap_or(0), id);
        let known = Known { queue: at, group, keys, cost, placed, state, is_over: false };
        self.messages.insert(id, known);
    }

    fn receive(&mut self) {
        let session = self.dice.pick(&self.sessions).unwrap();
        if self.waits.contains_key(&session) {
            return;
        }
        let (at, max) = (self.dice.below(2) as usize, 1 + self.dice.below(4) as u32);
        let wait = self.dice.one_in(2).then(|| ms(1_000 + self.dice.below(60_000)));
        let bound = !self.dice.one_in(3);
        let from = Source::Queue(queue(QUEUES[at]));
        let receive = Receive { max, wait, bound, ..Receive::one(from) };
        self.waits.insert(session, (at, bound));
        self.binds.insert(session, bound);
        let _ran = self.rig.run(session, Command::Receive(receive));
        self.look();
    }

    fn settle(&mut self) {
        let leases: Vec<_> = self.leases.iter().map(|(id, lease)| (*id, *lease)).collect();
        let Some((id, lease)) = self.dice.pick(&leases) else { return };
        let session = self.sessions[0];
        if self.waits.contains_key(&session) {
            return;
        }
        let now = self.now();
        let is_held = matches!(self.messages[&id].state, State::Held(until) if until > now);
        match self.dice.below(8) {
            0..4 => {
                if self.rig.ack(session, lease).is_ok() {
                    self.message(id).state = State::Gone;
                    self.message(id).is_over = true;
                }
                self.leases.remove(&id);
            }
            4 if is_held => {
                let delay = 1 + self.dice.below(3_000);
                let outcome = Outcome::Failed { delay: Some(ms(delay)), note: None };
                assert_eq!(self.rig.nack(session, lease, outcome), Ok(false));
                self.message(id).state = State::Delayed(now + delay);
                self.leases.remove(&id);
            }
            5 | 6 if is_held => {
                let outcome = Outcome::Released { delay: None };
                assert_eq!(self.rig.nack(session, lease, outcome), Ok(false));
                self.message(id).state = State::Ready;
                self.leases.remove(&id);
            }
            7 if is_held => self.throttle(id, lease),
            _ => {}
        }
    }

    fn throttle(&mut self, id: u64, lease: LeaseId) {
        let (session, now) = (self.sessions[0], self.now());
        let retry_after = 1 + self.dice.below(4_000);
        let throttled = Throttled { key: None, retry_after: Some(ms(retry_after)) };
        let before = self.rig.stats(session, QUEUES[self.messages[&id].queue]);
        assert_eq!(self.rig.nack(session, lease, Outcome::Throttled(throttled)), Ok(false));
        let after = self.rig.stats(session, QUEUES[self.messages[&id].queue]);
        assert_eq!((before.acked, before.dropped), (after.acked, after.dropped));
        self.leases.remove(&id);
        let (queue, key) = (self.messages[&id].queue, self.messages[&id].keys.first().cloned());
        match key {
            Some(key) => {
                for scope in self.judge.scopes(queue, &key) {
                    let until = self.judge.paused.entry(scope).or_default();
                    *until = (*until).max(now + retry_after);
                }
                self.message(id).state = State::Ready;
            }
            None => {
                self.message(id).state = State::Delayed(now + retry_after.max(1_000));
            }
        }
    }

    fn message(&mut self, id: u64) -> &mut Known {
        self.messages.get_mut(&id).unwrap()
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now() + millis;
        // As a driver does it: whenever something is due.
        loop {
            let next = self.rig.engine.next_deadline().map(|at| at.as_millis());
            let next = next.filter(|at| *at <= end);
            if let Some(at) = next.filter(|at| *at > self.now()) {
                self.rig.now = sluice_model::Timestamp::from_millis(at);
            }
            self.settle_time();
            self.rig.fire_all();
            self.look();
            if next.is_none() {
                break;
            }
        }
        self.rig.now = sluice_model::Timestamp::from_millis(end);
        self.settle_time();
        self.rig.fire_all();
        self.look();
    }

    /// What time alone does.
    fn settle_time(&mut self) {
        let now = self.now();
        for message in self.messages.values_mut() {
            match message.state {
                State::Delayed(at) if at <= now => message.state = State::Ready,
                // With a backoff that nobody here knows.
                State::Held(until) if until <= now => message.state = State::Delayed(u64::MAX),
                _ => {}
            }
        }
    }

    fn some_limit(&mut self) -> Limit {
        let of = [">", "mail", "jobs"][self.dice.below(3) as usize];
        let name = ["a", "b"][self.dice.below(2) as usize];
        let terms = match self.dice.below(6) {
            0 | 1 => format!("concurrency {}", self.dice.below(4)),
            2 => format!("{}/s burst {}", 1 + self.dice.below(5), 1 + self.dice.below(4)),
            3 => format!("window {}/{}ms", 1 + self.dice.below(5), 100 + self.dice.below(5_000)),
            4 => format!("{}/10s concurrency 2", 1 + self.dice.below(9)),
            _ => "concurrency 50".to_owned(),
        };
        match self.dice.below(3) {
            0 => limit("q", "queue", of, "", &terms),
            _ => {
                let key = ["*", "s:*", "t", "s:1"][self.dice.below(4) as usize];
                limit(name, "key", of, key, &terms)
            }
        }
    }

    fn change_limit(&mut self) {
        let limit = self.some_limit();
        if self.dice.one_in(3) {
            let (name, matches) = (limit.name().into(), Some(limit.matches().clone()));
            self.judge.delete(&limit);
            self.rig.limit(self.sessions[3], LimitRequest::Delete { name, matches }).unwrap();
        } else {
            let told = self.rig.limit(self.sessions[3], LimitRequest::Put(Box::new(limit.clone())));
            if told.is_ok() {
                self.judge.set(limit);
            }
        }
        self.look();
    }

    fn pause(&mut self) {
        let at = self.dice.below(2) as usize;
        let queue = queue(QUEUES[at]);
        if self.dice.one_in(2) {
            let what = Pausable::Queue(queue);
            if self.dice.one_in(2) {
                let period = 1 + self.dice.below(5_000);
                self.paused[at] = self.now() + period;
                let period = Some(ms(period));
                self.rig
                    .limit(self.sessions[3], LimitRequest::Pause { what, period, reason: None })
                    .unwrap();
            } else {
                self.paused[at] = 0;
                self.rig.limit(self.sessions[3], LimitRequest::Resume { what }).unwrap();
            }
            return self.look();
        }
        let key = KEYS[self.dice.below(5) as usize];
        let what = Pausable::Key { queue, key: key.into() };
        let period = 1 + self.dice.below(5_000);
        let scopes = self.judge.scopes(at, key);
        if self.dice.one_in(3) {
            self.rig.limit(self.sessions[3], LimitRequest::Resume { what }).unwrap();
            // It was paused: it may open gently.
            let now = self.now();
            for scope in scopes {
                self.judge.paused.entry(scope).and_modify(|until| *until = (*until).min(now));
            }
        } else {
            let (until, period) = (self.now() + period, Some(ms(period)));
            self.rig
                .limit(self.sessions[3], LimitRequest::Pause { what, period, reason: None })
                .unwrap();
            for scope in scopes {
                // A pause by hand takes the place of another by hand, which may have been longer.
                let before = self.judge.paused.entry(scope).or_default();
                *before = until;
            }
        }
        self.look();
    }

    fn restart(&mut self) {
        let with_image = self.rig.image.covers > 0 && self.dice.one_in(2);
        self.rig.restart(self.rig.tape.last(), with_image, true);
        for (last, session) in self.sessions.iter_mut().enumerate() {
            *session = self.rig.open(peer(last as u8));
        }
        self.judge.restarted();
        self.waits.clear();
        self.waits_end();
        self.settle_time();
        let now = self.now();
        // They stay bound, to nobody.
        self.bound.values_mut().for_each(|session| *session = SessionId(0));
        let bound = &self.bound;
        for (id, message) in &mut self.messages {
            if let State::Held(until) = &mut message.state {
                // Leases of connections have a grace, others a time at least.
                *until = match bound.contains_key(id) {
                    true => now + 2_000,
                    false => (*until).max(now + 10_000),
                };
            }
        }
    }

    fn waits_end(&mut self) {
        for session in &self.sessions {
            while self.rig.told(*session).is_some() {}
        }
    }

    /// A consumer goes.
    fn leave(&mut self) {
        let at = 1 + self.dice.below(2) as usize;
        let session = self.sessions[at];
        let bound: Vec<u64> =
            self.bound.iter().filter(|(_, its)| **its == session).map(|(id, _)| *id).collect();
        let now = self.now();
        for id in bound {
            self.bound.remove(&id);
            let message = self.message(id);
            if matches!(message.state, State::Held(until) if until > now)
                && self.leases.remove(&id).is_some()
            {
                self.message(id).state = State::Ready;
            }
        }
        self.rig.close(session, sluice_engine::EndedBy::Broker, &[]);
        self.waits.remove(&session);
        self.sessions[at] = self.rig.open(peer(at as u8));
        self.rig.fire_all();
        self.look();
    }

    /// Takes what came, and has the judge look at it.
    fn look(&mut self) {
        self.rig.fire_all();
        for session in self.sessions.clone() {
            while let Some(out) = self.rig.told(session) {
                match out.said {
                    Said::Got(got) => self.got(session, &got.payload, got.lease.unwrap()),
                    Said::Answer(Answer::Empty { next }) => {
                        self.waits.remove(&session);
                        assert!(next.is_none_or(|next| next >= self.rig.now), "{next:?} is over");
                    }
                    Said::Answer(other) => panic!("{other:?}"),
                    Said::Parked(_) => {}
                }
            }
        }
        self.nobody_waits_in_vain();
    }

    fn got(&mut self, session: SessionId, payload: &str, lease: LeaseId) {
        let id: u64 = payload.parse().unwrap();
        let now = self.now();
        self.waits.remove(&session);
        self.delivered += 1;
        let message = self.message(id);
        assert!(!message.is_over, "{id} was acked");
        message.state = State::Held(now + LEASE);
        let message = message.clone();
        self.leases.insert(id, lease);
        match self.binds[&session] {
            true => drop(self.bound.insert(id, session)),
            false => drop(self.bound.remove(&id)),
        }
        assert!(self.paused[message.queue] <= now, "the queue is paused");
        self.judge.handed_over(now, &message, &self.messages);
        if self.is_fifo[message.queue] && message.group.is_some() {
            self.follows(id, &message);
        }
    }

    /// Messages of the group that were before this one are over.
    fn follows(&self, id: u64, message: &Known) {
        for (other, it) in &self.messages {
            let of_group = *other != id && it.queue == message.queue && it.group == message.group;
            let now = self.now();
            let waits_first = matches!(it.state, State::Delayed(at) if at == it.placed.0 || at > now)
                && !self.was_delivered(*other);
            if of_group && !it.is_over && it.placed < message.placed && !waits_first {
                panic!("{id} {message:?} came before {other} {it:?} at {now}");
            }
        }
    }

    fn was_delivered(&self, id: u64) -> bool {
        self.leases.contains_key(&id) || self.messages[&id].state == State::Gone
    }

    fn nobody_waits_in_vain(&mut self) {
        let now = self.now();
        let waited: BTreeSet<usize> = self.waits.values().map(|(at, _)| *at).collect();
        for at in waited {
            if self.paused[at] > now || self.rig.config.live_keys_max < 10 {
                continue;
            }
            let counts = self.rig.stats(self.sessions[3], QUEUES[at]).counts;
            for (id, message) in &self.messages {
                let fifo = self.is_fifo[at] && message.group.is_some();
                if message.queue == at && message.state == State::Ready && !fifo {
                    let free = self.judge.is_free(message, &self.messages);
                    assert!(
                        !free,
                        "{id} {message:?} waits in vain at {now}: {:?} {counts:?}",
                        self.waits
                    );
                }
            }
        }
    }

    /// With consumers who do their work, everything is done in the end.
    pub(super) fn drain(&mut self) {
        for limit in self.rig.limits(self.sessions[3]) {
            if limit.terms().concurrency == Some(0) {
                let (name, matches) = (limit.name().into(), Some(limit.matches().clone()));
                self.rig.limit(self.sessions[3], LimitRequest::Delete { name, matches }).unwrap();
                self.judge.delete(&limit);
            }
        }
        for at in QUEUES {
            let what = Pausable::Queue(queue(at));
            self.rig.limit(self.sessions[3], LimitRequest::Resume { what }).unwrap();
        }
        self.paused = [0; 2];
        for _ in 0..2_000 {
            if self.rig.engine.queued() == 0 {
                return;
            }
            for (at, name) in QUEUES.iter().enumerate() {
                let session = self.sessions[1 + at];
                if let Entry::Vacant(place) = self.waits.entry(session) {
                    place.insert((at, true));
                    self.binds.insert(session, true);
                    let (from, wait) = (Source::Queue(queue(name)), Some(ms(3_600_000)));
                    let receive = Receive { max: 3, wait, ..Receive::one(from) };
                    let _ran = self.rig.run(session, Command::Receive(receive));
                    self.look();
                }
            }
            for (id, lease) in std::mem::take(&mut self.leases) {
                if self.rig.ack(self.sessions[3], lease).is_ok() {
                    self.message(id).state = State::Gone;
                    self.message(id).is_over = true;
                }
            }
            self.pass(500);
        }
        let why = QUEUES.map(|at| match self.rig.stats(self.sessions[3], at).counts.ready {
            0 => Vec::new(),
            _ => self.rig.explain(self.sessions[3], at, sluice_model::Explained::Queue),
        });
        let stats = QUEUES.map(|at| self.rig.stats(self.sessions[3], at));
        panic!("messages are left: {why:?} {stats:?} {:?}", self.waits);
    }
}
