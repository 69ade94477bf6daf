//! A key with a time to live: it is there as long as that, through kills too, and no longer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{KillError, broken};
use crate::random::Random;

/// Most milliseconds that one lives.
const TTL_MAX: u64 = 400;
/// The broker's clock and ours may differ so much, and what is due in it may be late by so much on a
/// busy machine, before it counts as wrong.
const EARLY: Duration = Duration::from_millis(50);

/// One, as it was last set.
#[derive(Default)]
pub(super) struct Mortal {
    key: String,
    set: Option<Set>,
}

struct Set {
    value: Value,
    revision: u64,
    /// It may not be gone before that, and not be there after this.
    earliest: Instant,
    latest: Instant,
}

impl Mortal {
    pub(super) fn new(key: String) -> Self {
        Self { key, set: None }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The next write of it.
    pub(super) fn next(&self, id: &str, random: &mut Random) -> Value {
        let ttl_ms = 1 + random.below(TTL_MAX);
        json!({"action": "SET", "key": self.key, "value": id, "ttl_ms": ttl_ms, "dedupe_id": id})
    }

    /// A write that was first sent then has been acknowledged.
    pub(super) fn is_set(&mut self, request: &Value, revision: u64, sent: Instant) {
        let ttl = Duration::from_millis(request["ttl_ms"].as_u64().unwrap_or_default());
        let (value, earliest) = (request["value"].clone(), sent + ttl);
        self.set = Some(Set { value, revision, earliest, latest: Instant::now() + ttl });
    }

    /// Holds the answer to a question that was asked then against what may be.
    pub(super) fn check(&self, answer: &Value, asked: Instant) -> Result<(), KillError> {
        let (heard, result) = (Instant::now(), &answer["result"]);
        let Some(Set { value, revision, earliest, latest }) = &self.set else { return Ok(()) };
        let is_there = result.get("revision").is_some();
        if is_there && (result["revision"] != *revision || result["value"] != *value) {
            return broken(format!("{} is {answer}, not {value} of {revision}", self.key));
        }
        if is_there && asked > *latest + EARLY {
            let late = asked - *latest;
            return broken(format!("{} is there {late:?} after its time", self.key));
        }
        if !is_there && heard + EARLY < *earliest {
            let early = *earliest - heard;
            return broken(format!("{} is gone {early:?} before its time", self.key));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_dies_too_early_or_lives_on_is_found() {
        let (there, absent) = (
            json!({"result": {"value": "x", "revision": 7}}),
            json!({"error": {"code": "not_found"}}),
        );
        let mut mortal = Mortal::new("k".to_owned());
        let now = Instant::now();
        assert!(mortal.check(&there, now).is_ok(), "nothing is known");
        mortal.is_set(&json!({"value": "x", "ttl_ms": 60_000}), 7, now);
        assert!(mortal.check(&there, now).is_ok());
        assert!(mortal.check(&absent, now).is_err(), "too early");
        assert!(mortal.check(&there, now + Duration::from_secs(61)).is_err(), "too late");
        let other = json!({"result": {"value": "x", "revision": 8}});
        assert!(mortal.check(&other, now).is_err());
        mortal.is_set(&json!({"value": "x", "ttl_ms": 1}), 7, now);
        assert!(mortal.check(&absent, Instant::now() + EARLY).is_ok());
    }
}
