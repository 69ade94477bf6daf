//! Keys and values: a store whose every change has a number, and those who watch it.
//!
//! A write is decided into a record and applied at once; what it answers, and whatever is read of
//! it, waits for the record. Watches are told of a change when it is at its level.
//!
//! ```text
//! Set, Delete, Increment --record--> Store --level reached--> Watches --> receives that wait
//! Get, Exists, Scan  <--need of what is shown--'   '--expiry, by deadline or by who looks
//! ```

mod change;
mod chunk;
mod imaging;
mod index;
mod read;
mod store;
mod values;
mod watch;
mod watches;
mod write;

use sluice_model::{Answer, Code, Key, KvAnswer, KvRequest, Reply, SessionId};

use crate::engine::{Engine, Ran, Refused, Turn, need_of};
use crate::journal::{Need, Sequence};
use crate::random::Random;
use crate::record::Record;

pub(crate) use change::{Change, What};
pub(crate) use chunk::Chunk;
use index::Known;
use store::Store;
use watches::Watches;

/// All about keys and values.
#[derive(Debug)]
pub(crate) struct Kv {
    pub(crate) store: Store,
    pub(crate) watches: Watches,
    /// The last record by which a key went: what says that a key is not there waits for it.
    gone: Sequence,
}

impl Kv {
    pub(crate) fn new(random: &Random) -> Self {
        Self { store: Store::new(random), watches: Watches::new(random), gone: 0 }
    }

    /// Checks what must hold between any two calls, and panics where it does not.
    pub(crate) fn check(&self) {
        self.store.check();
        self.watches.check();
    }
}

/// What a request came to, and what that depends on; or why it had no effect, likewise.
pub(crate) enum Outcome {
    Answer(KvAnswer, Need),
    Refused(Refused, Need),
    /// There is no room for the answer.
    NoRoom,
}

impl Outcome {
    fn refused(code: Code, text: &'static str, need: Need) -> Self {
        Self::Refused((code, text.into()), need)
    }
}

impl Engine {
    /// Runs a request about keys and values.
    pub(crate) fn kv_request(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        tag: u64,
        request: &KvRequest,
    ) -> Ran {
        let outcome = match request {
            KvRequest::Set { .. } | KvRequest::Delete { .. } | KvRequest::Increment { .. } => {
                self.kv_write(turn, session, request)
            }
            KvRequest::Get { key } => self.kv_look(turn, session, key, true),
            KvRequest::Exists { key } => self.kv_look(turn, session, key, false),
            KvRequest::Scan { keys, after, limit, values } => {
                self.kv_scan(turn, session, (keys, after.as_ref()), *limit, *values)
            }
            KvRequest::Watch { keys, from } => self.begin_watch(session, keys, *from),
            KvRequest::Unwatch { watch } => self.end_watch(turn, session, *watch),
        };
        match outcome {
            Outcome::Answer(answer, need) => {
                let answer = Answer::Kv(answer);
                self.reply(turn.effects, session, tag, answer, need);
            }
            Outcome::Refused(refused, need) => {
                self.refuse_after(turn.effects, session, tag, refused, need);
            }
            Outcome::NoRoom => return Ran::NoRoom,
        }
        Ran::Done
    }

    /// What an answer waits for that shows what this record did to a key.
    fn key_need(&self, sequence: Sequence) -> Need {
        need_of(self.config.queue.level, sequence)
    }

    /// What an answer waits for that says that a key is not there.
    fn absence_need(&self) -> Need {
        self.key_need(self.kv.gone)
    }

    /// What is known of a key's last change, if it is there. One whose time is over is ended first:
    /// nobody sees it from then on, and who was shown that waits for the record.
    fn living(&mut self, turn: &mut Turn<'_>, key: &Key) -> Option<Known> {
        let live = self.kv.store.find(key)?;
        if live.has_expired(turn.now) {
            self.end_key(turn, key, true);
            return None;
        }
        Some(live.known(key))
    }

    /// Writes that a key is gone. Gives the number of the change and its record.
    fn end_key(&mut self, turn: &mut Turn<'_>, key: &Key, expired: bool) -> (u64, Sequence) {
        let revision = self.kv.store.last() + 1;
        let record = Record::KeyGone { revision, key: key.as_str().into(), expired };
        let sequence = self.commit(turn.journal, &record).sequence;
        self.want_change(sequence);
        (revision, sequence)
    }

    /// Sees to it that a change reaches those who watch, whether somebody waits for its answer or not.
    fn want_change(&mut self, sequence: Sequence) {
        if !self.kv.watches.is_empty() {
            let need = self.key_need(sequence);
            self.wanted.cover(need);
        }
    }

    /// The time of a key may be over.
    pub(crate) fn key_is_due(&mut self, turn: &mut Turn<'_>, revision: u64) {
        if let Some(change) = self.kv.store.live_at(revision) {
            let key = change.key.clone();
            self.living(turn, &key);
        }
    }

    /// Whether a session takes an answer that weighs so much more than the least one.
    fn takes(&self, session: SessionId, weight: usize) -> bool {
        self.has_room(session, weight)
    }

    /// So much more than the least answer a session takes now; without a bound where nothing is on its way.
    fn taken(&self, session: SessionId) -> usize {
        let out =
            self.sessions.get(&session).map_or(0, |state| state.out.saturating_sub(state.reserved));
        self.config.session_out_max.saturating_sub(out + Reply::WEIGHT_MIN)
    }

    /// Keys that are there.
    pub fn keys(&self) -> u64 {
        self.kv.store.len()
    }

    /// Bytes of keys with their values.
    pub fn key_bytes(&self) -> u64 {
        self.kv.store.bytes()
    }

    /// The number of the last change of a key.
    pub fn key_revision(&self) -> u64 {
        self.kv.store.last()
    }

    /// Changes of keys that are remembered for watches, and their bytes.
    pub fn watch_history(&self) -> (u64, u64) {
        self.kv.store.history()
    }

    /// Watches of keys.
    pub fn watches(&self) -> usize {
        self.kv.watches.len()
    }
}
