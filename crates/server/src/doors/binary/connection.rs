//! Drives the socket of one client, of whichever version.
//!
//! ```text
//! read all there is -> decode it all -> one submit -> take replies -> one write -> wait
//! ```
//!
//! A submit may carry out a commit on this thread. Other tasks that it woke wait for this worker,
//! so the connection lets them run before it submits again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use sluice_model::Request;
use tokio::time::Instant;
use tracing::debug;

use super::common::{Entrance, Io, Limits, Tally, Wants};
use super::door::Door;
use super::v2;
use crate::auth::KeyHash;
use crate::doors::wire::{Fill, noting_wait, until};
use crate::doors::{Ended, Link, Notices, Peer, Shared, Visitor, Wire};
use crate::requests::DoorName;

/// Requests that an idle connection keeps room for.
const KEPT_MAX: usize = 64;
/// A broker that wakes a connection so often without a reply has failed: it is ready for ever.
const EMPTY_WAKES_MAX: usize = 64;
/// Reads of what a client had sent before it learns of a drain.
const LAST_READS_MAX: usize = 16;

/// What a connection waited for.
enum Event {
    Readable,
    Replies,
    Writable,
    News,
    Resume,
    Timeout,
}

struct Connection<'a> {
    shared: &'a Shared,
    wire: Wire,
    door: Door,
    visitor: Visitor,
    link: Link,
    requests: VecDeque<Request>,
    notices: Notices,
    /// Why it ends once the client has settled what it holds.
    parting: Option<Ended>,
    /// Why it takes nothing more, once it doesn't.
    leaving: Option<Ended>,
    ready_by: Option<Instant>,
    leave_by: Option<Instant>,
}

/// Serves a client until one side ends it. What `wire` has read already comes first.
pub(crate) async fn serve(
    wire: Wire,
    peer: Peer,
    shared: &Shared,
    ready_by: Option<Instant>,
    notices: Notices,
) -> Ended {
    let config = &shared.config;
    let limits = Limits {
        frame_max: config.frame_max,
        message_max: config.max_message_bytes,
        in_flight_max: config.max_in_flight,
        out_max: config.out_max_bytes,
    };
    let v2 = v2::Limits {
        frame_max: config.frame_max,
        message_max: config.max_message_bytes,
        batch_max: config.batch_max,
        in_flight_max: config.max_in_flight,
        out_max: config.out_max_bytes,
    };
    // The notice before the keys: if they are replaced in between, that is noticed.
    let visitor = Visitor::new(peer, shared, notices.now());
    let mut connection = Connection {
        shared,
        wire,
        door: Door::new(limits, v2, visitor.is_anyone()),
        visitor,
        link: Link::new(),
        requests: VecDeque::new(),
        notices,
        parting: None,
        leaving: None,
        ready_by,
        leave_by: None,
    };
    let ended = connection.talk().await.unwrap_or_else(|error| {
        debug!(fault = "client", %error, "connection broke");
        Ended::Broken
    });
    connection.count();
    let Connection { wire, mut link, .. } = connection;
    link.by = ended.by();
    drop(link);
    wire.end(ended.answers_may_be_unread()).await;
    ended
}

impl Connection<'_> {
    async fn talk(&mut self) -> io::Result<Ended> {
        let (mut led, mut woken, mut empty_wakes) = (false, false, 0);
        loop {
            let notice = self.notices.now();
            if !self.visitor.is_welcome(notice, &mut self.link, self.shared) {
                return Ok(Ended::Revoked);
            }
            if self.leaving.is_none() && self.parting.is_none() && notice.draining {
                self.drain().await?;
            }
            let held_back = !self.requests.is_empty();
            let wants = self.decode();
            if let Wants::Authenticate(key) = wants {
                self.flush()?;
                match self.authenticate(key).await {
                    Some(ended) => return Ok(ended),
                    None => continue,
                }
            }
            if !self.requests.is_empty() {
                if std::mem::replace(&mut led, true) {
                    tokio::task::yield_now().await;
                }
                self.submit();
            }
            let all_taken = self.requests.is_empty();
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
            let no_room = !all_taken || wants == Wants::Room && !held_back;
            // What was held back is taken now, perhaps without a reply that would wake us: what
            // came after it has not been looked at yet.
            if held_back && all_taken || sent && no_room {
                continue;
            }
            // Replies made new requests, or what was sent did.
            if all_taken && (!self.requests.is_empty() || self.ask()) {
                continue;
            }
            // Nothing else would tell the broker that there is room for what somebody waits for.
            if all_taken && self.link.has_untold() && self.door.awaits() {
                self.submit();
                continue;
            }
            self.release();
            let (event, waited) = noting_wait(pin!(self.event(!no_room))).await;
            led &= !waited;
            match event? {
                Event::Readable => self.read().await?,
                Event::Timeout => return Ok(self.timed_out()),
                Event::Writable | Event::News => {}
                Event::Replies => woken = true,
                Event::Resume => self.resume(),
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
        let mut io = Io::new(&mut self.requests, &mut self.wire.output);
        self.door.authenticated(answer, &mut io);
        None
    }

    fn decode(&mut self) -> Wants {
        if !self.requests.is_empty() {
            return Wants::Room;
        }
        self.door.set_now(|| self.shared.broker.now());
        let Shared { intake, counters, .. } = self.shared;
        let client = || self.visitor.counted();
        let entrance = intake.is_limited().then(|| Entrance { intake, client: client(), counters });
        let mut io = Io::new(&mut self.requests, &mut self.wire.output);
        io.entrance = entrance;
        let wants = self.door.receive(&mut self.wire.input, &mut io);
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
            self.door.finish(&mut self.requests);
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
        let Self { link, visitor, shared, requests, wire, .. } = self;
        link.submit(requests, visitor, shared, wire.last_read);
    }

    /// Takes the replies that may leave, and returns how many there were.
    fn collect(&mut self) -> usize {
        let Self { link, door, shared, requests, wire, .. } = self;
        link.collect(|replies| {
            door.set_now(|| shared.broker.now());
            door.reply(replies, &mut Io::new(requests, &mut wire.output));
        })
    }

    /// Sends what the socket takes and gives back the room of what was sent; whether any was.
    fn flush(&mut self) -> io::Result<bool> {
        let flushed = self.wire.flush();
        // What has left counts as delivered, even if the connection broke behind it.
        let sent = self.link.note_sent(&mut self.wire);
        Ok(flushed? || sent)
    }

    fn is_done(&self) -> bool {
        self.door.is_over()
            && self.door.is_quiet()
            && self.requests.is_empty()
            && self.wire.output.unsent() == 0
    }

    async fn event(&mut self, room: bool) -> io::Result<Event> {
        let reads = room && self.leaving.is_none() && !self.door.is_over();
        let writes = self.wire.output.unsent() > 0;
        let deadline = self.deadline();
        let next = [deadline, self.resume_at()].into_iter().flatten().min();
        let Self { wire, link, notices, leaving, parting, visitor, .. } = self;
        let drain = leaving.is_none() && parting.is_none();
        // Time first: a client that never stops sending must not outrun it.
        tokio::select! {
            biased;
            () = until(next), if next.is_some() => {
                Ok(if next == deadline { Event::Timeout } else { Event::Resume })
            }
            // Polled and not awaited: the futures for it would be kept by every idle connection.
            readable = poll_fn(|context| wire.socket.poll_readable(context)), if reads => {
                readable.map(|()| Event::Readable)
            }
            () = link.replies() => Ok(Event::Replies),
            writable = poll_fn(|context| wire.socket.poll_writable(context)), if writes => {
                writable.map(|()| Event::Writable)
            }
            () = notices.news(visitor.keys_seen(), drain) => Ok(Event::News),
        }
    }

    /// When consumers that are paused are to be asked for again.
    fn resume_at(&self) -> Option<Instant> {
        let at = self.door.resume_at()?;
        Instant::now().checked_add(at.since(self.shared.broker.now()))
    }

    fn resume(&mut self) {
        self.door.set_now(|| self.shared.broker.now());
        let mut io = Io::new(&mut self.requests, &mut self.wire.output);
        self.door.resume(&mut io);
    }

    fn deadline(&self) -> Option<Instant> {
        [self.ready_by, self.write_by(), self.leave_by].into_iter().flatten().min()
    }

    fn write_by(&self) -> Option<Instant> {
        self.wire.stalled_since.map(|since| since + self.shared.config.write_timeout)
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
        let mut io = Io::new(&mut self.requests, &mut self.wire.output);
        self.door.ask(&mut io)
    }

    /// Begins to leave: what was sent before is still answered, new work by a refusal. A client
    /// that holds deliveries, and can be told, gets the time to settle them.
    async fn drain(&mut self) -> io::Result<()> {
        let mut idle = self.door.is_quiet() && self.wire.output.unsent() == 0;
        for _ in 0..LAST_READS_MAX {
            let early = !self.door.is_ready();
            if self.wire.fill(&self.shared.pool, early).await? != Fill::Bytes {
                break;
            }
            idle = false;
        }
        let mut io = Io::new(&mut self.requests, &mut self.wire.output);
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
        self.shared.requests.add(DoorName::Binary, frames, refused);
        let counters = &self.shared.counters;
        counters.frames.add(frames);
        counters.refusals.add(refusals);
        counters.decode_errors.add(decode_errors);
        counters.rejected_early_frame.add(early_frames);
    }

    /// Gives up what an idle connection needs not hold.
    fn release(&mut self) {
        self.wire.release(&self.shared.pool);
        if self.requests.is_empty() {
            self.requests.shrink_to(KEPT_MAX);
        }
    }
}
