//! Somebody who writes keys and knows what each has to be, over the line door.
//!
//! One write is under way at a time, each with a dedupe id, so that the one that a kill cut short can be
//! asked for again: it must count once. Every change that was acknowledged has to be among those that a
//! watch tells afterwards, and no number may ever stand for two changes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::KillError;
use crate::random::Random;
use crate::wire::{Conn, line};

/// Keys of a writer, beside its number.
const KEYS: u64 = 8;
/// Changes that are known already and asked for again from a watch.
const AGAIN: u64 = 200;

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
    /// The write that has no answer.
    pending: Option<Value>,
    /// What a watch told, by number.
    told: BTreeMap<u64, Value>,
    /// Numbers of acknowledged changes that no watch has told yet.
    untold: Vec<u64>,
    last: u64,
    cut_short: bool,
}

impl KeyWriter {
    pub(super) fn new(number: u32, random: Random) -> Self {
        Self {
            name: format!("writer{number}"),
            random,
            writes: 0,
            held: BTreeMap::new(),
            pending: None,
            told: BTreeMap::new(),
            untold: Vec::new(),
            last: 0,
            cut_short: false,
        }
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
            self.pending = Some(request.clone());
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
    pub(super) fn check(&mut self, addr: SocketAddr) -> Result<(), KillError> {
        let mut conn = Conn::open(addr)?;
        self.cut_short = self.pending.is_some();
        if let Some(request) = self.pending.take() {
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
        self.held.remove(request["key"].as_str().unwrap_or_default());
        Ok(())
    }

    /// Watches from before what is known on. It must be told as it was, and all behind it.
    fn watch(&mut self, conn: &mut Conn) -> Result<(), KillError> {
        let from =
            self.told.last_key_value().map_or(1, |(last, _)| last.saturating_sub(AGAIN).max(1));
        let request =
            json!({"action": "WATCH", "namespace": self.name, "prefix": true, "from": from});
        let answer = ask(conn, &request)?;
        if answer["error"]["code"] == "gone" {
            self.told.clear();
            self.untold.clear();
            return Ok(());
        }
        // What comes last is a change of this writer's own, which marks the end.
        let key = format!("{}^1", self.name);
        let end = json!({"action": "SET", "key": key, "value": "end"});
        let mut before = from - 1;
        say(conn, &end)?;
        let mut ends_at = None;
        while ends_at.is_none_or(|end| before < end) {
            let heard = hear(conn)?;
            if heard.get("event").is_none() {
                ends_at = heard["result"]["revision"].as_u64();
                self.answered(&end, &heard)?;
                continue;
            }
            let revision = heard["revision"].as_u64().unwrap_or_default();
            let known = self.told.get(&revision);
            if revision <= before || known.is_some_and(|known| *known != heard) {
                return broken(format!("a watch told {heard} behind {before}, once {known:?}"));
            }
            before = revision;
            self.told.insert(revision, heard);
        }
        let missing = self.untold.iter().find(|revision| !self.told.contains_key(revision));
        if let Some(revision) = missing {
            return broken(format!("no watch tells change {revision}, which was acknowledged"));
        }
        self.untold.clear();
        while self.told.len() as u64 > 2 * AGAIN {
            self.told.pop_first();
        }
        Ok(())
    }
}

fn broken<T>(what: String) -> Result<T, KillError> {
    Err(KillError::Broken(what))
}

fn ask(conn: &mut Conn, request: &Value) -> io::Result<Value> {
    say(conn, request)?;
    hear(conn)
}

fn say(conn: &mut Conn, request: &Value) -> io::Result<()> {
    conn.out.extend_from_slice(format!("{request}\n").as_bytes());
    conn.flush()
}

fn hear(conn: &mut Conn) -> io::Result<Value> {
    conn.next(|input| {
        let Some((text, end)) = line(input) else { return Ok(None) };
        Ok(Some((serde_json::from_slice(text)?, end)))
    })
}
