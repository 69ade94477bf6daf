//! Drives the socket of one client, of whichever version.
//!
//! ```text
//! read all there is -> decode it all -> one submit -> take replies -> one write -> wait
//! ```
//!
//! A submit may carry out a commit on this thread. Other tasks that it woke wait for this worker,
//! so the connection lets them run before it submits again.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::common::{Entrance, Io, Tally, Wants};
use super::door::Door;
use crate::auth::KeyHash;
use crate::doors::wire::Fill;
use crate::doors::{
    Arrived, Desk, Ended, Link, Notices, Serving, Shared, Visitor, Waiting, Wire, Woken,
};
use crate::requests::{DoorName, OpenConnection};

/// A broker that wakes a connection so often without a reply has failed: it is ready for ever.
const EMPTY_WAKES_MAX: usize = 64;
/// Reads of what a client had sent before it learns of a drain.
const LAST_READS_MAX: usize = 16;

struct Connection {
    shared: Arc<Shared>,
    wire: Wire,
    door: Door,
    visitor: Visitor,
    link: Link,
    notices: Notices,
    /// Why it ends once the client has settled what it holds.
    parting: Option<Ended>,
    /// Why it takes nothing more, once it doesn't.
    leaving: Option<Ended>,
    ready_by: Option<Instant>,
    leave_by: Option<Instant>,
    _open: OpenConnection,
}

/// Serves a client until one side ends it. What its wire has read already comes first.
///
/// All that an idle connection takes is what this returns, with what its session has come to hold:
/// what is large and rarely needed is on the heap while it is.
pub(crate) fn serve(arrived: Arrived) -> Serving {
    let Arrived { wire, peer, shared, ready_by, notices } = arrived;
    shared.counters.binary_connections.one();
    // The notice before the keys: if they are replaced in between, that is noticed.
    let visitor = Visitor::new(peer, &shared, notices.now());
    let mut connection = Connection {
        _open: shared.requests.connection(DoorName::Binary),
        wire,
        door: Door::new(Arc::clone(&shared.limits), visitor.is_anyone()),
        shared,
        visitor,
        link: Link::new(),
        notices,
        parting: None,
        leaving: None,
        ready_by,
        leave_by: None,
    };
    // Taken by reference: what is moved within a task has its place in it twice.
    Box::pin(async move {
        let ended = Ended::of(connection.talk().await);
        connection.count();
        let Connection { wire, link, .. } = connection;
        link.close(ended);
        wire.end(ended).await;
        ended
    })
}

impl Connection {
    async fn talk(&mut self) -> io::Result<Ended> {
        let (mut led, mut woken, mut empty_wakes) = (false, false, 0);
        loop {
            let notice = self.notices.now();
            if !self.visitor.is_welcome(notice, &mut self.link, &self.shared) {
                return Ok(Ended::Revoked);
            }
            if self.leaving.is_none() && self.parting.is_none() && notice.draining {
                Box::pin(self.drain()).await?;
            }
            let held_back = self.wire.has_requests();
            let wants_room = match self.decode() {
                Wants::Authenticate(key) => {
                    self.flush()?;
                    match Box::pin(self.authenticate(key)).await {
                        Some(ended) => return Ok(ended),
                        None => continue,
                    }
                }
                wants => wants == Wants::Room,
            };
            if self.wire.has_requests() {
                if std::mem::replace(&mut led, true) {
                    tokio::task::yield_now().await;
                }
                self.submit();
            }
            let all_taken = !self.wire.has_requests();
            let replies = self.collect();
            if std::mem::take(&mut woken) && replies == 0 {
                empty_wakes += 1;
            } else if replies > 0 {
                empty_wakes = 0;
            }
            if empty_wakes > EMPTY_WAKES_MAX {
                return Ok(Ended::BrokerFailed);
            }
            let sent = self.flush()?;
            self.count();
            if self.is_done() {
                return Ok(self.leaving.unwrap_or(Ended::Refused));
            }
            let no_room = !all_taken || wants_room && !held_back;
            // What was held back is taken now, perhaps without a reply that would wake us: what
            // came after it has not been looked at yet.
            if held_back && all_taken || sent && no_room {
                continue;
            }
            // Replies made new requests, or what was sent did.
            if all_taken && (self.wire.has_requests() || self.ask()) {
                continue;
            }
            // Nothing else would tell the broker that there is room for what somebody waits for.
            if all_taken && self.link.has_untold() && self.door.awaits() {
                self.submit();
                continue;
            }
            self.wire.release(&self.shared.pool);
            let (woken_by, waited) = self.wait(!no_room).await;
            led &= !waited;
            match woken_by? {
                Woken::Readable => self.read().await?,
                Woken::Time if self.is_overdue() => return Ok(self.timed_out()),
                Woken::Time => self.resume(),
                Woken::Writable | Woken::News => {}
                Woken::Replies => woken = true,
            }
        }
    }

    /// Finds out whose key this is, or why the connection ends before that is known.
    async fn authenticate(&mut self, key: KeyHash) -> Option<Ended> {
        let Self { visitor, shared, notices, ready_by, .. } = self;
        let answer = match visitor.show(key, shared, notices, *ready_by).await {
            Ok(answer) => answer,
            Err(ended) => return Some(ended),
        };
        let mut io = Io::at(self.wire.desk());
        self.door.authenticated(answer, &mut io);
        None
    }

    fn decode(&mut self) -> Wants {
        if self.wire.has_requests() {
            return Wants::Room;
        }
        self.door.set_now(|| self.shared.broker.now());
        let Shared { intake, counters, .. } = &*self.shared;
        let client = || self.visitor.counted();
        let entrance = intake.is_limited().then(|| Entrance { intake, client: client(), counters });
        let Desk { input, output, requests, .. } = self.wire.desk();
        let wants = self.door.receive(input, &mut Io { requests, output, entrance });
        if self.door.is_ready() {
            self.ready_by = None;
        }
        let understood = matches!(wants, Wants::Bytes | Wants::Nothing);
        if understood
            && let Some(why) = self.parting
            && !self.door.holds()
        {
            self.leave(why);
        }
        if understood && (self.leaving.is_some() || self.door.is_over()) {
            self.door.finish(&mut self.wire.desk().requests);
            self.leave(self.leaving.unwrap_or(Ended::Refused));
        }
        wants
    }

    /// Takes nothing more from the client, and doesn't wait for ever for the last replies.
    fn leave(&mut self, why: Ended) {
        self.leaving = Some(why);
        let patience = self.shared.config.drain_timeout;
        self.leave_by.get_or_insert_with(|| Instant::now() + patience);
    }

    fn submit(&mut self) {
        let Self { link, visitor, shared, wire, .. } = self;
        link.submit(wire.desk(), visitor, shared);
    }

    /// Takes the replies that may leave, and returns how many there were.
    fn collect(&mut self) -> usize {
        let Self { link, door, shared, wire, .. } = self;
        link.collect(|replies| {
            door.set_now(|| shared.broker.now());
            door.reply(replies, &mut Io::at(wire.desk()));
        })
    }

    /// Sends what the socket takes and gives back the room of what was sent; whether any was.
    fn flush(&mut self) -> io::Result<bool> {
        let flushed = self.wire.flush();
        // What has left counts as delivered, even if the connection broke behind it.
        let sent = self.link.note_sent(&mut self.wire.desk().output);
        Ok(flushed? || sent)
    }

    fn is_done(&self) -> bool {
        self.door.is_over()
            && self.door.is_quiet()
            && !self.wire.has_requests()
            && self.wire.unsent() == 0
    }

    /// Waits for what comes next; reads only if there is `room` for what that brings.
    fn wait(&mut self, room: bool) -> impl Future<Output = (io::Result<Woken>, bool)> {
        let reads = room && self.leaving.is_none() && !self.door.is_over();
        let drain = self.leaving.is_none() && self.parting.is_none();
        let until = [self.deadline(), self.resume_at()].into_iter().flatten().min();
        let waiting = Waiting::new(reads, self.visitor.keys_seen(), drain, until);
        waiting.wait(&self.wire, &mut self.link, &mut self.notices)
    }

    /// When consumers that are paused are to be asked for again.
    fn resume_at(&self) -> Option<Instant> {
        let at = self.door.resume_at()?;
        Instant::now().checked_add(at.since(self.shared.broker.now()))
    }

    fn resume(&mut self) {
        self.door.set_now(|| self.shared.broker.now());
        let mut io = Io::at(self.wire.desk());
        self.door.resume(&mut io);
    }

    fn deadline(&self) -> Option<Instant> {
        [self.ready_by, self.write_by(), self.leave_by].into_iter().flatten().min()
    }

    fn is_overdue(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    fn write_by(&self) -> Option<Instant> {
        self.wire.stalled_since().map(|since| since + self.shared.config.write_timeout)
    }

    fn timed_out(&self) -> Ended {
        let now = Instant::now();
        let past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if past(self.write_by()) {
            self.shared.counters.write_timeouts.one();
            return Ended::WriteTimeout;
        }
        if past(self.ready_by) {
            self.shared.counters.first_frame_timeouts.one();
            return Ended::FirstFrameTimeout;
        }
        self.leaving.or(self.parting).unwrap_or(Ended::Refused)
    }

    async fn read(&mut self) -> io::Result<()> {
        let early = !self.door.is_ready();
        if self.wire.fill(&self.shared.pool, early).await? == Fill::End {
            self.leave(Ended::ByClient);
        }
        Ok(())
    }

    /// Asks for what may be pushed, now that there may be room for it.
    fn ask(&mut self) -> bool {
        let mut io = Io::at(self.wire.desk());
        self.door.ask(&mut io)
    }

    /// Begins to leave: what was sent before is still answered, new work by a refusal. A client
    /// that holds deliveries, and can be told, gets the time to settle them.
    async fn drain(&mut self) -> io::Result<()> {
        let mut idle = self.door.is_quiet() && self.wire.unsent() == 0;
        for _ in 0..LAST_READS_MAX {
            let early = !self.door.is_ready();
            if self.wire.fill(&self.shared.pool, early).await? != Fill::Bytes {
                break;
            }
            idle = false;
        }
        let mut io = Io::at(self.wire.desk());
        self.door.drain(&mut io);
        if self.door.holds() {
            self.parting = Some(Ended::Drained { idle: false });
            let patience = self.shared.config.drain_timeout;
            self.leave_by.get_or_insert_with(|| Instant::now() + patience);
        } else {
            self.leave(Ended::Drained { idle });
        }
        Ok(())
    }

    fn count(&mut self) {
        let Tally { frames, refusals, refused, decode_errors, early_frames } =
            self.door.take_tally();
        self.shared.requests.add(DoorName::Binary, frames.into(), refused);
        let counters = &self.shared.counters;
        counters.frames.add(frames.into());
        counters.refusals.add(refusals.into());
        counters.decode_errors.add(decode_errors.into());
        counters.rejected_early_frame.add(early_frames.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::binary::v2;

    #[test]
    fn what_an_idle_connection_holds_stays_small() {
        assert!(size_of::<Connection>() <= 256, "{}", size_of::<Connection>());
        assert!(size_of::<v2::Session>() <= 256, "{}", size_of::<v2::Session>());
    }
}
