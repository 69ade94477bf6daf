//! Room on the disk: who is refused when it runs out, so that those go on who make room again.
//!
//! What counts is the runway, the bytes that the log can go on whatever happens to the disk: the
//! rest of its segment, the one that is prepared, and those of the reserve.
//!
//! ```text
//!   runway   0 ....... 1/16 ............ 1/2 ............... all ............
//!            nothing   settlements       deliveries          publishes
//!            but marks go on             go on               go on
//!                      '------- of the settlements' part, above that of moves ---
//! ```
//!
//! Long before that, when little is free on the disk, the broker enters a mode in which publishes
//! are refused; it ends when there is space again and all of the reserve is set aside. The disk is
//! looked at every now and then, and at once for a publish that has to wait.

use std::time::Duration;

use sluice_engine::Engine;
use sluice_model::{
    Code, Command, KvRequest, LimitRequest, Message, Qos, QueueRequest, Receive, Refusal,
    SessionId, Source, Subscribe, Timestamp,
};
use sluice_wal::{ReserveStatus, Space};

use crate::Stats;

/// When somebody who was refused may try again: the mode ends within this time of space returning.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What a message may need in the log beside its payload: its head, and a frame's.
const AROUND: u64 = 1 << 10;
/// The same for each further message of a block, which has no lane and no dedupe id.
const AROUND_EACH: u64 = 1 << 9;
/// Where settlements end, as a part of theirs: what comes without being asked for needs the rest.
const SETTLEMENTS_END: u64 = 16;
/// Where deadlines are put off.
const DEADLINES_END: u64 = 32;

/// What a command asks of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Hands in so many bytes, of which a publish at most once has none for the log.
    Publish(Option<u64>),
    /// Makes a queue.
    Make,
    /// Hands over messages.
    Deliver,
    /// Settles, or removes.
    Settle,
    /// Nothing is written.
    Nothing,
}

impl Demand {
    pub(crate) fn of(session: SessionId, command: &Command, engine: &Engine) -> Self {
        let len = |message: &Message| message.payload.len() as u64;
        match command {
            Command::Publish(publish) => {
                Self::Publish((publish.qos != Qos::AtMostOnce).then(|| len(&publish.message)))
            }
            Command::PublishBatch(batch) => {
                Self::Publish(Some(batch.messages.iter().map(|(_, message)| len(message)).sum()))
            }
            Command::PublishBlock(block) => {
                let bytes = block.messages.payload_bytes() as u64;
                let around = u64::from(block.messages.count()) * AROUND_EACH;
                Self::Publish((block.qos != Qos::AtMostOnce).then_some(bytes + around))
            }
            Command::Subscribe(Subscribe { qos: Qos::AtMostOnce, .. }) => Self::Nothing,
            Command::Subscribe(subscribe) if engine.would_make(session, subscribe) => Self::Make,
            Command::Queue(request) => match &**request {
                QueueRequest::Declare { name, .. } if !engine.has_queue(name) => Self::Make,
                QueueRequest::Redrive { .. } => Self::Deliver,
                QueueRequest::List { .. }
                | QueueRequest::Stats { .. }
                | QueueRequest::Browse { .. }
                | QueueRequest::Peek { .. } => Self::Nothing,
                QueueRequest::Declare { .. }
                | QueueRequest::Delete { .. }
                | QueueRequest::Purge { .. }
                | QueueRequest::Remove { .. }
                | QueueRequest::Cancel { .. }
                | QueueRequest::Reschedule { .. } => Self::Settle,
            },
            Command::Limit(request) => match &**request {
                LimitRequest::Put(_) => Self::Make,
                LimitRequest::Delete { .. }
                | LimitRequest::Pause { .. }
                | LimitRequest::Resume { .. }
                | LimitRequest::Weigh { .. } => Self::Settle,
                LimitRequest::List { .. }
                | LimitRequest::TopKeys { .. }
                | LimitRequest::Explain { .. } => Self::Nothing,
            },
            Command::Kv(request) => Self::of_keys(request),
            // Changes come from memory.
            Command::Receive(Receive { from: Source::Watch(_), .. }) => Self::Nothing,
            Command::Receive(_) => Self::Deliver,
            Command::Subscribe(_)
            | Command::Unsubscribe { .. }
            | Command::Ack { .. }
            | Command::Nack { .. }
            | Command::Extend { .. }
            | Command::SettleMany(_) => Self::Settle,
            Command::Withdraw { .. } | Command::Fence | Command::Refused(_) => Self::Nothing,
        }
    }

    fn of_keys(request: &KvRequest) -> Self {
        match request {
            KvRequest::Set { value, .. } => Self::Publish(Some(value.bytes.len() as u64)),
            KvRequest::Increment { .. } => Self::Publish(Some(0)),
            KvRequest::Delete { .. } => Self::Settle,
            // What reading writes, that a key has expired, is less than a deadline brings.
            KvRequest::Get { .. }
            | KvRequest::Exists { .. }
            | KvRequest::Scan { .. }
            | KvRequest::Watch { .. }
            | KvRequest::Unwatch { .. } => Self::Nothing,
        }
    }
}

/// What became of the mode in which publishes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    Begun,
    Ended,
}

/// What is known of the room on the disk.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Below so many free bytes, or an eighth of the disk, it is low.
    disk_low: u64,
    /// None where the disk has no bound.
    space: Option<Space>,
    reserve: ReserveStatus,
    low_since: Option<Timestamp>,
    /// Bytes that may still be moved while it is low.
    moves_left: u64,
    times: u64,
    refused: u64,
    refused_before: u64,
}

impl Room {
    pub(crate) fn new(disk_low: u64) -> Self {
        Self { disk_low, ..Self::default() }
    }

    /// Whether the log takes what a command asks of it.
    pub(crate) fn admit(&mut self, demand: Demand, runway: u64) -> Result<(), Refusal> {
        if self.space.is_none() {
            return Ok(());
        }
        let (low, settlements) = (self.low_since.is_some(), self.reserve.settlements);
        let needed = match demand {
            Demand::Publish(_) | Demand::Make if low => {
                return Err(self.refuse(Code::NoSpace, "the disk has too little free space"));
            }
            // What does not fit the rest of a segment leaves that unused.
            Demand::Publish(bytes) => settlements + 2 * (bytes.unwrap_or_default() + AROUND),
            Demand::Make => settlements + 2 * AROUND,
            Demand::Deliver => settlements / 2,
            Demand::Settle => settlements / SETTLEMENTS_END,
            Demand::Nothing => return Ok(()),
        };
        if runway >= self.moves_left.saturating_add(needed) {
            return Ok(());
        }
        Err(match low {
            true => self.refuse(Code::NoSpace, "the space set aside for a full disk is used up"),
            false => self.refuse(Code::Overloaded, "too many bytes wait for space in the log"),
        })
    }

    fn refuse(&mut self, code: Code, text: &'static str) -> Refusal {
        self.refused += 1;
        Refusal { retry_after: Some(RETRY_AFTER), ..Refusal::new(code, text) }
    }

    /// Whether messages may be handed to those who wait for them.
    pub(crate) fn delivers(&self, runway: u64) -> bool {
        self.space.is_none() || runway >= self.moves_left + self.reserve.settlements / 2
    }

    /// Whether there is room for what deadlines bring.
    pub(crate) fn fires(&self, runway: u64) -> bool {
        let settlements = self.reserve.settlements / DEADLINES_END;
        self.space.is_none() || runway >= self.moves_left + settlements
    }

    /// Whether bodies may be moved: while the disk is low, only as many as fit their part.
    pub(crate) fn moves(&self) -> bool {
        self.low_since.is_none() || self.moves_left > 0
    }

    pub(crate) fn moved(&mut self, bytes: u64) {
        if self.low_since.is_some() {
            self.moves_left = self.moves_left.saturating_sub(bytes);
        }
    }

    pub(crate) fn is_low(&self) -> bool {
        self.low_since.is_some()
    }

    /// Notes what the disk has. True if that begins the mode; only [`Room::seen`] ends it.
    pub(crate) fn looked(&mut self, now: Timestamp, space: Option<Space>) -> bool {
        self.space = space;
        let low = space.is_some_and(|Space { total, free }| free < self.disk_low.min(total / 8));
        low && !self.is_low() && self.begin(now)
    }

    /// Notes what the disk has, and whether all of the reserve is there. Says whether that begins
    /// or ends the mode.
    pub(crate) fn seen(
        &mut self,
        now: Timestamp,
        space: Option<Space>,
        whole: bool,
        reserve: ReserveStatus,
    ) -> Option<Shift> {
        (self.space, self.reserve) = (space, reserve);
        let space = space?;
        let enough = space.free >= space.low_mark(self.disk_low) && whole;
        match self.low_since {
            None if enough => {
                self.moves_left = reserve.moves;
                None
            }
            None => self.begin(now).then_some(Shift::Begun),
            Some(since) if enough => {
                self.end(now.since(since));
                Some(Shift::Ended)
            }
            Some(_) => None,
        }
    }

    /// Notes that something found no space. True if that begins the mode.
    pub(crate) fn full(&mut self, now: Timestamp, reserve: ReserveStatus) -> bool {
        self.reserve = reserve;
        let Some(space) = &mut self.space else { return false };
        space.free = 0;
        !self.is_low() && self.begin(now)
    }

    fn begin(&mut self, now: Timestamp) -> bool {
        self.low_since = Some(now);
        self.times += 1;
        self.moves_left = self.reserve.moves;
        self.refused_before = self.refused;
        let Space { total, free } = self.space.unwrap_or_default();
        let disk_low = self.disk_low.min(total / 8);
        let ReserveStatus { held, planned, .. } = self.reserve;
        tracing::warn!(
            free,
            disk_low,
            reserve = held,
            reserve_planned = planned,
            "the disk is low, publishes are refused"
        );
        true
    }

    fn end(&mut self, lasted: Duration) {
        self.low_since = None;
        self.moves_left = self.reserve.moves;
        let free = self.space.map_or(0, |space| space.free);
        let refused = self.refused - self.refused_before;
        let lasted_ms = lasted.as_millis() as u64;
        tracing::info!(free, lasted_ms, refused, "the disk has space again, publishes are taken");
    }

    /// Adds what it knows.
    pub(crate) fn tell(&self, runway: u64, stats: &mut Stats) {
        stats.disk_free = self.space.map_or(0, |space| space.free);
        stats.disk_is_low = self.is_low();
        stats.disk_low_times = self.times;
        stats.refused_space = self.refused;
        stats.reserve_bytes = self.reserve.held;
        let runway = runway.saturating_sub(self.moves_left);
        stats.settlements_left = runway.min(self.reserve.settlements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: ReserveStatus =
        ReserveStatus { held: 900, planned: 900, settlements: 320, moves: 100 };

    fn room() -> Room {
        let mut room = Room::new(1_000);
        let space = Some(Space { total: 4_000, free: 500 });
        assert_eq!(room.seen(Timestamp::EPOCH, space, true, RESERVE), None);
        room
    }

    #[test]
    fn the_disk_is_low_below_an_eighth_of_it_and_until_the_reserve_is_whole() {
        let mut room = room();
        let mut seen = |free, whole| {
            let space = Some(Space { total: 4_000, free });
            let shift = room.seen(Timestamp::EPOCH, space, whole, RESERVE);
            (shift, room.is_low())
        };
        assert_eq!(seen(499, true), (Some(Shift::Begun), true));
        assert_eq!(seen(499, true), (None, true));
        assert_eq!(seen(500, false), (None, true));
        assert_eq!(seen(500, true), (Some(Shift::Ended), false));
        assert_eq!(seen(4_000, false), (Some(Shift::Begun), true));
        assert_eq!(room.times, 2);
    }

    #[test]
    fn a_look_begins_the_mode_and_does_not_end_it() {
        let mut room = room();
        let mut looked = |free| {
            let space = Some(Space { total: 4_000, free });
            (room.looked(Timestamp::EPOCH, space), room.is_low())
        };
        assert_eq!(looked(500), (false, false));
        assert_eq!(looked(499), (true, true));
        assert_eq!(looked(499), (false, true));
        assert_eq!(looked(4_000), (false, true));
    }

    #[test]
    #[rustfmt::skip]
    fn who_makes_room_goes_on_longest() {
        let cases = [
            // Runway, and whether it is taken from: publishes, deliveries, settlements.
            (100 + 320 + 2 * AROUND + 20, [true,  true,  true ]),
            (100 + 320 + 2 * AROUND + 19, [false, true,  true ]),
            (100 + 160,                   [false, true,  true ]),
            (100 + 159,                   [false, false, true ]),
            (100 + 20,                    [false, false, true ]),
            (100 + 19,                    [false, false, false]),
        ];
        let demands = [Demand::Publish(Some(10)), Demand::Deliver, Demand::Settle];
        for (runway, expected) in cases {
            let mut room = room();
            let taken = demands.map(|demand| room.admit(demand, runway).is_ok());
            assert_eq!(taken, expected, "{runway}");
            assert!(room.full(Timestamp::EPOCH, RESERVE));
            let taken = demands.map(|demand| room.admit(demand, runway).is_ok());
            assert_eq!(taken, [false, expected[1], expected[2]], "{runway}, low");
        }
        let refusal = room().admit(Demand::Settle, 0).unwrap_err();
        assert!(refusal.retry_after.is_some());
    }

    #[test]
    fn moves_end_with_their_part_and_leave_that_of_settlements() {
        let mut room = room();
        room.full(Timestamp::EPOCH, RESERVE);
        assert!(room.admit(Demand::Settle, 119).is_err());
        room.moved(99);
        assert!(room.moves());
        room.moved(50);
        assert!(!room.moves());
        assert!(room.admit(Demand::Settle, 20).is_ok());
    }

    #[test]
    fn a_disk_without_a_bound_refuses_nobody() {
        let mut room = Room::new(1_000);
        assert_eq!(room.seen(Timestamp::EPOCH, None, true, ReserveStatus::default()), None);
        assert!(!room.looked(Timestamp::EPOCH, None));
        assert!(!room.full(Timestamp::EPOCH, ReserveStatus::default()));
        assert!(room.admit(Demand::Publish(Some(10)), 0).is_ok());
        assert!(room.delivers(0) && room.fires(0) && room.moves());
    }
}
