//! Drives the socket of one line client.
//!
//! ```text
//! read all there is -> understand it all -> one submit -> take replies -> one write -> wait
//! ```

use std::io;
use std::sync::Arc;

use sluice_flow::Pass;
use tokio::time::Instant;
use tracing::debug;

use super::house::House;
use super::session::{Io, Limits, Session, Tally, Wants};
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
    session: Session,
    visitor: Visitor,
    link: Link,
    notices: Notices,
    /// How long the limits delay the next request.
    delay: Option<Pass>,
    /// Why it ends once the client has settled what it holds.
    parting: Option<Ended>,
    /// Why it takes nothing more, once it doesn't.
    leaving: Option<Ended>,
    ready_by: Option<Instant>,
    heard_at: Instant,
    leave_by: Option<Instant>,
    _open: OpenConnection,
}

/// Serves a client until one side ends it. What its wire has read already comes first.
pub(crate) fn serve(arrived: Arrived) -> Serving {
    let Arrived { wire, peer, shared, ready_by, notices } = arrived;
    shared.counters.line_connections.one();
    let config = &shared.config;
    let limits = Limits {
        line_max: config.max_line_bytes,
        out_max: config.out_max_bytes,
        in_flight_max: config.max_in_flight,
    };
    // The notice before the keys: if they are replaced in between, that is noticed.
    let visitor = Visitor::new(peer, &shared, notices.now());
    let mut connection = Connection {
        _open: shared.requests.connection(DoorName::Line),
        shared,
        wire,
        session: Session::new(limits, visitor.is_anyone()),
        visitor,
        link: Link::new(),
        notices,
        delay: None,
        parting: None,
        leaving: None,
        ready_by,
        heard_at: Instant::now(),
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
            if !self.visitor.is_welcome(self.notices.now(), &mut self.link, &self.shared) {
                return Ok(Ended::Revoked);
            }
            if self.leaving.is_none() && self.parting.is_none() && self.notices.now().draining {
                Box::pin(self.drain()).await?;
            }
            let held_back = self.wire.has_requests();
            let wants = self.understand();
            match wants {
                Wants::Close => {
                    self.shared.counters.rejected_http.one();
                    return Ok(Ended::Refused);
                }
                Wants::Authenticate(_) | Wants::Time => {
                    // What was asked before is not kept from being done.
                    self.submit_all(&mut led).await;
                    self.collect();
                    self.flush()?;
                    match Box::pin(self.wait_for_entrance(wants)).await {
                        Some(ended) => return Ok(ended),
                        None => continue,
                    }
                }
                Wants::Bytes | Wants::Room | Wants::Nothing => {}
            }
            self.submit_all(&mut led).await;
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
                return Ok(self.leaving.unwrap_or(Ended::ByClient));
            }
            let no_room = !all_taken || wants == Wants::Room && !held_back;
            // What was held back is taken now: what came after it has not been looked at yet.
            if held_back && all_taken || sent && no_room {
                continue;
            }
            if all_taken && (self.wire.has_requests() || self.ask()) {
                continue;
            }
            // Nothing else would tell the broker that there is room for what somebody waits for.
            if all_taken && self.link.has_untold() && self.session.awaits() {
                self.submit();
                continue;
            }
            self.release();
            let (woken_by, waited) = self.wait(!no_room).await;
            led &= !waited;
            match woken_by? {
                Woken::Readable => self.read().await?,
                Woken::Time => return Ok(self.timed_out()),
                Woken::Writable | Woken::News => {}
                Woken::Replies => woken = true,
            }
        }
    }

    fn understand(&mut self) -> Wants {
        if self.wire.has_requests() {
            return Wants::Room;
        }
        // Nothing is asked where nothing was read, and replies bring their own time.
        if self.wire.has_input() || self.parting.is_some() {
            self.session.set_now(self.shared.broker.now());
        }
        let mut house = House { shared: &self.shared, visitor: &self.visitor, delay: None };
        let Desk { input, output, requests, .. } = self.wire.desk();
        let wants = self.session.receive(input, &mut Io { requests, output }, &mut house);
        self.delay = house.delay.or(self.delay.take());
        if self.session.is_ready() {
            self.ready_by = None;
        }
        let understood = matches!(wants, Wants::Bytes | Wants::Nothing);
        if understood
            && let Some(why) = self.parting
            && !self.session.holds()
        {
            self.leave(why);
        }
        if understood && (self.leaving.is_some() || self.session.is_over()) {
            let mut io = Io::at(self.wire.desk());
            if !self.session.is_over() {
                self.session.finish(&mut io);
            }
            self.leave(self.leaving.unwrap_or(Ended::ByClient));
        }
        wants
    }

    /// Waits until it is known whether the client, or its next request, is let in.
    async fn wait_for_entrance(&mut self, wants: Wants) -> Option<Ended> {
        let Self { visitor, shared, notices, ready_by, delay, .. } = self;
        if let Wants::Authenticate(key) = wants {
            let answer = match visitor.show(key, shared, notices, *ready_by).await {
                Ok(answer) => answer,
                Err(ended) => return Some(ended),
            };
            let mut io = Io::at(self.wire.desk());
            self.session.authenticated(answer, &mut io);
            return None;
        }
        let admitted = match delay.take() {
            None => Ok(()),
            Some(asked) => {
                let client = visitor.counted();
                tokio::select! {
                    admitted = shared.intake.wait_out(&client, asked, &shared.counters) => admitted,
                    () = notices.drain() => Ok(()),
                }
            }
        };
        let mut io = Io::at(self.wire.desk());
        let mut house = House { shared, visitor, delay: None };
        self.session.admitted(admitted, &mut io, &mut house);
        self.heard_at = Instant::now();
        None
    }

    /// Takes nothing more from the client, and doesn't wait for ever for the last replies.
    fn leave(&mut self, why: Ended) {
        self.leaving = Some(why);
        let patience = self.shared.config.drain_timeout;
        self.leave_by.get_or_insert_with(|| Instant::now() + patience);
    }

    async fn submit_all(&mut self, led: &mut bool) {
        if !self.wire.has_requests() {
            return;
        }
        // A submit may have carried out a commit: others that it woke go first.
        if std::mem::replace(led, true) {
            tokio::task::yield_now().await;
        }
        let Self { link, visitor, shared, wire, .. } = self;
        if link.submit_unled(wire.desk(), visitor, shared) {
            // Back after every connection that has something to do on this worker.
            tokio::task::yield_now().await;
            self.link.lead();
        }
    }

    fn submit(&mut self) {
        let Self { link, visitor, shared, wire, .. } = self;
        link.submit(wire.desk(), visitor, shared);
    }

    /// Takes the replies that may leave, and returns how many there were.
    fn collect(&mut self) -> usize {
        let Self { link, session, shared, wire, .. } = self;
        link.collect(|replies| {
            session.set_now(shared.broker.now());
            session.reply(replies, &mut Io::at(wire.desk()));
        })
    }

    /// Sends what the socket takes and gives back the room of what was sent; whether any was.
    fn flush(&mut self) -> io::Result<bool> {
        let flushed = self.wire.flush();
        // What has left counts as delivered, even if the connection broke behind it.
        let sent = self.link.note_sent(&mut self.wire.desk().output);
        let progress = flushed?;
        if progress {
            // Who was just given something is not idle yet.
            self.heard_at = Instant::now();
        }
        Ok(progress || sent)
    }

    fn is_done(&self) -> bool {
        self.session.is_over()
            && self.session.is_quiet()
            && !self.wire.has_requests()
            && self.wire.unsent() == 0
    }

    /// Waits for what comes next; reads only if there is `room` for what that brings.
    fn wait(&mut self, room: bool) -> impl Future<Output = (io::Result<Woken>, bool)> {
        let reads = room && self.leaving.is_none() && !self.session.is_over();
        let drain = self.leaving.is_none() && self.parting.is_none();
        let waiting = Waiting::new(reads, self.visitor.keys_seen(), drain, self.deadline());
        waiting.wait(&self.wire, &mut self.link, &mut self.notices)
    }

    fn deadline(&self) -> Option<Instant> {
        [self.ready_by, self.write_by(), self.leave_by, self.idle_by()].into_iter().flatten().min()
    }

    fn write_by(&self) -> Option<Instant> {
        self.wire.stalled_since().map(|since| since + self.shared.config.write_timeout)
    }

    /// None while it waits for an answer, listens, or holds what it was given.
    fn idle_by(&self) -> Option<Instant> {
        let idle = self.shared.config.idle_timeout;
        (!idle.is_zero() && !self.session.is_busy()).then(|| self.heard_at + idle)
    }

    fn timed_out(&self) -> Ended {
        let now = Instant::now();
        let past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let counters = &self.shared.counters;
        let (counter, ended) = if past(self.write_by()) {
            (&counters.write_timeouts, Ended::WriteTimeout)
        } else if past(self.ready_by) {
            (&counters.first_frame_timeouts, Ended::FirstFrameTimeout)
        } else if past(self.leave_by) {
            return self.leaving.or(self.parting).unwrap_or(Ended::Refused);
        } else {
            (&counters.idle_timeouts, Ended::IdleTimeout)
        };
        counter.one();
        debug!(fault = "client", ?ended, "a client took too long");
        ended
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.wire.fill(&self.shared.pool, !self.session.is_ready()).await? {
            Fill::Bytes => self.heard_at = Instant::now(),
            Fill::Nothing => {}
            Fill::End => self.leave(Ended::ByClient),
        }
        Ok(())
    }

    /// Asks for what may be pushed, now that there may be room for it.
    fn ask(&mut self) -> bool {
        let mut io = Io::at(self.wire.desk());
        self.session.ask(&mut io)
    }

    /// Begins to leave: what was sent before is still answered, new work by a refusal. A client
    /// that holds deliveries gets the time to settle them.
    async fn drain(&mut self) -> io::Result<()> {
        let mut idle = self.session.is_quiet() && self.wire.unsent() == 0;
        for _ in 0..LAST_READS_MAX {
            if self.wire.fill(&self.shared.pool, !self.session.is_ready()).await? != Fill::Bytes {
                break;
            }
            idle = false;
        }
        // What was sent before the drain is done as if there were none.
        self.understand();
        let mut io = Io::at(self.wire.desk());
        self.session.drain(&mut io);
        if self.session.holds() {
            self.parting = Some(Ended::Drained { idle: false });
            let patience = self.shared.config.drain_timeout;
            self.leave_by.get_or_insert_with(|| Instant::now() + patience);
        } else if self.leaving.is_none() {
            self.leave(Ended::Drained { idle });
        }
        Ok(())
    }

    fn count(&mut self) {
        let Tally { lines, refusals, refused } = self.session.take_tally();
        self.shared.requests.add(DoorName::Line, lines, refused);
        self.shared.counters.lines.add(lines);
        self.shared.counters.refusals.add(refusals);
    }

    /// Gives up what an idle connection needs not hold.
    fn release(&mut self) {
        self.wire.release(&self.shared.pool);
        self.session.release();
    }
}
