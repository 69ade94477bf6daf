//! A client that reads, writes and watches keys.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sluice_model::{
    Command, Condition, Key, Keys, KvRequest, Receive, Request, Revision, SessionId, Source, Value,
    ValueKind, WatchId,
};

/// The keys that are set and removed, and one that is only added to.
pub(crate) const NAMES: [&str; 5] = ["a", "b", "n^1", "n^2", COUNT];
pub(crate) const COUNT: &str = "count";

/// Changes that one receive asks for.
const HEARD_MAX: usize = 4;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Set {
        key: &'static str,
        value: String,
        condition: Condition,
        ttl: Option<Duration>,
    },
    Delete {
        key: &'static str,
        condition: Condition,
    },
    /// An addition, which no other has the amount of; tried again until it is answered.
    Add(i64),
    Get(&'static str),
    Exists(&'static str),
    Scan {
        below: &'static str,
        limit: u16,
    },
    Watch {
        below: &'static str,
        from: Option<u64>,
    },
    /// The next changes of the watch.
    Hear,
}

/// A request, and the last change that anybody knew of when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) what: What,
    pub(crate) floor: u64,
}

/// A watch, and what it has told: the oracle's number of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watching {
    pub(crate) watch: WatchId,
    pub(crate) told: usize,
    /// A receive waits.
    pub(crate) hears: bool,
    /// How many changes it may get still.
    pub(crate) left: usize,
}

/// A client of one session.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    pub(crate) session: Option<SessionId>,
    pub(crate) asked: BTreeMap<u64, Op>,
    pub(crate) requests: VecDeque<Request>,
    /// Weight of replies taken and not reported as written.
    pub(crate) written: usize,
    pub(crate) watching: Option<Watching>,
    /// Additions that were never answered.
    pub(crate) again: Vec<i64>,
    last_tag: u64,
}

/// The key of that name.
pub(crate) fn key(name: &str) -> Key {
    Key::new(name).expect("the workload's keys are valid")
}

/// The keys below a prefix.
pub(crate) fn below(prefix: &str) -> Keys {
    Keys::below(prefix).expect("the workload's prefixes are valid")
}

impl Keeper {
    /// Forgets a connection that is gone. Gives back what was asked and not answered.
    pub(crate) fn lose(&mut self) -> Vec<Op> {
        let asked: Vec<Op> = std::mem::take(&mut self.asked).into_values().collect();
        let mut again = std::mem::take(&mut self.again);
        again.extend(asked.iter().filter_map(|op| match op.what {
            What::Add(amount) => Some(amount),
            _ => None,
        }));
        *self = Self { last_tag: self.last_tag, again, ..Self::default() };
        asked
    }

    /// Whether a watch was asked for and is not there yet.
    pub(crate) fn begins_to_watch(&self) -> bool {
        self.asked.values().any(|op| matches!(op.what, What::Watch { .. }))
    }

    pub(crate) fn ask(&mut self, op: Op) {
        let command = match &op.what {
            What::Hear => {
                let Some(watching) = &mut self.watching else { return };
                (watching.hears, watching.left) = (true, HEARD_MAX);
                let (max, wait) = (HEARD_MAX as u32, Some(Duration::from_millis(50)));
                // Every other one stays for more.
                let (from, stays) =
                    (Source::Watch(watching.watch), self.last_tag.is_multiple_of(2));
                Command::Receive(Receive { max, wait, stays, ..Receive::one(from) })
            }
            what => Command::Kv(request(what)),
        };
        self.last_tag += 1;
        self.asked.insert(self.last_tag, op);
        self.requests.push_back(Request { tag: self.last_tag, command });
    }
}

fn request(what: &What) -> KvRequest {
    match what {
        What::Set { key: name, value, condition, ttl } => KvRequest::Set {
            key: key(name),
            value: Value { kind: ValueKind::Text, bytes: Bytes::from(value.clone()) },
            ttl: *ttl,
            condition: *condition,
            dedupe_id: None,
        },
        What::Delete { key: name, condition } => {
            KvRequest::Delete { key: key(name), condition: *condition }
        }
        What::Add(amount) => KvRequest::Increment {
            key: key(COUNT),
            by: *amount,
            dedupe_id: Some(amount.to_string().into()),
        },
        What::Get(name) => KvRequest::Get { key: key(name) },
        What::Exists(name) => KvRequest::Exists { key: key(name) },
        What::Scan { below: prefix, limit } => {
            KvRequest::Scan { keys: below(prefix), after: None, limit: *limit, values: true }
        }
        What::Watch { below: prefix, from } => {
            KvRequest::Watch { keys: below(prefix), from: from.map(Revision) }
        }
        What::Hear => unreachable!("it is a receive"),
    }
}
