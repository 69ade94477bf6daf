//! How much a start would have to replay, and what waits so that it stays bounded.
//!
//! ```text
//! 0 ......... 1/4 .............. 1/2 .............. 3/4 ............... replay_max
//!    any publish   those that fit     a checkpoint       publishes wait;
//!    is taken      are taken          is forced          all else goes on
//! ```
//!
//! The last quarter is for what must not wait: grants, settlements, deadlines, moves. A publish
//! waits in its session, which is woken when a checkpoint has made room. The first one to wait has
//! the disk looked at, and if checkpoints fail all are refused instead, so that nobody waits for a
//! disk that is full.
//!
//! Publishes also wait while segments are emptied more slowly than they are filled: then the
//! housekeeper allows so many bytes a step.

use std::collections::BTreeSet;

use sluice_model::SessionId;

/// Whether a publish may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Taken,
    /// Its session is woken when it may try again.
    Waits,
    /// No checkpoint can be written, so nobody knows when there will be room.
    Refused,
}

/// Distance from the newest checkpoint to the end of the log, in bytes of records.
#[derive(Debug)]
pub(crate) struct Replay {
    max: u64,
    /// What this start has replayed, until a checkpoint covers it.
    inherited: u64,
    /// Bytes that had been appended at the moment of the newest checkpoint.
    covered: u64,
    longest: u64,
    waits: u64,
    /// No publish past so many bytes appended: clearing segments is behind.
    allowed: Option<u64>,
    clearing_waits: u64,
    /// The last checkpoint failed.
    failing: bool,
    /// Somebody waits and the disk was not looked at since.
    unsure: bool,
    waiting: BTreeSet<SessionId>,
    woken: Vec<SessionId>,
    /// Were woken and have not run all that they had kept.
    resuming: BTreeSet<SessionId>,
}

impl Replay {
    /// A bound of `max` bytes after a start that replayed `inherited` of them.
    pub(crate) fn new(max: u64, inherited: u64) -> Self {
        Self {
            max,
            inherited,
            covered: 0,
            longest: inherited,
            waits: 0,
            allowed: None,
            clearing_waits: 0,
            failing: false,
            unsure: false,
            waiting: BTreeSet::new(),
            woken: Vec::new(),
            resuming: BTreeSet::new(),
        }
    }

    /// Bytes to replay when `appended` have been appended since the start.
    pub(crate) fn distance(&self, appended: u64) -> u64 {
        self.inherited + (appended - self.covered)
    }

    /// Whether the last checkpoint failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    /// The bound.
    pub(crate) fn bound(&self) -> u64 {
        self.max
    }

    /// Whether a session may publish `len` more bytes.
    pub(crate) fn admit(&mut self, session: SessionId, appended: u64, len: u64) -> Admission {
        let distance = self.distance(appended);
        let quarter = self.max / 4;
        let fits = distance <= quarter || distance + len <= 3 * quarter;
        if fits && self.allowed.is_none_or(|allowed| appended < allowed) {
            return Admission::Taken;
        }
        if fits {
            self.clearing_waits += u64::from(self.waiting.insert(session));
            return Admission::Waits;
        }
        if self.failing {
            return Admission::Refused;
        }
        if self.waiting.insert(session) {
            self.waits += 1;
            self.unsure = true;
        }
        Admission::Waits
    }

    /// Allows publishes until so many bytes are appended; all of them with none.
    pub(crate) fn allow(&mut self, allowed: Option<u64>) {
        self.allowed = allowed;
        self.wake_all();
    }

    /// Whether publishes wait for a checkpoint.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty() && self.allowed.is_none()
    }

    /// Whether somebody waits for whom the disk should be looked at.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure && !self.waiting.is_empty()
    }

    /// Whether the disk is to be looked at now, which is said once.
    pub(crate) fn take_unsure(&mut self) -> bool {
        !self.waiting.is_empty() & std::mem::take(&mut self.unsure)
    }

    /// Whether a checkpoint is needed whatever it costs.
    pub(crate) fn is_pressing(&self, appended: u64) -> bool {
        self.is_waited_for() || self.distance(appended) >= self.max / 2
    }

    /// How many bytes appended make a checkpoint pressing.
    pub(crate) fn pressing_at(&self) -> u64 {
        self.covered + (self.max / 2).saturating_sub(self.inherited)
    }

    /// Notes how far it is now.
    pub(crate) fn note(&mut self, appended: u64) {
        self.longest = self.longest.max(self.distance(appended));
    }

    /// A checkpoint was published that holds the first `appended` bytes.
    pub(crate) fn cover(&mut self, appended: u64) {
        self.inherited = 0;
        self.covered = appended;
        self.failing = false;
        self.wake_all();
    }

    /// A checkpoint failed.
    pub(crate) fn fail(&mut self) {
        self.failing = true;
        self.wake_all();
    }

    /// There is space again: the next checkpoint may be waited for.
    pub(crate) fn hope(&mut self) {
        self.failing = false;
    }

    /// Lets those who wait try again.
    pub(crate) fn wake_all(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.resuming.extend(&waiting);
        self.woken.extend(waiting);
    }

    /// A session has run all that it had kept. It is woken once more: publishes may leave no reply
    /// behind, and a door that kept requests reads on only after it was woken.
    pub(crate) fn resumed(&mut self, session: SessionId) {
        if self.resuming.remove(&session) {
            self.woken.push(session);
        }
    }

    /// A session is gone.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.waiting.remove(&session);
        self.resuming.remove(&session);
    }

    /// Takes the sessions that may try again.
    pub(crate) fn take_woken(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.woken)
    }

    /// The longest distance there was.
    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }

    /// How often a session had to wait for a checkpoint.
    pub(crate) fn waits(&self) -> u64 {
        self.waits
    }

    /// How often one had to wait for a segment to be cleared.
    pub(crate) fn clearing_waits(&self) -> u64 {
        self.clearing_waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn publishes_wait_in_the_last_quarter() {
        let cases = [
            (0,  90, Admission::Taken),
            (25, 90, Admission::Taken),
            (26, 90, Admission::Waits),
            (26, 49, Admission::Taken),
            (74, 2,  Admission::Waits),
            (99, 0,  Admission::Waits),
        ];
        for (appended, len, expected) in cases {
            let mut replay = Replay::new(100, 0);
            let admission = replay.admit(SessionId(1), appended, len);
            assert_eq!(admission, expected, "{appended} and {len}");
        }
    }

    #[test]
    fn publishes_go_as_far_as_clearing_allows() {
        let mut replay = Replay::new(100, 0);
        replay.allow(Some(10));
        assert_eq!(replay.admit(SessionId(1), 9, 5), Admission::Taken);
        assert_eq!(replay.admit(SessionId(1), 14, 5), Admission::Waits);
        assert!(!replay.is_pressing(14), "no checkpoint would help");
        assert_eq!(replay.take_woken(), []);
        replay.allow(Some(24));
        assert_eq!(replay.take_woken(), [SessionId(1)]);
        assert_eq!(replay.admit(SessionId(1), 14, 5), Admission::Taken);
        assert_eq!(replay.admit(SessionId(1), 74, 5), Admission::Waits);
        assert!(replay.is_pressing(74));
        replay.allow(None);
        assert_eq!(replay.take_woken(), [SessionId(1)]);
        assert_eq!((replay.waits(), replay.clearing_waits()), (1, 1));
    }

    #[test]
    fn a_checkpoint_wakes_those_who_wait_and_ends_what_was_inherited() {
        let mut replay = Replay::new(100, 80);
        assert_eq!(replay.admit(SessionId(1), 0, 10), Admission::Waits);
        assert!(replay.is_pressing(0));
        assert_eq!(replay.take_woken(), []);
        replay.cover(5);
        assert_eq!(replay.take_woken(), [SessionId(1)]);
        replay.resumed(SessionId(1));
        assert_eq!(replay.take_woken(), [SessionId(1)], "so that its door reads on");
        replay.resumed(SessionId(1));
        assert_eq!(replay.take_woken(), []);
        assert_eq!(replay.distance(5), 0);
        assert_eq!(replay.admit(SessionId(1), 5, 10), Admission::Taken);
        assert!(!replay.is_pressing(5));
    }

    #[test]
    fn nobody_waits_for_checkpoints_that_fail() {
        let mut replay = Replay::new(100, 0);
        assert_eq!(replay.admit(SessionId(1), 80, 1), Admission::Waits);
        replay.fail();
        assert_eq!(replay.take_woken(), [SessionId(1)]);
        assert_eq!(replay.admit(SessionId(1), 80, 1), Admission::Refused);
        replay.cover(80);
        assert_eq!(replay.admit(SessionId(1), 160, 1), Admission::Waits);
        replay.fail();
        replay.hope();
        assert_eq!(replay.admit(SessionId(1), 160, 1), Admission::Waits);
    }

    #[test]
    fn the_disk_is_looked_at_once_for_each_who_comes_to_wait() {
        let mut replay = Replay::new(100, 0);
        for session in [1, 2] {
            assert!(!replay.take_unsure());
            assert_eq!(replay.admit(SessionId(session), 80, 1), Admission::Waits);
            assert!(replay.take_unsure());
            assert_eq!(replay.admit(SessionId(session), 80, 1), Admission::Waits);
        }
        assert!(!replay.take_unsure());
        replay.wake_all();
        assert_eq!(replay.admit(SessionId(1), 80, 1), Admission::Waits);
        replay.forget(SessionId(1));
        assert!(!replay.take_unsure(), "nobody waits any more");
    }
}
