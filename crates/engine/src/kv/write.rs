//! Writing keys: conditions, repeats, sums; and what a record changes, live and in replay.

use std::borrow::Cow;
use std::time::Duration;

use sluice_model::{
    Code, Condition, Key, KvAnswer, KvRequest, MessageId, Revision, SessionId, Timestamp, Value,
    ValueKind,
};

use super::Outcome;
use super::change::{self, What};
use super::index::{self, Live};
use crate::deadlines::Due;
use crate::dedupe::{Entry, Known};
use crate::engine::{Engine, Turn, need_of};
use crate::journal::{Need, Sequence};
use crate::record::{DedupeMark, DedupeScope, KeyMark, Record};

/// A time to live that ends later is as good as none.
const TTL_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A write that has been asked for.
struct Write<'a> {
    key: &'a Key,
    value: &'a Value,
    expires_at: Timestamp,
    mark: Option<DedupeMark>,
    /// What an addition comes to.
    sum: Option<i64>,
}

impl Engine {
    /// Sets, removes or adds.
    pub(super) fn kv_write(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: &KvRequest,
    ) -> Outcome {
        let outcome = match request {
            KvRequest::Set { key, value, ttl, condition, dedupe_id } => {
                let told = || {
                    let (kind, ttl) = (value.kind.as_u8(), millis(*ttl));
                    [&[kind][..], &ttl, &bytes_of(*condition), &value.bytes].concat()
                };
                let mark = match self.first_time(turn.now, session, key, dedupe_id.as_deref(), told)
                {
                    Ok(mark) => mark,
                    Err(known) => return known,
                };
                let expires_at =
                    ttl.map_or(Timestamp::EPOCH, |ttl| turn.now.after(ttl.min(TTL_MAX)));
                let write = Write { key, value, expires_at, mark, sum: None };
                self.set_key(turn, *ttl, *condition, write)
            }
            KvRequest::Increment { key, by, dedupe_id } => {
                let told = || [&b"+"[..], &by.to_le_bytes()].concat();
                match self.first_time(turn.now, session, key, dedupe_id.as_deref(), told) {
                    Ok(mark) => self.increment_key(turn, key, *by, mark),
                    Err(known) => known,
                }
            }
            KvRequest::Delete { key, condition } => self.delete_key(turn, key, *condition),
            _ => return Outcome::refused(Code::Internal, "it writes nothing", Need::NONE),
        };
        if let Outcome::Answer(_, need) = &outcome
            && let Some(state) = self.sessions.get_mut(&session)
        {
            state.need.cover(*need);
        }
        outcome
    }

    /// What makes a repeat of this write one; or what is answered because it is one. `told` is all
    /// that the write says, by which a repeat of it is known.
    fn first_time(
        &mut self,
        now: Timestamp,
        session: SessionId,
        key: &Key,
        id: Option<&str>,
        told: impl FnOnce() -> Vec<u8>,
    ) -> Result<Option<DedupeMark>, Outcome> {
        let Some(id) = id else { return Ok(None) };
        let told = told();
        // Ids are compared among the writes to one key.
        let (id, body) = self.dedupe_hashes(&format!("{key}\n{id}"), &told);
        let until = now.after(self.config.queue.dedupe_window);
        let mark = DedupeMark { scope: DedupeScope::Keys, id, body, until };
        let owner = self.sessions.get(&session).map(|state| state.owner.clone());
        match self.dedupes.look(now, owner, &mark, self.dedupe_max(&mark)) {
            Known::New => Ok(Some(mark)),
            Known::Same(entry) => {
                let (revision, duplicate) = (Revision(entry.message.counter), true);
                let answer = match told.starts_with(b"+") {
                    true => KvAnswer::Incremented { value: entry.sum, revision, duplicate },
                    false => KvAnswer::Written { revision, duplicate },
                };
                Err(Outcome::Answer(answer, need_of(entry.waits_for, entry.sequence)))
            }
            Known::Other(entry) => {
                let text = "the dedupe id was used for another write to this key";
                let need = need_of(entry.waits_for, entry.sequence);
                Err(Outcome::refused(Code::Conflict, text, need))
            }
            Known::Full(no_room) => Err(Outcome::Refused(no_room.refusal(), Need::NONE)),
        }
    }

    fn set_key(
        &mut self,
        turn: &mut Turn<'_>,
        ttl: Option<Duration>,
        condition: Condition,
        write: Write<'_>,
    ) -> Outcome {
        let (len, max) = (write.value.bytes.len() as u64, self.config.queue.max_message_bytes);
        if len > max {
            let text = format!("the value has {len} bytes, max_message_bytes is {max}");
            return Outcome::Refused((Code::TooLarge, text.into()), Need::NONE);
        }
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Outcome::refused(Code::Invalid, "the time to live is 1 ms or more", Need::NONE);
        }
        let live = self.living(turn, write.key);
        if let Some(refused) = self.unmet(live, condition) {
            return refused;
        }
        match self.put_key(turn, live, write) {
            Ok((revision, need)) => {
                Outcome::Answer(KvAnswer::Written { revision, duplicate: false }, need)
            }
            Err(refused) => refused,
        }
    }

    /// The refusal of a write whose condition does not hold.
    fn unmet(&self, live: Option<index::Known>, condition: Condition) -> Option<Outcome> {
        let conflict =
            |text: String, need| Some(Outcome::Refused((Code::Conflict, text.into()), need));
        match (condition, live) {
            (Condition::Always, _) | (Condition::Absent, None) => None,
            (Condition::Revision(wanted), Some(live)) if live.revision == wanted.0 => None,
            (Condition::Revision(_) | Condition::Absent, Some(live)) => {
                let text = format!("the key is there, its revision is {}", live.revision);
                conflict(text, self.key_need(live.sequence))
            }
            (Condition::Revision(_), None) => {
                conflict("the key is not there".to_owned(), self.absence_need())
            }
        }
    }

    fn delete_key(&mut self, turn: &mut Turn<'_>, key: &Key, condition: Condition) -> Outcome {
        if condition == Condition::Absent {
            let text = "a key that is not there can't be removed";
            return Outcome::refused(Code::Invalid, text, Need::NONE);
        }
        let live = self.living(turn, key);
        if live.is_none() {
            return self.no_such_key();
        }
        if let Some(refused) = self.unmet(live, condition) {
            return refused;
        }
        let (revision, sequence) = self.end_key(turn, key, false);
        let answer = KvAnswer::Written { revision: Revision(revision), duplicate: false };
        Outcome::Answer(answer, self.key_need(sequence))
    }

    fn increment_key(
        &mut self,
        turn: &mut Turn<'_>,
        key: &Key,
        by: i64,
        mark: Option<DedupeMark>,
    ) -> Outcome {
        let known = self.living(turn, key);
        let live = self.kv.store.find(key).cloned().filter(|_| known.is_some());
        let before = live.as_ref().map(|live| {
            let text = std::str::from_utf8(&live.value.bytes).ok();
            text.and_then(|text| text.parse::<i64>().ok())
        });
        let need = live.as_ref().map_or(Need::NONE, |live| self.key_need(live.sequence));
        let Some(sum) = before.unwrap_or(Some(0)).and_then(|number| number.checked_add(by)) else {
            let text = match before {
                Some(None) => "the value is no whole number of 64 bits",
                _ => "the sum is no number of 64 bits",
            };
            return Outcome::refused(Code::Invalid, text, need);
        };
        let kind = live.as_ref().map_or(ValueKind::Json, |live| live.value.kind);
        let expires_at = live.as_ref().map_or(Timestamp::EPOCH, |live| live.expires_at);
        let value = Value { kind, bytes: sum.to_string().into() };
        let write = Write { key, value: &value, expires_at, mark, sum: Some(sum) };
        match self.put_key(turn, known, write) {
            Ok((revision, need)) => {
                let duplicate = false;
                Outcome::Answer(KvAnswer::Incremented { value: sum, revision, duplicate }, need)
            }
            Err(refused) => refused,
        }
    }

    /// Gives a key a value, if there is room for it. `live` is what it is now, if it is there.
    fn put_key(
        &mut self,
        turn: &mut Turn<'_>,
        live: Option<index::Known>,
        write: Write<'_>,
    ) -> Result<(Revision, Need), Outcome> {
        let Write { key, value, expires_at, mark, sum } = write;
        let revision = self.kv.store.last() + 1;
        let before = live.map_or(0, |live| live.weight);
        let after = change::weight(key.as_bytes().len(), value.bytes.len()) as u64;
        // What makes them less is welcome at any time.
        if after > before && self.kv.store.bytes() - before + after > self.config.kv_bytes_max {
            let text = "keys and values take as many bytes as kv_bytes_max allows";
            return Err(Outcome::refused(Code::Overloaded, text, Need::NONE));
        }
        let mark = mark.map(|mark| KeyMark { mark, sum: sum.unwrap_or_default() });
        let record = Record::KeySet {
            revision,
            key: Cow::Borrowed(key.as_str()),
            kind: value.kind,
            value: Cow::Borrowed(&value.bytes),
            expires_at,
            dedupe: mark.as_ref().map(Cow::Borrowed),
        };
        let sequence = self.commit(turn.journal, &record).sequence;
        self.want_change(sequence);
        Ok((Revision(revision), self.key_need(sequence)))
    }

    /// Applies a record of a key.
    pub(crate) fn apply_to_key(&mut self, record: &Record<'_>, sequence: Sequence) {
        let (revision, key, what) = match record {
            Record::KeySet { revision, key, kind, value, expires_at, dedupe } => {
                if let Some(mark) = dedupe {
                    self.remember_write(mark, *revision, sequence);
                }
                let value = Value { kind: *kind, bytes: self.kv.store.keep(value) };
                (*revision, key, What::Put { value, expires_at: *expires_at })
            }
            Record::KeyGone { revision, key, expired } => {
                (*revision, key, if *expired { What::Expired } else { What::Deleted })
            }
            _ => return,
        };
        if revision <= self.kv.store.last() {
            return;
        }
        match &what {
            What::Put { expires_at: Timestamp::EPOCH, .. } => {}
            What::Put { expires_at, .. } => self.deadlines.insert(*expires_at, Due::Key(revision)),
            What::Deleted | What::Expired => self.kv.gone = sequence,
        }
        let before = self.kv.store.push(revision, key, what, sequence);
        if let Some(Live { revision, expires_at, .. }) = before
            && expires_at != Timestamp::EPOCH
        {
            self.deadlines.cancel(expires_at, Due::Key(revision));
        }
    }

    fn remember_write(&mut self, key_mark: &KeyMark, revision: u64, sequence: Sequence) {
        let KeyMark { mark, sum } = key_mark;
        let level = self.config.queue.level;
        let entry = Entry {
            id: mark.id,
            body: mark.body,
            until: mark.until,
            message: MessageId { start: 0, counter: revision },
            matched: 0,
            level,
            sequence,
            waits_for: level,
            sum: *sum,
        };
        self.remember_entry(&mark.scope, entry);
    }

    /// The refusal of what needs a key that is not there.
    pub(super) fn no_such_key(&self) -> Outcome {
        Outcome::refused(Code::NotFound, "there is no such key", self.absence_need())
    }
}

fn millis(ttl: Option<Duration>) -> [u8; 8] {
    let millis = ttl.map_or(0, |ttl| ttl.as_millis());
    u64::try_from(millis).unwrap_or(u64::MAX).to_le_bytes()
}

fn bytes_of(condition: Condition) -> [u8; 9] {
    let (kind, revision) = match condition {
        Condition::Always => (0, 0),
        Condition::Absent => (1, 0),
        Condition::Revision(revision) => (2, revision.0),
    };
    let mut bytes = [kind; 9];
    bytes[1..].copy_from_slice(&u64::to_le_bytes(revision));
    bytes
}
