//! One version 2 client as a state machine: bytes in, requests and bytes out; no socket, no clock.
//!
//! ```text
//! connected --HELLO--> greeted --AUTH--> asking --right key--> ready --bad frame--> over
//!     |                   ^                |
//!     |                   '---wrong key----'
//!     '--HELLO, no keys configured--> ready
//! ```
//!
//! What the session answers itself (a refusal of a frame that can't be read) must not overtake a
//! reply that is due, so it goes behind a fence. Receives that wait, for a RECEIVE or to push, have
//! tags of their own: their answers come when they come.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use sluice_model::{Code, Command, QueueName, Request, Timestamp};
use sluice_protocol::binary::frame::{
    FrameDecodeError, HEADER_BYTES, Header, LENGTH_MAX, peek_header_of,
};
use sluice_protocol::binary::v2::{
    ClientFrame, ControlRef, FrameType, TAGS_MAX, TOKEN_BYTES, put_going,
};
use sluice_protocol::json;

use super::answers::Local;
use super::confirms::Confirms;
use super::parts::{Locals, Publishing, Receiving};
use super::pending::{Kind, PUSH_TAGS, Pending};
use crate::auth::KeyHash;
use crate::doors::binary::common::{EARLY_LENGTH_MAX, Io, Limits, Tally, Wants};
use crate::doors::binary::late::Late;

/// So many requests that are silent when they succeed are followed by a fence, which tells that
/// they have, so that what they stand for can be forgotten. A SETTLE counts for each lease.
const FENCE_EVERY: usize = 4_096;
/// What a request counts for at least towards that.
pub(super) const SILENT_WEIGHT: usize = 16;

pub(super) const GOING: &str = "the broker drains";

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connected,
    Greeted,
    /// An AUTH waits to hear whether its key is right.
    Asking,
    Ready,
    Over,
}

/// One client of version 2.
pub(crate) struct Session {
    pub(super) limits: Arc<Limits>,
    pub(super) state: State,
    /// The id of that AUTH, and its key.
    pub(super) asking: Option<Box<(u64, KeyHash)>>,
    /// No keys are configured: everyone is let in.
    pub(super) open: bool,
    /// An AUTH was accepted.
    pub(super) authenticated: bool,
    pub(super) draining: bool,
    /// Bytes still to come of a frame that was refused by its length.
    skip: usize,
    /// The greatest length of a frame that the client takes.
    pub(super) length_max: usize,
    pub(super) now: Timestamp,
    pub(super) pending: Pending,
    silent: usize,
    pub(super) confirms: Confirms,
    pub(super) local: Late<Locals>,
    pub(super) publishing: Late<Publishing>,
    pub(super) receiving: Late<Receiving>,
    pub(super) last_queue: Option<QueueName>,
    pub(super) tally: Tally,
}

impl Session {
    /// A session that waits for its HELLO.
    pub(crate) fn new(limits: Arc<Limits>, open: bool, tally: Tally) -> Self {
        Self {
            state: State::Connected,
            asking: None,
            open,
            authenticated: false,
            draining: false,
            skip: 0,
            length_max: LENGTH_MAX,
            now: Timestamp::EPOCH,
            pending: Pending::default(),
            silent: 0,
            confirms: Confirms::default(),
            local: Late::default(),
            publishing: Late::default(),
            receiving: Late::default(),
            last_queue: None,
            tally,
            limits,
        }
    }

    /// Whether the client is let in.
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether it takes nothing more.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether every request has been answered, as far as is known.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_empty()
            && self.receiving.waits.is_empty()
            && self.receiving.polls.is_empty()
    }

    /// Whether the client holds deliveries that it may settle.
    pub(crate) fn holds(&self) -> bool {
        self.receiving.window.held() > 0
    }

    /// Whether the broker owes it answers to receives that wait.
    pub(crate) fn awaits(&self) -> bool {
        !self.receiving.waits.is_empty()
            || !self.receiving.polls.is_empty()
            || self.receiving.consumers.fed().next().is_some()
    }

    /// When consumers that are paused are to be asked for again, though the client says nothing.
    pub(crate) fn resume_at(&self) -> Option<Timestamp> {
        self.receiving.consumers.resume_at().filter(|_| !self.draining)
    }

    /// Asks for those whose time has come.
    pub(crate) fn resume(&mut self, io: &mut Io<'_>) {
        if self.resume_at().is_some_and(|at| at <= self.now) {
            self.receiving.consumers.resume();
            self.ask(io);
        }
    }

    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What time it is for the broker.
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Refuses new work from now on; what is in flight is still settled.
    pub(crate) fn drain(&mut self, io: &mut Io<'_>) {
        self.draining = true;
        self.withdraw_all(io.requests);
        if self.is_ready() {
            io.output.write(|out| put_going(out, GOING));
        }
    }

    /// Takes nothing more, and sees to it that the session becomes quiet.
    pub(crate) fn finish(&mut self, requests: &mut VecDeque<Request>) {
        if self.state != State::Over || !self.draining {
            self.draining = true;
            self.withdraw_all(requests);
        }
        self.state = State::Over;
        if self.pending.ends_silent() {
            let (kind, fence) = Kind::FENCE;
            self.push(requests, 0, kind, fence);
        }
    }

    /// Ends the receives that wait.
    fn withdraw_all(&mut self, requests: &mut VecDeque<Request>) {
        let waits = self.receiving.waits.keys().copied();
        let pushes = self.receiving.consumers.fed().map(|number| PUSH_TAGS + number);
        let polls = self.receiving.polls.tags();
        for receive in waits.chain(pushes).chain(polls).collect::<Vec<_>>() {
            self.withdraw(requests, receive);
        }
    }

    /// Ends the receive with this tag, if it waits.
    pub(super) fn withdraw(&mut self, requests: &mut VecDeque<Request>, receive: u64) {
        self.push(requests, 0, Kind::Own { silent: true }, Command::Withdraw { receive });
    }

    /// Understands frames from the front of `input` until something else is wanted.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, io: &mut Io<'_>) -> Wants {
        let before = self.tally.frames;
        let wants = loop {
            if let Some(asking) = &self.asking {
                break Wants::Authenticate(asking.1);
            }
            match self.state {
                State::Over => {
                    input.clear();
                    break Wants::Nothing;
                }
                _ if io.output.unsent() >= self.limits.out_max => break Wants::Room,
                _ => {}
            }
            let skipped = self.skip.min(input.len());
            input.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 || !self.receive_one(input, io) {
                break Wants::Bytes;
            }
        };
        if self.tally.frames != before
            && let Some(receiving) = self.receiving.made()
        {
            receiving.consumers.resume();
        }
        self.ask(io);
        wants
    }

    /// Understands one frame; false when it isn't complete.
    fn receive_one(&mut self, input: &mut BytesMut, io: &mut Io<'_>) -> bool {
        let header: Header<FrameType> = match peek_header_of(input, self.frame_length_max()) {
            Ok(Some(header)) => header,
            Ok(None) => return false,
            Err(error) => {
                self.undecodable(error, io);
                return true;
            }
        };
        if header.payload_bytes > self.payload_max(header.msg_type) {
            self.tally.frames += 1;
            let text = format!("the {} frame is too long", header.msg_type);
            self.refuse(header.correlation_id, Code::TooLarge, text, io);
            self.skip = HEADER_BYTES + header.payload_bytes;
            return true;
        }
        let whole = HEADER_BYTES + header.payload_bytes;
        let Some(payload) = input.get(HEADER_BYTES..whole) else { return false };
        self.tally.frames += 1;
        if self.state == State::Ready && header.msg_type == FrameType::Publish {
            let mut frame = input.split_to(whole);
            frame.advance(HEADER_BYTES);
            self.publish(header.correlation_id, &frame.freeze(), io);
        } else {
            self.understand(header.correlation_id, header.msg_type, payload, io);
            input.advance(whole);
        }
        true
    }

    fn frame_length_max(&self) -> usize {
        match self.state {
            State::Ready => self.limits.frame_max,
            _ => EARLY_LENGTH_MAX,
        }
    }

    /// The longest payload that can be valid. A longer one is refused by its header and never
    /// stored.
    fn payload_max(&self, frame: FrameType) -> usize {
        match frame {
            FrameType::Publish => self.limits.frame_max,
            FrameType::Settle | FrameType::Extend => 1_024 + TAGS_MAX as usize * TOKEN_BYTES,
            // A value is the largest of what it may carry, and JSON may make two bytes of one.
            FrameType::Control => 1_024 + json::BODY_BYTES_MAX.max(2 * self.limits.message_max),
            FrameType::Subscribe => 1_024 + 2 * 255 * 256,
            _ => EARLY_LENGTH_MAX,
        }
    }

    fn undecodable(&mut self, error: FrameDecodeError, io: &mut Io<'_>) {
        let early = self.state != State::Ready;
        let (id, code, text) = match error {
            FrameDecodeError::TooLong { length, .. }
                if early && length <= self.limits.frame_max =>
            {
                self.tally.early_frames += 1;
                (0, Code::TooLarge, "frame too large")
            }
            FrameDecodeError::UnknownType { correlation_id, .. } => {
                self.tally.decode_errors += 1;
                (correlation_id, Code::BadRequest, "unknown frame type")
            }
            FrameDecodeError::TooShort { .. }
            | FrameDecodeError::TooLong { .. }
            | FrameDecodeError::Payload(_) => {
                self.tally.decode_errors += 1;
                (0, Code::BadRequest, "invalid frame length")
            }
        };
        self.refuse(id, code, text, io);
        self.state = State::Over;
    }

    fn understand(&mut self, id: u64, frame: FrameType, payload: &[u8], io: &mut Io<'_>) {
        match (self.state, frame) {
            (_, FrameType::Hello) => return self.hello(id, payload, io),
            (State::Ready, _) | (_, FrameType::Auth) => {}
            _ => return self.refuse(id, Code::Unauthenticated, "unauthenticated", io),
        }
        let frame = match ClientFrame::read(frame, payload, self.limits.message_max) {
            Ok(frame) => frame,
            Err(error) => return self.malformed(id, &error, io),
        };
        match frame {
            ClientFrame::Auth(key) => self.auth(id, key, io),
            ClientFrame::Ping => self.push(io.requests, id, Kind::Ping, Command::Fence),
            ClientFrame::Settle(settle) => self.settle(id, &settle, io),
            ClientFrame::Extend(extend) => self.extend(id, &extend, io),
            ClientFrame::Cancel(cancel) => self.cancel(id, cancel.consumer, io),
            // What it would allow to be pushed never comes.
            ClientFrame::Credit(_) if self.draining => {}
            ClientFrame::Credit(credit) => self.credit(id, credit, io),
            _ if self.draining => self.shutting_down(id, io),
            // Who is over a limit can still change it.
            ClientFrame::Control(control) if control.verb.starts_with("limit.") => {
                self.control(id, control, io);
            }
            frame => match io.count(1) {
                Ok(()) => self.work(id, frame, io),
                Err(refusal) => self.answer(id, Local::Refused(refusal), io),
            },
        }
    }

    /// Does what limits are about.
    fn work(&mut self, id: u64, frame: ClientFrame<'_>, io: &mut Io<'_>) {
        match frame {
            ClientFrame::Subscribe(subscribe) => self.subscribe(id, &subscribe, io),
            ClientFrame::Consume(consume) => self.consume(id, consume, io),
            ClientFrame::Receive(receive) => self.receive_messages(id, receive, io),
            ClientFrame::Control(control) => self.control(id, control, io),
            ClientFrame::Watch(watch) => self.watch(id, watch, io),
            // These are understood before.
            _ => {}
        }
    }

    /// Anything that can be asked of queues, limits and keys.
    fn control(&mut self, id: u64, control: ControlRef<'_>, io: &mut Io<'_>) {
        let ControlRef { verb, json } = control;
        if verb == json::KV_CHANGES {
            return self.poll(id, json, io);
        }
        match json::command(verb, &[], json.as_bytes()) {
            Ok(command) => self.push(io.requests, id, Kind::Control, command),
            Err(refusal) => self.answer(id, Local::Refused(refusal), io),
        }
    }

    /// Asks the broker, and expects the answer in the order of the requests.
    pub(super) fn push(
        &mut self,
        requests: &mut VecDeque<Request>,
        id: u64,
        kind: Kind,
        command: Command,
    ) {
        let weight = match &command {
            Command::SettleMany(many) => many.leases.len().max(SILENT_WEIGHT),
            _ => SILENT_WEIGHT,
        };
        let tag = self.pending.push(id, kind);
        requests.push_back(Request { tag, command });
        self.silent = if kind.is_silent() { self.silent + weight } else { 0 };
        if self.silent >= FENCE_EVERY {
            let (kind, fence) = Kind::FENCE;
            self.push(requests, 0, kind, fence);
        }
    }
}
