//! What is asked of changes of keys: a watch that lives as long as one CONTROL waits. Where to go on
//! is the client's to say, so nothing is lost with a connection.
//!
//! ```text
//! CONTROL kv.changes --> watch --WATCHING--> receive that waits --changes, or time--> RESULT
//!                                                                       '--> end of the watch
//! ```

use std::collections::{BTreeMap, VecDeque};

use sluice_model::{Answer, Code, Command, KvAnswer, KvRequest, Receive, Request, Source, WatchId};
use sluice_protocol::json::{self, ChangesWanted, KeyChanges};

use super::answers::Local;
use super::pending::{Kind, POLL_TAGS};
use super::session::Session;
use crate::doors::binary::common::Io;

/// Most of them of one connection that wait.
const POLLS_MAX: usize = 1_024;

/// The requests for changes that were not answered yet.
#[derive(Debug, Default)]
pub(super) struct Polls {
    /// Whose watch is not there yet, oldest first.
    begun: VecDeque<ChangesWanted>,
    /// Those that wait, by their tags.
    waiting: BTreeMap<u64, Poll>,
    last: u64,
}

/// One that waits.
#[derive(Clone, Copy, Debug)]
struct Poll {
    /// Of its CONTROL.
    id: u64,
    watch: WatchId,
    /// Where to go on if nothing comes.
    next: u64,
}

impl Polls {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = u64> {
        self.waiting.keys().copied()
    }
}

impl Session {
    /// Changes of keys are asked for.
    pub(super) fn poll(&mut self, id: u64, body: &str, io: &mut Io<'_>) {
        let wanted = match json::kv_changes(body.as_bytes()) {
            Ok(wanted) => wanted,
            Err(refusal) => return self.answer(id, Local::Refused(refusal), io),
        };
        if self.receiving.polls.begun.len() + self.receiving.polls.waiting.len() >= POLLS_MAX {
            let text = format!("at most {POLLS_MAX} requests for changes of a connection wait");
            return self.refuse(id, Code::RateLimited, text, io);
        }
        let request = KvRequest::Watch { keys: wanted.keys.clone(), from: wanted.from };
        self.receiving.polls.begun.push_back(wanted);
        self.push(io.requests, id, Kind::Poll, Command::Kv(request));
    }

    /// The watch is there, or refused.
    pub(super) fn begin_poll(&mut self, id: u64, answer: Answer, io: &mut Io<'_>) {
        let Some(ChangesWanted { from, max, wait, .. }) = self.receiving.polls.begun.pop_front()
        else {
            return;
        };
        let answer = match answer {
            Answer::Kv(answer) => answer,
            Answer::Refused(refusal) => return self.write_error(id, &refusal, io.output),
            _ => return debug_assert!(false, "an answer to another kind of request"),
        };
        let KvAnswer::Watching { watch, revision } = answer else { return };
        let next = from.map_or(0, |from| from.0).max(revision.0 + 1);
        self.receiving.polls.last += 1;
        let tag = POLL_TAGS + self.receiving.polls.last;
        self.receiving.polls.waiting.insert(tag, Poll { id, watch, next });
        let wait = wait.filter(|_| !self.draining);
        let receive = Receive { max, wait, ..Receive::one(Source::Watch(watch)) };
        io.requests.push_back(Request { tag, command: Command::Receive(receive) });
    }

    /// Changes came, or none in time.
    pub(super) fn polled(&mut self, tag: u64, answer: Answer, io: &mut Io<'_>) {
        let Some(Poll { id, watch, next }) = self.receiving.polls.waiting.remove(&tag) else {
            return;
        };
        let events = match &answer {
            Answer::Changes { events, .. } => Ok(&**events),
            Answer::Empty { .. } => Ok(&[][..]),
            Answer::Refused(refusal) => Err(refusal),
            _ => {
                debug_assert!(false, "an answer to another kind of request");
                Ok(&[][..])
            }
        };
        match events {
            Ok(events) => {
                self.result_text(id, &KeyChanges::new(events, next).to_text(), io.output);
            }
            Err(refusal) => self.write_error(id, refusal, io.output),
        }
        let unwatch = Command::Kv(KvRequest::Unwatch { watch });
        self.push(io.requests, 0, Kind::Own { silent: false }, unwatch);
    }
}
