//! The connection without the socket: what users ask goes in and comes out as bytes, bytes of the
//! broker go in and end as outcomes. Time and chance are arguments.
//!
//! ```text
//! off --begin: HELLO--> greeting --WELCOME--> [authenticating] --OK--> ready --GOING--> going
//!  ^                                                                     |               |
//!  '----------------------------- lost ----------------------------------+---------------'
//! ```
//!
//! It outlives connections. Each has an *epoch*, and what belongs to one (tags, consumers' numbers,
//! unanswered requests) ends with it: sent again, or told as lost.

pub(crate) mod batch;
pub(crate) mod consumers;
pub(crate) mod delivered;
pub(crate) mod fate;
mod frames;
mod incoming;
pub(crate) mod publishes;
pub(crate) mod requests;
pub(crate) mod settlements;
pub(crate) mod sink;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};
use sluice_flow::Random;
use sluice_model::Message;
use sluice_protocol::binary::frame::LENGTH_MAX;
use sluice_protocol::binary::v2::{Hello, put_auth, put_ping};
use tokio::sync::oneshot;

use batch::Head;
use consumers::Consumers;
use fate::Fate;
use frames::Bounds;
use publishes::{Place, Publishes};
use requests::{Ask, Reply, Requests};
use settlements::{How, Settlements};

use crate::error::Error;
use crate::options::Options;

/// Bytes that are written at once before the next look at what waits.
const WRITE_MAX: usize = 256 << 10;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Off,
    Greeting,
    Authenticating,
    Ready,
}

/// All that a client is, but for the socket.
pub(crate) struct Core {
    name: String,
    key: Option<SecretString>,
    frame_max: u32,
    phase: Phase,
    going: bool,
    epoch: u64,
    /// The same, for whoever only looks.
    epoch_seen: Arc<AtomicU64>,
    bounds: Bounds,
    next_id: u64,
    urgent: BytesMut,
    /// The PING that only asks whether the broker is there.
    probe: Option<u64>,
    pub(crate) publishes: Publishes,
    pub(crate) requests: Requests,
    pub(crate) settlements: Settlements,
    pub(crate) consumers: Consumers,
    closing: bool,
    closed: Option<Error>,
    /// ERROR frames for what nobody waits for.
    pub(crate) quiet_errors: u64,
    /// The writer waits to be woken.
    idle: bool,
    /// When the broker last sent something.
    heard_at: Option<Instant>,
}

impl Core {
    pub(crate) fn new(options: &Options, seed: u64) -> Self {
        let mut draws = Random::new(seed);
        let frame_max = LENGTH_MAX;
        Self {
            name: options.name.clone(),
            key: options.key.clone(),
            frame_max: options.frame_max,
            phase: Phase::Off,
            going: false,
            epoch: 0,
            epoch_seen: Arc::default(),
            bounds: Bounds { frame_max, message_max: frame_max, batch_max: 1 },
            next_id: 0,
            urgent: BytesMut::new(),
            probe: None,
            publishes: Publishes::new(options, draws.number()),
            requests: Requests::new(options.requests_max),
            settlements: Settlements::default(),
            consumers: Consumers::new(options.retry, draws.number()),
            closing: false,
            closed: None,
            quiet_errors: 0,
            idle: false,
            heard_at: None,
        }
    }

    /// A connection is there: begins with HELLO.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.next_epoch();
        self.phase = Phase::Greeting;
        self.going = false;
        self.urgent.clear();
        self.next_id += 1;
        let hello = Hello { frame_max: self.frame_max, name: &self.name };
        Ok(hello.put(&mut self.urgent, self.next_id)?)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// The connection that deliveries come by, and settle on, now.
    pub(crate) const fn epoch_seen(&self) -> &Arc<AtomicU64> {
        &self.epoch_seen
    }

    fn next_epoch(&mut self) {
        self.epoch += 1;
        self.epoch_seen.store(self.epoch, Ordering::Relaxed);
    }

    /// Writes what is due. Nothing means that the writer is to wait.
    pub(crate) fn take_output(&mut self, out: &mut BytesMut, now: Instant) {
        out.extend_from_slice(&self.urgent.split());
        if self.phase == Phase::Ready {
            let id = &mut self.next_id;
            self.settlements.take(out, id);
            self.consumers.take(out, id, now, !self.going);
            let publishes = &mut self.publishes;
            if !self.going {
                publishes.take(out, &self.bounds, id, WRITE_MAX, now);
            }
            self.requests.take(out, id, |mark| publishes.is_taken(mark));
        }
        self.idle = out.is_empty();
    }

    /// When there will be something to write although nobody asks.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let times = [self.publishes.next_time(), self.consumers.next_time()];
        let ready = self.phase == Phase::Ready && !self.going;
        times.into_iter().flatten().min().filter(|_| ready)
    }

    /// Whether the writer is to be woken for something new; once for each time that it waits.
    pub(crate) const fn take_wake(&mut self) -> bool {
        std::mem::replace(&mut self.idle, false)
    }

    /// How long the broker has sent nothing.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        self.heard_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Asks whether the broker is there. False where it has not answered the last time.
    pub(crate) fn probe(&mut self) -> bool {
        if self.phase != Phase::Ready {
            return true;
        }
        if self.probe.is_some() {
            return false;
        }
        self.next_id += 1;
        self.probe = Some(self.next_id);
        put_ping(&mut self.urgent, self.next_id);
        true
    }

    /// Takes a message, unless the window is full.
    pub(crate) fn publish(
        &mut self,
        head: &Arc<Head>,
        message: Message,
    ) -> Result<Result<Place, Message>, Error> {
        self.check_open()?;
        if !self.publishes.has_room(1, message.payload.len()) {
            return Ok(Err(message));
        }
        Ok(Ok(self.publishes.push(head, message)))
    }

    /// Takes messages that are stored together or not at all, unless the window is full.
    pub(crate) fn publish_whole(
        &mut self,
        head: &Arc<Head>,
        messages: Vec<Message>,
    ) -> Result<Result<Arc<Fate>, Vec<Message>>, Error> {
        self.check_open()?;
        if messages.is_empty() {
            return Ok(Ok(Arc::default()));
        }
        let bytes = messages.iter().map(|message| message.payload.len()).sum();
        if !self.publishes.has_room(messages.len(), bytes) {
            return Ok(Err(messages));
        }
        Ok(Ok(self.publishes.push_whole(Arc::clone(head), messages)))
    }

    /// Asks for something that has one answer. What names deliveries of a connection that is gone
    /// must not reach the next one, where the same tags are other messages.
    pub(crate) fn ask(&mut self, ask: Ask, reply: Reply) {
        let valid = ask.epoch().map_or(Ok(()), |epoch| self.check_epoch(epoch));
        match self.check_open().and(valid) {
            Ok(()) => self.requests.add(ask, reply),
            Err(why) => reply.tell(Err(why)),
        }
    }

    /// A fence behind all that was published.
    pub(crate) fn fence(&mut self, reply: Reply) {
        let mark = self.publishes.mark();
        self.ask(Ask::Fence { mark }, reply);
    }

    /// Begins to consume.
    pub(crate) fn consume(&mut self, spec: consumers::Spec) -> Result<u64, Error> {
        self.check_open()?;
        Ok(self.consumers.add(spec))
    }

    /// Settles a delivery, and with `told` says when that is safe.
    pub(crate) fn settle(
        &mut self,
        epoch: u64,
        tag: u64,
        how: How,
        told: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Result<(), Error> {
        self.check_epoch(epoch)?;
        match told {
            Some(told) => self.settlements.add_told(tag, how, told),
            None => self.settlements.add(tag, how),
        }
        Ok(())
    }

    /// The leases of that connection are still good.
    pub(crate) fn check_epoch(&self, epoch: u64) -> Result<(), Error> {
        let is_good = epoch == self.epoch && self.phase == Phase::Ready;
        if is_good { Ok(()) } else { Err(Error::LeaseLost) }
    }

    /// A pushed message is settled or was dropped: the broker may push another one.
    pub(crate) fn owe(&mut self, epoch: u64, consumer: Option<u64>, messages: u32) {
        if let Some(key) = consumer
            && epoch == self.epoch
        {
            self.consumers.owe(key, messages);
        }
    }

    /// The user of a consumer looks at messages of that connection. Says whether something is to be
    /// written.
    pub(crate) fn looked_at(&mut self, epoch: u64, key: u64, messages: u32) -> bool {
        self.consumers.looked_at(key, messages, epoch != self.epoch)
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self, why: &Error) {
        self.phase = Phase::Off;
        self.next_epoch();
        self.probe = None;
        self.urgent.clear();
        self.publishes.disconnected(why);
        self.requests.disconnected();
        self.settlements.disconnected();
        self.consumers.disconnected();
    }

    /// No more connections: all that waits is told.
    pub(crate) fn close(&mut self, why: &Error) {
        self.disconnected(why);
        self.publishes.closed(why);
        self.requests.closed(why);
        self.consumers.closed(why);
        self.closed = Some(why.clone());
    }

    /// Nobody will ask for anything more: the connection ends when all is told.
    pub(crate) const fn finish(&mut self) {
        self.closing = true;
    }

    pub(crate) const fn is_finishing(&self) -> bool {
        self.closing
    }

    /// Nothing is on its way, and nothing more will be.
    pub(crate) fn is_finished(&self) -> bool {
        self.closing
            && self.urgent.is_empty()
            && self.publishes.is_empty()
            && self.requests.is_empty()
            && self.settlements.is_empty()
    }

    fn check_open(&self) -> Result<(), Error> {
        self.closed.clone().map_or(Ok(()), Err)
    }

    /// Goes on behind WELCOME.
    fn welcomed(&mut self, auth: bool) -> Result<(), Error> {
        match &self.key {
            Some(key) if auth => {
                self.next_id += 1;
                put_auth(&mut self.urgent, self.next_id, key.expose_secret())?;
                self.phase = Phase::Authenticating;
            }
            // Without a key the first request says what is missing; there may be none.
            _ => self.phase = Phase::Ready,
        }
        Ok(())
    }

    /// Releases messages that nobody takes.
    pub(crate) fn give_back(&mut self, messages: Vec<delivered::Delivered>) {
        let released = How::from(sluice_model::Outcome::Released { delay: None::<Duration> });
        let mut tokens = Vec::new();
        for message in messages {
            match message.lease.map(|lease| (lease.tag, lease.token)) {
                Some((_, Some(token))) => tokens.push(token),
                Some((tag, None)) if self.check_epoch(message.epoch).is_ok() => {
                    self.settlements.add(tag, released.clone());
                }
                _ => {}
            }
        }
        if !tokens.is_empty() {
            let again = false;
            self.requests.add(Ask::Settle { how: released, tokens, again }, Reply(None));
        }
    }
}

#[cfg(test)]
mod tests;
