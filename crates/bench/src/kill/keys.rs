//! Somebody who writes keys and knows what each has to be, over the line door.
//!
//! One write is under way at a time, each with a dedupe id, so that the one that a kill cut short can be
//! asked for again: it must count once. Every change that was acknowledged has to be among those that a
//! watch tells afterwards, so has everything that a watch was told before the kill, and no number may ever stand for
//! two changes. What the history no longer holds is `gone`, and nothing else is.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::held_watch::HeldWatch;
use super::mortal::Mortal;
use super::{HISTORY, KillError, broken};
use crate::random::Random;
use crate::wire::{Conn, line};

/// Keys of a writer, beside its number.
const KEYS: u64 = 8;
/// Changes that are known already and asked for again from a watch.
const AGAIN: u64 = 200;
/// One in so many watches wants to begin at the first change that there ever was.
const FAR_BACK: u64 = 4;

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    value: Value,
    revision: u64,
}

pub(super) struct KeyWriter {
    name: String,
    random: Random,
    writes: u64,
    held: BTreeMap<String, Held>,
    mortal: Mortal,
    /// The write that has no answer, and when it was first sent.
    pending: Option<(Value, Instant)>,
    /// Up to this change all was compared with what a watch told.
    checked: u64,
    /// What a watch told, by number.
    told: BTreeMap<u64, Value>,
    /// Numbers of acknowledged changes that no watch has told yet.
    untold: Vec<u64>,
    last: u64,
    cut_short: bool,
    /// Times that a watch began before what the history held.
    gone: u64,
}

impl KeyWriter {
    pub(super) fn new(number: u32, random: Random) -> Self {
        let name = format!("writer{number}");
        Self {
            mortal: Mortal::new(format!("{name}^mortal")),
            name,
            random,
            writes: 0,
            held: BTreeMap::new(),
            pending: None,
            checked: 0,
            told: BTreeMap::new(),
            untold: Vec::new(),
            last: 0,
            cut_short: false,
            gone: 0,
        }
    }

    /// A watch of its keys.
    pub(super) fn watcher(&self) -> HeldWatch {
        HeldWatch::new(self.name.clone())
    }

    /// How often a watch was told that the history no longer holds where it wanted to begin.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// Writes that were acknowledged.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Whether a write had no answer at the last kill.
    pub(super) fn was_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Writes until the broker is gone.
    pub(super) fn write(&mut self, addr: SocketAddr, sent: &AtomicU64) -> Result<(), KillError> {
        let Ok(mut conn) = Conn::open(addr) else { return Ok(()) };
        loop {
            let request = self.next();
            self.pending = Some((request.clone(), Instant::now()));
            sent.fetch_add(1, Ordering::Relaxed);
            match ask(&mut conn, &request) {
                Ok(answer) => self.answered(&request, &answer)?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn next(&mut self) -> Value {
        let at = self.random.below(KEYS);
        let key = format!("{}^{at}", self.name);
        let id = format!("{}-{}", self.writes, self.random.below(u64::MAX));
        if self.random.below(KEYS) == 0 {
            return self.mortal.next(&id, &mut self.random);
        }
        // The first is a number that is only ever added to.
        if at == 0 {
            let by = 1 + self.random.below(5);
            return json!({"action": "INCR", "key": key, "by": by, "dedupe_id": id});
        }
        match (self.random.below(4), self.held.get(&key)) {
            (0, Some(held)) => {
                json!({"action": "DEL", "key": key, "if_revision": held.revision})
            }
            (1, Some(held)) => json!({"action": "SET", "key": key, "value": id,
                "if_revision": held.revision, "dedupe_id": id}),
            (1, None) => json!({"action": "SET", "key": key, "value": id, "if_absent": true,
                "dedupe_id": id}),
            _ => json!({"action": "SET", "key": key, "value": id, "dedupe_id": id}),
        }
    }

    /// Notes what an acknowledged write has come to.
    fn answered(&mut self, request: &Value, answer: &Value) -> Result<(), KillError> {
        let key = request["key"].as_str().unwrap_or_default().to_owned();
        let result = &answer["result"];
        let revision = result["revision"].as_u64();
        let Some(revision) = revision.filter(|revision| *revision > self.last) else {
            return broken(format!("{request} was answered {answer} behind {}", self.last));
        };
        if request["action"] == "INCR" {
            let before = self.held.get(&key).map_or(0, |held| held.value.as_u64().unwrap_or(0));
            let sum = before + request["by"].as_u64().unwrap_or_default();
            if result["value"].as_u64() != Some(sum) {
                return broken(format!("{request} on {before} came to {answer}"));
            }
        }
        match request["action"].as_str() {
            _ if key == self.mortal.key() => {
                let sent = self.pending.as_ref().map_or_else(Instant::now, |(_, sent)| *sent);
                self.mortal.is_set(request, revision, sent);
            }
            Some("DEL") => drop(self.held.remove(&key)),
            Some("INCR") => {
                self.held.insert(key, Held { value: result["value"].clone(), revision });
            }
            _ => drop(self.held.insert(key, Held { value: request["value"].clone(), revision })),
        }
        (self.last, self.pending) = (revision, None);
        self.writes += 1;
        self.untold.push(revision);
        Ok(())
    }

    /// After a restart: what was cut short is asked for again, every key is as it was left, and a watch
    /// tells all that has happened.
    pub(super) fn check(
        &mut self,
        addr: SocketAddr,
        watch: &mut HeldWatch,
    ) -> Result<(), KillError> {
        let mut conn = Conn::open(addr)?;
        let asked = Instant::now();
        let mortal = json!({"action": "GET", "key": self.mortal.key(), "entry": true});
        let found = ask(&mut conn, &mortal)?;
        self.cut_short = self.pending.is_some();
        // What had no answer may have been done, or be done now.
        if self.pending.as_ref().is_none_or(|(request, _)| request["key"] != self.mortal.key()) {
            self.mortal.check(&found, asked)?;
        }
        for (revision, event) in watch.take(&self.untold)? {
            self.tell(revision, event)?;
        }
        if let Some((request, _)) = self.pending.clone() {
            let answer = ask(&mut conn, &request)?;
            if request["action"] == "DEL" {
                self.settle_delete(&request, &answer)?;
            } else {
                self.answered(&request, &answer)?;
            }
        }
        for at in 0..KEYS {
            let key = format!("{}^{at}", self.name);
            let answer = ask(&mut conn, &json!({"action": "GET", "key": key, "entry": true}))?;
            let result = &answer["result"];
            let found = result["revision"]
                .as_u64()
                .map(|revision| Held { value: result["value"].clone(), revision });
            let expected = self.held.get(&key);
            if found.as_ref() != expected {
                return broken(format!("{key} is {answer} where {expected:?} was acknowledged"));
            }
        }
        self.watch(&mut conn)
    }

    /// A removal has no dedupe id: that it was done before shows in the key's absence.
    fn settle_delete(&mut self, request: &Value, answer: &Value) -> Result<(), KillError> {
        if answer["error"]["code"] != "not_found" {
            return self.answered(request, answer);
        }
        self.pending = None;
        self.held.remove(request["key"].as_str().unwrap_or_default());
        Ok(())
    }

    /// Watches from before what is known on. It must be told as it was, and all behind it.
    fn watch(&mut self, conn: &mut Conn) -> Result<(), KillError> {
        // What comes last is a change of this writer's own, which marks the end.
        let end = json!({"action": "SET", "key": format!("{}^1", self.name), "value": "end"});
        let wanted = match self.random.below(FAR_BACK) {
            0 => 1,
            _ => self.checked.saturating_sub(AGAIN).max(1),
        };
        let mut from = wanted;
        let mut answer = ask(conn, &self.watch_from(from))?;
        if answer["error"]["code"] == "gone" {
            let said = ask(conn, &end)?;
            self.answered(&end, &said)?;
            if self.last - wanted < HISTORY {
                return broken(format!("change {wanted} is gone, and the last is {}", self.last));
            }
            self.gone += 1;
            // Half of what the history holds is known for sure.
            from = self.last - HISTORY / 2;
            answer = ask(conn, &self.watch_from(from))?;
        }
        if answer["result"]["revision"].is_null() {
            return broken(format!("a watch from {from}, the last is {}: {answer}", self.last));
        }
        let now = self.told_until(conn, from, &end)?;
        let lost = self.told.range(from..).find(|(revision, _)| !now.contains_key(revision));
        if let Some((_, event)) = lost {
            return broken(format!("a watch told {event}, which never was"));
        }
        let missing = self.untold.iter().find(|at| **at >= from && !now.contains_key(at));
        if let Some(revision) = missing {
            return broken(format!("no watch tells change {revision}, which was acknowledged"));
        }
        for (revision, event) in now {
            self.tell(revision, event)?;
        }
        self.untold.clear();
        self.checked = self.last;
        self.told = self.told.split_off(&self.checked.saturating_sub(2 * AGAIN));
        Ok(())
    }

    fn watch_from(&self, from: u64) -> Value {
        json!({"action": "WATCH", "namespace": self.name, "prefix": true, "from": from})
    }

    /// What a watch that began there tells until the change `end`, which is made now.
    fn told_until(
        &mut self,
        conn: &mut Conn,
        from: u64,
        end: &Value,
    ) -> Result<BTreeMap<u64, Value>, KillError> {
        let (mut told, mut before) = (BTreeMap::new(), from - 1);
        let mut lives = BTreeMap::new();
        say(conn, end)?;
        let mut ends_at = None;
        while ends_at.is_none_or(|end| before < end) {
            let heard = hear(conn)?;
            if heard.get("event").is_none() {
                ends_at = heard["result"]["revision"].as_u64();
                self.answered(end, &heard)?;
                continue;
            }
            let revision = heard["revision"].as_u64().unwrap_or_default();
            if revision <= before || heard["event"] == "gap" {
                return broken(format!("a watch told {heard} behind {before}"));
            }
            let is_put = heard["event"] == "put";
            let lived = lives.insert(heard["key"].to_string(), is_put);
            if !is_put && lived == Some(false) {
                return broken(format!("a watch told {heard} of what was gone before"));
            }
            before = revision;
            told.insert(revision, heard);
        }
        Ok(told)
    }

    /// Notes what a watch told, which may not be anything else than before.
    fn tell(&mut self, revision: u64, event: Value) -> Result<(), KillError> {
        match self.told.get(&revision) {
            Some(known) if *known != event => {
                broken(format!("a watch told {event}, and before that {known}"))
            }
            _ => {
                self.told.insert(revision, event);
                Ok(())
            }
        }
    }
}

pub(super) fn ask(conn: &mut Conn, request: &Value) -> io::Result<Value> {
    say(conn, request)?;
    hear(conn)
}

fn say(conn: &mut Conn, request: &Value) -> io::Result<()> {
    conn.out.extend_from_slice(format!("{request}\n").as_bytes());
    conn.flush()
}

pub(super) fn hear(conn: &mut Conn) -> io::Result<Value> {
    conn.next(|input| {
        let Some((text, end)) = line(input) else { return Ok(None) };
        Ok(Some((serde_json::from_slice(text)?, end)))
    })
}
