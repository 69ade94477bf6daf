//! Random writes, restarts and images against the simplest store there is: a list of all changes.

use std::collections::BTreeMap;

use sluice_engine::Config;
use sluice_model::{
    Answer, Code, Command, Condition, Entry, Keys, KvAnswer, KvRequest, Receive, Revision,
    SessionId, Source, WatchEvent, WatchId,
};

use crate::dice::Dice;
use crate::kv::{key, text};
use crate::rig::{Rig, Said, config, ms, peer};

const NAMES: [&str; 9] = ["a", "b", "c", "n^1", "n^2", "n^2^x", "n^3", "o^1", "o^2"];

/// One change as the model knows it.
#[derive(Clone, Debug, PartialEq)]
enum Done {
    Put(String),
    Deleted,
    Expired,
}

/// All that ever happened, by its revision.
#[derive(Default)]
struct Model {
    changes: Vec<(String, Done, u64)>,
    expires: BTreeMap<String, u64>,
}

impl Model {
    fn last(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Keys with value and revision.
    fn state(&self) -> BTreeMap<String, (String, u64)> {
        let mut state = BTreeMap::new();
        for (revision, (name, done, _)) in (1..).zip(&self.changes) {
            match done {
                Done::Put(value) => drop(state.insert(name.clone(), (value.clone(), revision))),
                Done::Deleted | Done::Expired => drop(state.remove(name)),
            }
        }
        state
    }

    fn push(&mut self, name: &str, done: Done, expires: Option<u64>, sequence: u64) {
        self.changes.push((name.to_owned(), done, sequence));
        match expires {
            Some(at) => drop(self.expires.insert(name.to_owned(), at)),
            None => drop(self.expires.remove(name)),
        }
    }
}

struct Follower {
    session: SessionId,
    watch: WatchId,
    keys: Keys,
    /// The next revision that it may be told.
    next: u64,
}

struct Run {
    rig: Rig,
    dice: Dice,
    model: Model,
    session: SessionId,
    follower: Option<Follower>,
    told: u64,
    gaps: u64,
    restarts: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let watch_history = [3, 40, 100_000][dice.below(3) as usize];
        let mut rig = Rig::new(Config { watch_history, deadlines_per_turn: 7, ..config() });
        rig.commits = false;
        let session = rig.open(peer(1));
        Self {
            rig,
            dice,
            model: Model::default(),
            session,
            follower: None,
            told: 0,
            gaps: 0,
            restarts: 0,
        }
    }

    fn now(&self) -> u64 {
        self.rig.now.as_millis()
    }

    /// Expiries that the broker wrote down by itself since.
    fn catch_up(&mut self, from: u64) {
        for sequence in from + 1..=self.rig.tape.last() {
            if let sluice_engine::Record::KeyGone { key, expired: true, .. } =
                self.rig.tape.record(sequence)
            {
                let key = key.into_owned();
                let due = self.model.expires.get(&key).copied();
                assert!(due.is_some_and(|due| due <= self.now()), "{key} expires too early");
                self.model.push(&key, Done::Expired, None, sequence);
            }
        }
    }

    fn ask(&mut self, request: KvRequest) -> Result<KvAnswer, Code> {
        let from = self.rig.tape.last();
        let answer = self.rig.kv(self.session, request);
        self.catch_up(from);
        answer
    }

    fn write(&mut self) {
        let name = self.dice.pick(&NAMES).unwrap();
        // Whoever writes meets what is over first.
        if self.model.expires.get(name).is_some_and(|at| *at <= self.now()) {
            let gone = self.ask(KvRequest::Exists { key: key(name) });
            assert_eq!(gone, Err(Code::NotFound));
        }
        let state = self.model.state();
        let there = state.get(name).cloned();
        let next = self.model.last() + 1;
        let condition = match self.dice.below(4) {
            0 => Condition::Absent,
            1 => Condition::Revision(Revision(there.as_ref().map_or(1, |(_, revision)| *revision))),
            _ => Condition::Always,
        };
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => there.is_none(),
            Condition::Revision(_) => there.is_some(),
        };
        if self.dice.one_in(4) {
            let condition =
                if condition == Condition::Absent { Condition::Always } else { condition };
            let answer = self.ask(KvRequest::Delete { key: key(name), condition });
            match there {
                None => assert_eq!(answer, Err(Code::NotFound)),
                Some(_) => {
                    self.expect_written(answer, next);
                    let sequence = self.rig.tape.last();
                    self.model.push(name, Done::Deleted, None, sequence);
                }
            }
            return;
        }
        let value = format!("{next}{}", "x".repeat(self.dice.below(200) as usize));
        let ttl = self.dice.one_in(3).then(|| self.dice.between(1, 400));
        let set = KvRequest::Set {
            key: key(name),
            value: text(&value),
            ttl: ttl.map(ms),
            condition,
            dedupe_id: None,
        };
        let answer = self.ask(set);
        if !holds {
            return assert_eq!(answer, Err(Code::Conflict));
        }
        self.expect_written(answer, next);
        let (at, sequence) = (ttl.map(|ttl| self.now() + ttl), self.rig.tape.last());
        self.model.push(name, Done::Put(value), at, sequence);
    }

    fn expect_written(&self, answer: Result<KvAnswer, Code>, revision: u64) {
        let expected = KvAnswer::Written { revision: Revision(revision), duplicate: false };
        assert_eq!(answer, Ok(expected));
    }

    /// Reads everything, page by page.
    fn read(&mut self) {
        let limit = self.dice.between(1, 4) as u16;
        let (keys, mut after) = (Keys::below("").unwrap(), None);
        let mut found = BTreeMap::new();
        loop {
            let scan = KvRequest::Scan { keys: keys.clone(), after, limit, values: true };
            let Ok(KvAnswer::Scanned { entries, next }) = self.ask(scan) else { panic!() };
            for Entry { key, value, revision, expires_at } in entries {
                assert!(expires_at.is_none_or(|at| at > self.rig.now));
                let value = String::from_utf8(value.bytes.to_vec()).unwrap();
                found.insert(key.to_string(), (value, revision.0));
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        let mut expected = self.model.state();
        expected.retain(|name, _| self.model.expires.get(name).is_none_or(|at| *at > self.now()));
        assert_eq!(found, expected);
    }

    fn follow(&mut self, from: Option<u64>) {
        let keys = match self.dice.below(3) {
            0 => Keys::below("").unwrap(),
            1 => Keys::below("n^").unwrap(),
            _ => Keys::One(key(self.dice.pick(&NAMES).unwrap())),
        };
        let watch = KvRequest::Watch { keys: keys.clone(), from: from.map(Revision) };
        match self.ask(watch) {
            Ok(KvAnswer::Watching { watch, revision }) => {
                assert_eq!(revision.0, self.model.last());
                let next = from.unwrap_or(revision.0 + 1).max(1);
                self.follower = Some(Follower { session: self.session, watch, keys, next });
            }
            Err(Code::Gone) => assert!(from.is_some()),
            other => panic!("{other:?}"),
        }
    }

    /// Takes events and holds them against what happened.
    fn hear(&mut self) {
        let Some(mut follower) = self.follower.take() else {
            let from = self.dice.one_in(2).then(|| self.dice.between(1, self.model.last() + 1));
            return self.follow(from);
        };
        let receive = Receive { max: 5, ..Receive::one(Source::Watch(follower.watch)) };
        let ran = self.rig.run(follower.session, Command::Receive(receive));
        assert_eq!(ran, sluice_engine::Ran::Done);
        let synced = self.rig.progress.synced;
        let events = match self.rig.told(follower.session).map(|out| out.said) {
            Some(Said::Answer(Answer::Changes { events, .. })) => events,
            Some(Said::Answer(Answer::Empty { .. })) => {
                let missed =
                    self.model.changes.iter().zip(1..).find(|((name, _, sequence), revision)| {
                        *revision >= follower.next
                            && *sequence <= synced
                            && follower.keys.hold(name)
                    });
                assert_eq!(missed, None, "nothing to tell");
                self.follower = Some(follower);
                return;
            }
            other => panic!("{other:?}"),
        };
        for event in events.iter().cloned() {
            self.told += 1;
            let (name, done, revision) = match event {
                WatchEvent::Gap { resumed_at } => {
                    self.gaps += 1;
                    assert!(resumed_at.0 > follower.next);
                    follower.next = resumed_at.0;
                    continue;
                }
                WatchEvent::Put(entry) => {
                    let value = String::from_utf8(entry.value.bytes.to_vec()).unwrap();
                    (entry.key, Done::Put(value), entry.revision.0)
                }
                WatchEvent::Deleted { key, revision } => (key, Done::Deleted, revision.0),
                WatchEvent::Expired { key, revision } => (key, Done::Expired, revision.0),
            };
            let skipped = follower.next..revision;
            for revision in skipped {
                let (name, ..) = &self.model.changes[revision as usize - 1];
                assert!(!follower.keys.hold(name), "change {revision} of {name} is missing");
            }
            let (expected_name, expected, sequence) = &self.model.changes[revision as usize - 1];
            assert_eq!((name.as_str(), &done), (expected_name.as_str(), expected));
            assert!(*sequence <= synced, "a change that is not safe was told");
            follower.next = revision + 1;
        }
        self.follower = Some(follower);
    }

    fn restart(&mut self) {
        let with_image = self.dice.one_in(2);
        let least = self.rig.progress.synced;
        let kept = self.dice.between(least, self.rig.tape.last());
        if with_image && self.rig.image.covers > kept {
            return;
        }
        let lost = self.model.changes.iter().position(|(.., sequence)| *sequence > kept);
        if let Some(lost) = lost {
            self.model.changes.truncate(lost);
            // Times are found again from what is left.
            self.model.expires.clear();
        }
        let before = self.model.state();
        self.rig.restart(kept, with_image, true);
        self.rig.commits = false;
        self.session = self.rig.open(peer(1));
        self.follower = None;
        self.restarts += 1;
        self.learn_times(&before);
    }

    /// After a loss the model takes the times from the broker, and all else must be as it was.
    fn learn_times(&mut self, before: &BTreeMap<String, (String, u64)>) {
        for (name, (value, revision)) in before {
            let known = self.model.expires.get(name).copied();
            match self.rig.kv(self.session, KvRequest::Get { key: key(name) }) {
                Ok(KvAnswer::Value(entry)) => {
                    assert_eq!(
                        (&entry.value.bytes[..], entry.revision.0),
                        (value.as_bytes(), *revision)
                    );
                    if let Some(at) = entry.expires_at {
                        assert!(known.is_none_or(|known| known == at.as_millis()));
                        self.model.expires.insert(name.clone(), at.as_millis());
                    }
                }
                Err(Code::NotFound) => {
                    let last = self.rig.tape.last();
                    self.model.push(name, Done::Expired, None, last);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn step(&mut self) {
        let from = self.rig.tape.last();
        match self.dice.below(40) {
            0..20 => self.write(),
            20..22 => self.read(),
            22..28 => self.hear(),
            28..33 => {
                self.rig.commit();
                self.rig.fire();
                self.catch_up(from);
            }
            33..36 => {
                let time = self.dice.between(1, 150);
                self.rig.pass(ms(time));
                self.catch_up(from);
            }
            36 => {
                self.rig.commit();
                if self.rig.imaging.is_none() {
                    self.rig.begin_image();
                }
            }
            37 | 38 => self.rig.image_slice(),
            _ if self.dice.one_in(4) => self.restart(),
            _ => {}
        }
    }
}

#[test]
fn random_writes_restarts_and_images_are_worth_a_list_of_changes() {
    let (mut told, mut gaps, mut restarts) = (0, 0, 0);
    for seed in 0..60 {
        let mut run = Run::new(seed);
        for _ in 0..400 {
            run.step();
        }
        run.read();
        told += run.told;
        gaps += run.gaps;
        restarts += run.restarts;
    }
    assert!(told > 1_000 && gaps > 20 && restarts > 100, "{told} {gaps} {restarts}");
}
