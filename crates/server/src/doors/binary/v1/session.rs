//! One version 1 client as a state machine: bytes in, requests and bytes out; no socket, no clock.
//!
//! ```text
//! connected --HELLO--> greeted --AUTH--> asking --right key--> ready --bad frame--> over
//!     |                   ^                |
//!     |                   '---wrong key----'
//!     '--HELLO, no keys configured--> ready
//! ```
//!
//! Every request to the broker has the next number as its tag. [`Session::pending`] holds what the
//! reply to each stands for, oldest first; a request that is silent when it succeeds is known to
//! have done so when a later reply comes. What the session answers itself (a refusal of a frame that
//! can't be read) must not overtake a reply that is due, so it goes behind a fence.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use sluice_model::{
    Answer, Carried, Code, Command, Confirm, Delivery, Destination, Message, Publish, Qos, Receive,
    Refusal, Reply, Request, Source, Subscribe, SubscriptionId, TopicPattern,
};
use sluice_protocol::binary::frame::{
    FrameDecodeError, FrameRef, FrameType, HEADER_BYTES, Header, LENGTH_MAX, peek_frame,
    peek_header,
};
use sluice_protocol::binary::v1::{
    AckPayload, AuthPayload, HelloPayload, PROTOCOL_VERSION, PollPayload, PublishRef, SubscribeRef,
    put_ack, put_nack, put_pong, put_publish_head,
};
use tracing::debug;

use super::codes::nack_code;
use super::deliveries::{Acked, Deliveries};
use crate::auth::KeyHash;
use crate::doors::Output;
use crate::doors::binary::common::{EARLY_LENGTH_MAX, Io, Limits, Tally, Wants};
use crate::doors::binary::topics::Topics;
use crate::log::{self, Shown};
use crate::requests::Outcome;

/// So many requests that are silent when they succeed are followed by a fence, which tells that
/// they have, so that what they stand for can be forgotten.
const FENCE_EVERY: usize = 256;
const UNKNOWN_DELIVERY: &str = "unknown subscription or delivery tag";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connected,
    Greeted,
    /// An AUTH with this correlation id waits to hear whether its key is right.
    Asking(u64, KeyHash),
    Ready,
    Over,
}

/// What the reply to a request stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Publish(Qos),
    Subscribe,
    Poll,
    Ack,
    Ping,
    /// A fence before the oldest of [`Session::local`].
    Local,
    /// A fence of our own.
    Trim,
}

impl Kind {
    /// Whether the broker says nothing when it succeeds.
    const fn is_silent(self) -> bool {
        matches!(self, Self::Publish(_) | Self::Ack)
    }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    correlation_id: u64,
    kind: Kind,
}

/// An answer that the broker has no part in.
#[derive(Debug)]
enum Local {
    Done,
    Refused(u16, Cow<'static, str>),
}

/// One client of version 1.
pub(crate) struct Session {
    limits: Arc<Limits>,
    state: State,
    /// No keys are configured: everyone is let in.
    open: bool,
    /// An AUTH was accepted.
    authenticated: bool,
    draining: bool,
    /// Bytes still to come of a frame that was refused by its length.
    skip: usize,
    /// The tag of the front of `pending`.
    first_tag: u64,
    pending: VecDeque<Pending>,
    local: VecDeque<Local>,
    silent: usize,
    deliveries: Deliveries,
    topics: Topics,
    tally: Tally,
}

impl Session {
    pub(crate) fn new(limits: Arc<Limits>, open: bool) -> Self {
        Self {
            state: State::Connected,
            open,
            authenticated: false,
            draining: false,
            skip: 0,
            first_tag: 0,
            pending: VecDeque::new(),
            local: VecDeque::new(),
            silent: 0,
            deliveries: Deliveries::new(limits.in_flight_max),
            topics: Topics::default(),
            tally: Tally::default(),
            limits,
        }
    }

    /// Its bounds.
    pub(crate) const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Whether no keys are configured.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether no HELLO was accepted yet.
    pub(crate) fn is_unopened(&self) -> bool {
        self.state == State::Connected
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
    }

    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Refuses new work from now on; what is in flight is still settled.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Takes nothing more, and sees to it that the session becomes quiet.
    pub(crate) fn finish(&mut self, requests: &mut VecDeque<Request>) {
        self.state = State::Over;
        if self.pending.back().is_some_and(|last| last.kind.is_silent()) {
            self.push(requests, 0, Kind::Trim, Command::Fence);
        }
    }

    /// Understands frames from the front of `input` until something else is wanted.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, io: &mut Io<'_>) -> Wants {
        loop {
            if let Some(wants) = self.receive_next(input, io) {
                return wants;
            }
        }
    }

    /// Understands one frame; what else is wanted first where there is none to understand.
    pub(crate) fn receive_next(&mut self, input: &mut BytesMut, io: &mut Io<'_>) -> Option<Wants> {
        match self.state {
            State::Over => {
                input.clear();
                return Some(Wants::Nothing);
            }
            State::Asking(_, key) => return Some(Wants::Authenticate(key)),
            _ if io.output.unsent() >= self.limits.out_max => return Some(Wants::Room),
            _ => {}
        }
        let skipped = self.skip.min(input.len());
        input.advance(skipped);
        self.skip -= skipped;
        (self.skip > 0 || !self.receive_one(input, io)).then_some(Wants::Bytes)
    }

    /// Understands one frame; false when it isn't complete.
    fn receive_one(&mut self, input: &mut BytesMut, io: &mut Io<'_>) -> bool {
        let header = match peek_header(input, self.length_max()) {
            Ok(Some(header)) => header,
            Ok(None) => return false,
            Err(error) => {
                self.undecodable(error, io);
                return true;
            }
        };
        if header.payload_bytes > self.payload_max(header.msg_type) {
            self.tally.frames += 1;
            self.refuse_by_length(header, io);
            self.skip = HEADER_BYTES + header.payload_bytes;
            return true;
        }
        // The length was checked above, so only an incomplete frame is none.
        let Ok(Some(frame)) = peek_frame(input, LENGTH_MAX) else { return false };
        self.tally.frames += 1;
        let whole = frame.wire_bytes();
        if self.state == State::Ready && header.msg_type == FrameType::Publish {
            self.publish(input, header, io);
        } else {
            self.understand(frame, io);
            input.advance(whole);
        }
        true
    }

    fn length_max(&self) -> usize {
        match self.state {
            State::Ready => self.limits.frame_max,
            _ => EARLY_LENGTH_MAX,
        }
    }

    /// The longest payload that can be valid. A longer one is refused by its header and never
    /// stored.
    fn payload_max(&self, msg_type: FrameType) -> usize {
        let text = 2 + usize::from(u16::MAX);
        match msg_type {
            FrameType::Publish => 1 + text + self.limits.message_max,
            FrameType::Auth | FrameType::Subscribe => text + 1,
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
            FrameDecodeError::TooShort { .. } | FrameDecodeError::TooLong { .. } => {
                self.tally.decode_errors += 1;
                (0, Code::BadRequest, "invalid frame length")
            }
            FrameDecodeError::UnknownType { correlation_id, .. } => {
                self.tally.decode_errors += 1;
                (correlation_id, Code::BadRequest, "unknown frame type")
            }
            FrameDecodeError::Payload(frame) => (0, Code::BadRequest, invalid_payload(frame)),
        };
        self.refuse(id, code, text, io);
        self.state = State::Over;
    }

    fn refuse_by_length(&mut self, header: Header, io: &mut Io<'_>) {
        let id = header.correlation_id;
        match header.msg_type {
            FrameType::Publish => self.refuse(id, Code::TooLarge, "message too large", io),
            FrameType::Nack | FrameType::Pong => self.not_from_a_client(id, io),
            other => self.refuse(id, Code::BadRequest, invalid_payload(other), io),
        }
    }

    fn understand(&mut self, frame: FrameRef<'_>, io: &mut Io<'_>) {
        let FrameRef { msg_type, correlation_id: id, payload } = frame;
        match (self.state, msg_type) {
            (_, FrameType::Hello) => self.hello(id, payload, io),
            (_, FrameType::Auth) => self.auth(id, payload, io),
            (State::Ready, FrameType::Ping) => self.ping(id, payload, io),
            (State::Ready, FrameType::Ack) => self.ack(id, payload, io),
            (State::Ready, FrameType::Nack | FrameType::Pong) => self.not_from_a_client(id, io),
            (State::Ready, _) if self.draining => self.shutting_down(id, io),
            (State::Ready, FrameType::Subscribe) => self.subscribe(id, payload, io),
            (State::Ready, FrameType::Poll) => self.poll(id, payload, io),
            _ => self.refuse(id, Code::Unauthenticated, "unauthenticated", io),
        }
    }

    fn hello(&mut self, id: u64, payload: &[u8], io: &mut Io<'_>) {
        if self.state != State::Connected {
            return self.refuse(id, Code::BadRequest, "HELLO already performed", io);
        }
        match HelloPayload::read(payload) {
            Err(_) => self.refuse(id, Code::BadRequest, invalid_payload(FrameType::Hello), io),
            Ok(hello) if hello.protocol_version != PROTOCOL_VERSION => {
                self.refuse(id, Code::Version, "unsupported protocol version", io);
            }
            Ok(_) => {
                self.state = if self.open { State::Ready } else { State::Greeted };
                self.answer(id, Local::Done, io);
            }
        }
    }

    fn auth(&mut self, id: u64, payload: &[u8], io: &mut Io<'_>) {
        if self.state == State::Connected {
            return self.refuse(id, Code::BadRequest, "HELLO not performed", io);
        }
        if self.authenticated {
            return self.refuse(id, Code::BadRequest, "already authenticated", io);
        }
        match AuthPayload::read_key(payload) {
            Err(_) => self.refuse(id, Code::BadRequest, invalid_payload(FrameType::Auth), io),
            Ok(_) if self.open => {
                self.authenticated = true;
                self.answer(id, Local::Done, io);
            }
            Ok(key) => self.state = State::Asking(id, KeyHash::of(key)),
        }
    }

    /// Answers [`Wants::Authenticate`].
    pub(crate) fn authenticated(&mut self, answer: Result<(), Refusal>, io: &mut Io<'_>) {
        let State::Asking(id, _) = self.state else { return };
        match answer {
            Ok(()) => {
                self.state = State::Ready;
                self.authenticated = true;
                self.answer(id, Local::Done, io);
            }
            Err(refusal) => {
                let over = refusal.code != Code::Unauthenticated;
                self.state = if over { State::Over } else { State::Greeted };
                self.refuse(id, refusal.code, refusal.message, io);
            }
        }
    }

    /// Understands the whole PUBLISH frame that `input` begins with; the message shares its bytes.
    fn publish(&mut self, input: &mut BytesMut, header: Header, io: &mut Io<'_>) {
        let id = header.correlation_id;
        let mut payload = input.split_to(HEADER_BYTES + header.payload_bytes);
        payload.advance(HEADER_BYTES);
        if self.draining {
            return self.shutting_down(id, io);
        }
        let Ok(PublishRef { topic, qos, message }) = PublishRef::read(&payload) else {
            return self.refuse(id, Code::BadRequest, invalid_payload(FrameType::Publish), io);
        };
        let qos = match self.check(topic, qos) {
            Ok(qos) => qos,
            Err(text) => return self.refuse(id, Code::BadRequest, text, io),
        };
        if message.len() > self.limits.message_max {
            return self.refuse(id, Code::TooLarge, "message too large", io);
        }
        let Ok(topic) = self.topics.named(topic) else {
            debug!(topic = %Shown(topic), "not a topic");
            return self.refuse(id, Code::BadRequest, "invalid topic", io);
        };
        if let Err(limited) = io.count(1) {
            return self.limited(id, limited, io);
        }
        let before_message = payload.len() - message.len();
        payload.advance(before_message);
        let message = Message::plain(payload.freeze());
        let to = Destination::Topic(topic);
        let publish = Publish { to, qos, level: None, message, confirm: Confirm::Refusal };
        self.push(io.requests, id, Kind::Publish(qos), Command::Publish(publish));
    }

    fn subscribe(&mut self, id: u64, payload: &[u8], io: &mut Io<'_>) {
        let Ok(SubscribeRef { topic, qos }) = SubscribeRef::read(payload) else {
            return self.refuse(id, Code::BadRequest, invalid_payload(FrameType::Subscribe), io);
        };
        let qos = match self.check(topic, qos) {
            Ok(qos) => qos,
            Err(text) => return self.refuse(id, Code::BadRequest, text, io),
        };
        let Ok(pattern) = TopicPattern::new(topic) else {
            debug!(pattern = %Shown(topic), "not a pattern");
            return self.refuse(id, Code::BadRequest, "invalid topic", io);
        };
        if let Err(limited) = io.count(1) {
            return self.limited(id, limited, io);
        }
        let subscribe = Subscribe::unnamed(pattern, qos);
        self.push(io.requests, id, Kind::Subscribe, Command::Subscribe(subscribe));
    }

    fn check(&self, topic: &str, qos: u8) -> Result<Qos, &'static str> {
        if topic.is_empty() {
            return Err("empty topic");
        }
        Qos::from_u8(qos).ok_or("invalid QoS value")
    }

    fn poll(&mut self, id: u64, payload: &[u8], io: &mut Io<'_>) {
        match PollPayload::read(payload).map(|poll| poll.subscription_id) {
            Err(_) => self.refuse(id, Code::BadRequest, invalid_payload(FrameType::Poll), io),
            Ok(0) => self.zero_subscription(id, io),
            Ok(number) => {
                if let Err(limited) = io.count(1) {
                    return self.limited(id, limited, io);
                }
                let receive = Receive::one(Source::Subscription(SubscriptionId(number)));
                self.push(io.requests, id, Kind::Poll, Command::Receive(receive));
            }
        }
    }

    fn ack(&mut self, tag: u64, payload: &[u8], io: &mut Io<'_>) {
        let subscription = match AckPayload::read(payload).map(|ack| ack.subscription_id) {
            Err(_) => {
                return self.refuse(tag, Code::BadRequest, invalid_payload(FrameType::Ack), io);
            }
            Ok(0) => return self.zero_subscription(tag, io),
            Ok(number) => SubscriptionId(number),
        };
        match self.deliveries.ack(tag, subscription) {
            Acked::Now(lease) => {
                let ack = Command::Ack { lease, confirm: Confirm::Refusal };
                self.push(io.requests, tag, Kind::Ack, ack);
            }
            Acked::Before => {}
            Acked::Unknown => self.refuse(tag, Code::NotFound, UNKNOWN_DELIVERY, io),
        }
    }

    fn ping(&mut self, id: u64, payload: &[u8], io: &mut Io<'_>) {
        if !payload.is_empty() {
            return self.refuse(id, Code::BadRequest, invalid_payload(FrameType::Ping), io);
        }
        self.push(io.requests, id, Kind::Ping, Command::Fence);
    }

    fn zero_subscription(&mut self, id: u64, io: &mut Io<'_>) {
        self.refuse(id, Code::BadRequest, "subscription_id must be non-zero", io);
    }

    fn not_from_a_client(&mut self, id: u64, io: &mut Io<'_>) {
        self.refuse(id, Code::BadRequest, "unexpected frame from a client", io);
    }

    fn shutting_down(&mut self, id: u64, io: &mut Io<'_>) {
        self.refuse(id, Code::ShuttingDown, "shutting down", io);
    }

    fn limited(&mut self, id: u64, refusal: Refusal, io: &mut Io<'_>) {
        let text = timed(refusal.message.clone(), &refusal);
        self.refuse(id, refusal.code, text, io);
    }

    /// Asks the broker.
    fn push(&mut self, requests: &mut VecDeque<Request>, id: u64, kind: Kind, command: Command) {
        let tag = self.first_tag + self.pending.len() as u64;
        self.pending.push_back(Pending { correlation_id: id, kind });
        requests.push_back(Request { tag, command });
        self.silent = if kind.is_silent() { self.silent + 1 } else { 0 };
        if self.silent >= FENCE_EVERY {
            self.push(requests, 0, Kind::Trim, Command::Fence);
        }
    }

    fn refuse(&mut self, id: u64, code: Code, text: impl Into<Cow<'static, str>>, io: &mut Io<'_>) {
        self.answer(id, Local::Refused(nack_code(code), text.into()), io);
    }

    /// Answers without the broker, behind what it still has to answer.
    fn answer(&mut self, id: u64, answer: Local, io: &mut Io<'_>) {
        if self.pending.is_empty() {
            self.write_local(id, answer, io.output);
        } else {
            self.local.push_back(answer);
            self.push(io.requests, id, Kind::Local, Command::Fence);
        }
    }

    fn write_local(&mut self, id: u64, answer: Local, output: &mut Output) {
        match answer {
            Local::Done => output.write(|out| put_ack(out, id, 0)),
            Local::Refused(code, text) => {
                self.tally.refused.note(Outcome::of_status(code));
                self.write_nack(id, code, &text, output);
            }
        }
    }

    fn write_nack(&mut self, id: u64, code: u16, text: &str, output: &mut Output) {
        self.tally.refusals += 1;
        debug!(fault = log::fault(code), correlation_id = id, code, text, "refused");
        output.write(|out| put_nack(out, id, code, text));
    }

    /// Writes what a reply of the broker means to the client.
    pub(crate) fn reply(&mut self, reply: Reply, output: &mut Output) {
        let Some(Pending { correlation_id: id, kind }) = self.settle(reply.tag) else {
            debug_assert!(false, "a reply to no request");
            return;
        };
        if kind == Kind::Local
            && let Some(local) = self.local.pop_front()
        {
            return self.write_local(id, local, output);
        }
        match reply.answer {
            Answer::Delivered(delivery) => self.deliver(id, *delivery, output),
            Answer::Subscribed { subscription } => {
                output.write(|out| put_ack(out, id, subscription.0));
            }
            Answer::Fenced if kind == Kind::Ping => output.write(|out| put_pong(out, id)),
            Answer::Refused(_) if kind == Kind::Trim => {}
            Answer::Refused(refusal) => self.refused(id, kind, &refusal, output),
            Answer::Fenced
            | Answer::Empty { .. }
            | Answer::Unreadable { .. }
            | Answer::Published(_)
            | Answer::Settled { .. } => {}
            // Version 1 has no request that these answer.
            Answer::PublishedBatch(_)
            | Answer::PublishedBlock(_)
            | Answer::PublishedEach(_)
            | Answer::DeliveredBlock(_)
            | Answer::Lost { .. }
            | Answer::SettledMany { .. }
            | Answer::Unsubscribed
            | Answer::Extended { .. }
            | Answer::Declared { .. }
            | Answer::Differs(_)
            | Answer::Queues { .. }
            | Answer::Stats(_)
            | Answer::Removed { .. }
            | Answer::Browsed { .. }
            | Answer::Peeked(_)
            | Answer::Rescheduled { .. }
            | Answer::Redriven { .. }
            | Answer::Limit(_)
            | Answer::Kv(_)
            | Answer::Changes { .. } => debug_assert!(false, "an answer to no request"),
        }
    }

    /// What the request with this tag stands for. Those before it were silent: they succeeded.
    fn settle(&mut self, tag: u64) -> Option<Pending> {
        let silent = usize::try_from(tag.checked_sub(self.first_tag)?).ok()?;
        if silent >= self.pending.len() {
            return None;
        }
        self.first_tag = tag + 1;
        self.pending.drain(..=silent).next_back()
    }

    fn deliver(&mut self, id: u64, delivery: Delivery, output: &mut Output) {
        let Delivery { subscription, lease, carried, .. } = delivery;
        let Carried { topic, payload, .. } = carried;
        let (id, qos) = match lease.zip(subscription) {
            Some((lease, subscription)) => {
                (self.deliveries.insert(lease, subscription), Qos::AtLeastOnce)
            }
            None => (id, Qos::AtMostOnce),
        };
        let head =
            output.write(|out| put_publish_head(out, id, qos.as_u8(), &topic, payload.len()));
        match head {
            Ok(()) => output.push(payload),
            Err(_) => {
                self.tally.refused.note(Outcome::Error);
                self.write_nack(id, 413, "message too large for a frame", output);
            }
        }
    }

    fn refused(&mut self, id: u64, kind: Kind, refusal: &Refusal, output: &mut Output) {
        let code = nack_code(refusal.code);
        let mut text = Cow::Borrowed(&*refusal.message);
        match kind {
            Kind::Ack if code == 404 => text = UNKNOWN_DELIVERY.into(),
            Kind::Ack => self.deliveries.unack(id),
            Kind::Poll if code == 404 => text = "unknown subscription".into(),
            Kind::Publish(Qos::AtLeastOnce) if code == 500 => {
                text = format!("durable publish failed: {text}").into();
            }
            _ => {}
        }
        let text = timed(text, refusal);
        self.tally.refused.note(Outcome::of(refusal.code));
        self.write_nack(id, code, &text, output);
    }
}

/// A text of a refusal, with the time to come again if that is known.
fn timed<'a>(text: Cow<'a, str>, refusal: &Refusal) -> Cow<'a, str> {
    match refusal.retry_after {
        Some(after) => format!("{text}; retry after {} ms", after.as_millis()).into(),
        None => text,
    }
}

/// The text that tells a malformed payload.
const fn invalid_payload(frame: FrameType) -> &'static str {
    match frame {
        FrameType::Hello => "invalid HELLO payload",
        FrameType::Auth => "invalid AUTH payload",
        FrameType::Publish => "invalid PUBLISH payload",
        FrameType::Subscribe => "invalid SUBSCRIBE payload",
        FrameType::Ack => "invalid ACK payload",
        FrameType::Nack => "invalid NACK payload",
        FrameType::Ping => "invalid PING payload",
        FrameType::Pong => "invalid PONG payload",
        FrameType::Poll => "invalid POLL payload",
    }
}
