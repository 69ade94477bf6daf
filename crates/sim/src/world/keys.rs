//! What the clients of keys ask, and what they are told.

use std::ops::RangeInclusive;
use std::time::Duration;

use sluice_broker::local::{Input, Parcel, ParcelContent};
use sluice_engine::EndedBy;
use sluice_model::{
    Answer, Client as Who, Code, Condition, Entry, KvAnswer, Principal, Revision, WatchEvent,
};

use super::World;
use crate::keeper::{COUNT, Keeper, NAMES, Op, Watching, What};
use crate::oracle::keys::{Done, Keys, Seen};

/// Clients of the keys.
pub(super) const KEEPERS: usize = 5;
/// How often a schedule has a history so short that watches miss changes, in 100.
const SHORT: u64 = 30;

/// The part of a world that is about keys.
#[derive(Debug)]
pub(super) struct KeyWorld {
    keepers: Vec<Keeper>,
    oracle: Keys,
    /// The history is as long as the schedule.
    whole: bool,
    last_value: u64,
    last_amount: i64,
    /// Which change may be the last one of the backup that this life begins with.
    restored: Option<RangeInclusive<u64>>,
}

impl Default for KeyWorld {
    fn default() -> Self {
        let keepers = (0..KEEPERS).map(|_| Keeper::default()).collect();
        Self {
            keepers,
            oracle: Keys::default(),
            whole: true,
            last_value: 0,
            last_amount: 0,
            restored: None,
        }
    }
}

impl KeyWorld {
    /// That of a life that begins with a backup, whose last change is one of these.
    pub(super) fn second_life(&self, restored: RangeInclusive<u64>) -> Self {
        Self {
            oracle: self.oracle.asked_so_far(),
            whole: self.whole,
            last_value: self.last_value,
            last_amount: self.last_amount,
            restored: Some(restored),
            ..Self::default()
        }
    }
}

impl World {
    /// Lets some schedules forget changes soon.
    pub(super) fn with_short_history(mut self) -> Self {
        if self.aside.percent(SHORT) {
            self.keys.whole = false;
            self.config.engine.watch_history = 3;
        }
        self
    }

    /// The last change that anybody was told of, and the last that there is.
    pub(super) fn key_changes(&self) -> (u64, u64) {
        let known = self.keys.oracle.last();
        let stats = self.broker.as_ref().map(|broker| broker.driver.stats());
        (known, stats.map_or(known, |stats| stats.key_revision))
    }

    /// A backup was restored: what was told of changes that are not in it is no fact here.
    pub(super) fn begin_keys_again(&mut self) -> Result<(), String> {
        let (Some(restored), (_, last)) = (self.keys.restored.take(), self.key_changes()) else {
            return Ok(());
        };
        if !restored.contains(&last) {
            return Err(format!("the backup's last change of keys is {last}, not in {restored:?}"));
        }
        self.keys.oracle.forget_behind(last);
        Ok(())
    }

    /// One client asks for something, or for many things at once.
    pub(super) fn work_keys(&mut self) {
        let at = self.random.below(KEEPERS as u64) as usize;
        if !self.connect_keeper(at) {
            return;
        }
        for _ in 0..1 + self.random.below(4) {
            self.ask_keys(at);
        }
        self.submit_keys(at);
    }

    fn connect_keeper(&mut self, at: usize) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        if self.keys.keepers[at].session.is_none() {
            let peer = [127, 0, 2, at as u8].into();
            let session = broker.driver.open(Who { principal: Principal::Anonymous, peer });
            self.keys.keepers[at].session = Some(session);
            for amount in std::mem::take(&mut self.keys.keepers[at].again) {
                self.ask_key(at, What::Add(amount));
            }
        }
        true
    }

    fn ask_key(&mut self, at: usize, what: What) {
        self.keys.oracle.asked(&what);
        let floor = self.keys.oracle.last();
        self.keys.keepers[at].ask(Op { what, floor });
    }

    fn ask_keys(&mut self, at: usize) {
        let key = NAMES[self.random.below(NAMES.len() as u64 - 1) as usize];
        let below = ["", "n^", "b", "count"][self.random.below(4) as usize];
        let what = match self.random.below(100) {
            0..=29 => self.a_set(key),
            30..=37 => What::Delete { key, condition: self.a_condition(false) },
            38..=47 => {
                self.keys.last_amount += 1;
                What::Add(self.keys.last_amount)
            }
            48..=62 => What::Get(if self.random.percent(20) { COUNT } else { key }),
            63..=67 => What::Exists(key),
            68..=75 => What::Scan { below, limit: 1 + self.random.below(6) as u16 },
            _ => return self.follow(at, below),
        };
        self.ask_key(at, what);
    }

    fn a_set(&mut self, key: &'static str) -> What {
        self.keys.last_value += 1;
        let padding = if self.random.percent(5) { 2_500 } else { self.random.below(40) };
        let value = format!("{}{}", self.keys.last_value, "x".repeat(padding as usize));
        let ttl =
            self.random.percent(20).then(|| Duration::from_millis(1 + self.random.below(200)));
        What::Set { key, value, condition: self.a_condition(true), ttl }
    }

    /// A condition that may hold.
    fn a_condition(&mut self, absent: bool) -> Condition {
        match self.random.below(10) {
            0..=1 if absent => Condition::Absent,
            2..=4 => {
                let back = self.random.below(6);
                Condition::Revision(Revision(self.keys.oracle.last().saturating_sub(back).max(1)))
            }
            _ => Condition::Always,
        }
    }

    /// Begins a watch, or waits for what it tells.
    fn follow(&mut self, at: usize, below: &'static str) {
        match self.keys.keepers[at].watching {
            Some(Watching { hears: true, .. }) => {}
            Some(_) => self.ask_key(at, What::Hear),
            None if self.keys.keepers[at].begins_to_watch() => {}
            None => {
                let known = self.keys.oracle.last();
                let from = self.random.percent(50).then(|| 1 + self.random.below(known + 1));
                self.ask_key(at, What::Watch { below, from });
            }
        }
    }

    pub(super) fn submit_keys(&mut self, at: usize) {
        let slow = self.is_slow();
        let keeper = &mut self.keys.keepers[at];
        let Some(session) = keeper.session else { return };
        let written = if slow { 0 } else { std::mem::take(&mut keeper.written) };
        let mut requests = std::mem::take(&mut keeper.requests);
        let before = requests.len();
        self.turn(Input::Requests { session, written, requests: &mut requests });
        self.counters.operations += (before - requests.len()) as u64;
        self.keys.keepers[at].requests = requests;
    }

    pub(super) fn lose_a_keeper(&mut self) {
        let at = self.random.below(KEEPERS as u64) as usize;
        let Some(session) = self.keys.keepers[at].session else { return };
        let by = if self.random.percent(60) { EndedBy::Client } else { EndedBy::Broker };
        self.turn(Input::Close { session, by, unsent: Vec::new() });
        self.keys.keepers[at].lose();
    }

    /// Every connection is gone with the broker.
    pub(super) fn lose_keepers(&mut self) {
        for keeper in &mut self.keys.keepers {
            keeper.lose();
        }
    }

    /// Which client has that session.
    pub(super) fn keeper_of(&self, session: sluice_model::SessionId) -> Option<usize> {
        self.keys.keepers.iter().position(|keeper| keeper.session == Some(session))
    }

    pub(super) fn told_keeper(&mut self, at: usize, parcel: Parcel) -> Result<(), String> {
        let keeper = &mut self.keys.keepers[at];
        keeper.written += parcel.weight;
        let goes_on = matches!(&parcel.content, ParcelContent::Answer(answer) if answer.goes_on());
        let op = match goes_on {
            true => keeper.asked.get(&parcel.tag).cloned(),
            false => keeper.asked.remove(&parcel.tag),
        };
        let op = op.ok_or("an answer that nobody asked for")?;
        if op.what == What::Hear
            && !goes_on
            && let Some(watching) = &mut keeper.watching
        {
            watching.hears = false;
        }
        let ParcelContent::Answer(answer) = parcel.content else {
            return Err("a client of keys got a message".into());
        };
        let ceiling = self.broker.as_ref().map_or(0, |broker| broker.driver.stats().key_revision);
        match answer {
            Answer::Kv(answer) => self.kv_answered(at, &op, answer, ceiling),
            Answer::Changes { events, .. } => self.changed(at, &events),
            Answer::Empty { .. } if op.what == What::Hear => Ok(()),
            Answer::Refused(refusal) => self.kv_refused(&op, refusal.code, ceiling),
            answer => Err(format!("{op:?} was answered by {answer:?}")),
        }
    }

    fn kv_answered(
        &mut self,
        at: usize,
        op: &Op,
        answer: KvAnswer,
        ceiling: u64,
    ) -> Result<(), String> {
        let Op { what, floor } = op;
        match (what, answer) {
            (What::Set { key, value, .. }, KvAnswer::Written { revision, duplicate: false }) => {
                self.made(op, key, revision.0, Done::Put(value.clone()), ceiling)
            }
            (What::Delete { key, .. }, KvAnswer::Written { revision, duplicate: false }) => {
                self.made(op, key, revision.0, Done::Deleted, ceiling)
            }
            (What::Add(_), KvAnswer::Incremented { value, revision, duplicate }) => {
                let done = Done::Put(value.to_string());
                if duplicate {
                    self.counters.key_duplicates += 1;
                    return self.keys.oracle.learn(revision.0, COUNT, done);
                }
                self.made(op, COUNT, revision.0, done, ceiling)
            }
            (What::Get(key), KvAnswer::Value(entry)) => {
                let seen = Seen::There(entry.revision.0);
                self.learn_entry(&entry)?;
                self.keys.oracle.answered(what, key, seen, *floor, ceiling)
            }
            (What::Exists(key), KvAnswer::There { revision, .. }) => {
                let seen = Seen::There(revision.0);
                self.keys.oracle.answered(what, key, seen, *floor, ceiling)
            }
            (What::Scan { below, .. }, KvAnswer::Scanned { entries, next }) => {
                self.scanned(op, below, &entries, next.as_ref().map(|key| key.as_str()), ceiling)
            }
            (What::Watch { below, from }, KvAnswer::Watching { watch, revision }) => {
                if revision.0 < *floor {
                    return Err(format!("{op:?} was told {revision:?}"));
                }
                let told = self.keys.oracle.watch(below, from.unwrap_or(revision.0 + 1));
                let watching = Watching { watch, told, hears: false, left: 0 };
                self.keys.keepers[at].watching = Some(watching);
                Ok(())
            }
            (what, answer) => Err(format!("{what:?} was answered by {answer:?}")),
        }
    }

    fn made(
        &mut self,
        op: &Op,
        key: &'static str,
        revision: u64,
        done: Done,
        ceiling: u64,
    ) -> Result<(), String> {
        self.counters.key_writes += 1;
        self.note("written", &[revision]);
        self.keys.oracle.learn(revision, key, done)?;
        self.keys.oracle.answered(&op.what, key, Seen::Made(revision), op.floor, ceiling)
    }

    fn learn_entry(&mut self, entry: &Entry) -> Result<(), String> {
        self.counters.key_reads += 1;
        let (Entry { key, value, revision, expires_at }, now) = (entry, self.now);
        // The answer may have waited for the disk meanwhile.
        if expires_at.is_some_and(|at| at.after(Duration::from_secs(60)) <= now) {
            return Err(format!("{key} was read long after its time"));
        }
        let value = String::from_utf8_lossy(&value.bytes).into_owned();
        self.note("read", &[revision.0]);
        self.keys.oracle.learn(revision.0, key.as_str(), Done::Put(value))
    }

    /// A page of keys: those that are there, and none of those between them.
    fn scanned(
        &mut self,
        op: &Op,
        below: &str,
        entries: &[Entry],
        next: Option<&str>,
        ceiling: u64,
    ) -> Result<(), String> {
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            return Err(format!("{entries:?} are not in order"));
        }
        for entry in entries {
            self.learn_entry(entry)?;
        }
        for key in NAMES {
            let covered = next.is_none_or(|next| key <= next);
            if !key.starts_with(below) || !covered {
                continue;
            }
            let found = entries.iter().find(|entry| entry.key.as_str() == key);
            let seen = found.map_or(Seen::Absent, |entry| Seen::There(entry.revision.0));
            self.keys.oracle.answered(&op.what, key, seen, op.floor, ceiling)?;
        }
        Ok(())
    }

    fn changed(&mut self, at: usize, events: &[WatchEvent]) -> Result<(), String> {
        let Some(mut watching) = self.keys.keepers[at].watching else {
            return Err("changes without a watch".into());
        };
        let left = watching.left.checked_sub(events.len());
        watching.left = left.ok_or("more changes came than were asked for")?;
        for event in events.iter().cloned() {
            let (key, done, revision) = match event {
                WatchEvent::Gap { resumed_at } => {
                    self.counters.key_gaps += 1;
                    if self.keys.whole {
                        return Err("a gap in a history that forgets nothing".into());
                    }
                    watching.told = self.keys.oracle.gap(watching.told, resumed_at.0);
                    continue;
                }
                WatchEvent::Put(entry) => {
                    let value = String::from_utf8_lossy(&entry.value.bytes).into_owned();
                    (entry.key, Done::Put(value), entry.revision.0)
                }
                WatchEvent::Deleted { key, revision } => (key, Done::Deleted, revision.0),
                WatchEvent::Expired { key, revision } => {
                    self.counters.key_expiries += 1;
                    (key, Done::Expired, revision.0)
                }
            };
            self.counters.key_events += 1;
            self.note("changed", &[at as u64, revision]);
            self.keys.oracle.learn(revision, key.as_str(), done)?;
            self.keys.oracle.tell(watching.told, revision)?;
        }
        self.keys.keepers[at].watching = Some(watching);
        Ok(())
    }

    fn kv_refused(&mut self, op: &Op, code: Code, ceiling: u64) -> Result<(), String> {
        let Op { what, floor } = op;
        let seen = match (what, code) {
            (_, Code::Indeterminate) => return Ok(()),
            (What::Get(key) | What::Exists(key), Code::NotFound)
            | (What::Delete { key, .. }, Code::NotFound) => Some((*key, Seen::Absent)),
            (What::Set { key, .. } | What::Delete { key, .. }, Code::Conflict) => {
                self.counters.key_conflicts += 1;
                Some((*key, Seen::Conflict))
            }
            (What::Watch { from: Some(_), .. }, Code::Gone) if !self.keys.whole => None,
            (_, Code::Overloaded | Code::NoSpace) => None,
            _ => return Err(format!("{what:?} was refused: {}", code.name())),
        };
        self.keys.oracle.refused(what);
        match seen {
            Some((key, seen)) => self.keys.oracle.answered(what, key, seen, *floor, ceiling),
            None => Ok(()),
        }
    }

    /// Reads all that is left, and holds everything that was told against it.
    pub(super) fn end_keys(&mut self) -> Result<(), String> {
        let from = self.keys.whole.then_some(1);
        self.settle_keys(What::Watch { below: "", from })?;
        loop {
            let known = self.keys.oracle.known();
            self.settle_keys(What::Scan { below: "", limit: 9 })?;
            self.settle_keys(What::Hear)?;
            let Some(broker) = &self.broker else { return Err("the broker is gone".into()) };
            broker.driver.check();
            let last = broker.driver.stats().key_revision;
            let all_told = !self.keys.whole || known >= last;
            if all_told && self.keys.oracle.known() == known {
                self.keys.oracle.check(last, self.keys.whole)?;
                self.counters.key_checked += self.keys.oracle.checked;
                return Ok(());
            }
            if self.step > 1_000_000 {
                return Err("the end does not come".into());
            }
        }
    }

    /// Asks and waits for the answer.
    fn settle_keys(&mut self, what: What) -> Result<(), String> {
        if !self.connect_keeper(0) {
            return Err("the broker is gone without a crash".into());
        }
        self.ask_key(0, what);
        while !self.keys.keepers[0].asked.is_empty() {
            self.step += 1;
            self.now = self.now.after(Duration::from_millis(20));
            self.submit_keys(0);
            self.turn(Input::Tick);
            self.keep_house_a_bit();
            for _ in 0..4 {
                self.commit();
                self.collect()?;
            }
            if self.step > 1_000_000 {
                return Err("an answer does not come".into());
            }
        }
        Ok(())
    }
}
