//! One line client as a state machine: bytes in, requests and bytes out; no socket, no clock.
//!
//! ```text
//! new --keys configured--> asked for AUTH --right key--> ready --QUIT, client's end--> over
//!  '--no keys------------------------------------------^
//! ```
//!
//! Every line has one answer, and answers leave in the order of their lines ([`Slots`]). Requests go
//! to the broker as they come, so one that waits there delays the answers behind it and nothing
//! else. What is pushed leaves when it comes ([`Feeds`]).

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use sluice_model::{Code, Command, QueueName, Refusal, Request, Timestamp};
use sluice_protocol::line::{
    self, Ask, Asked, BYE, Form, Line, LineDecoder, OK, PONG, looks_like_http,
};

use super::feeds::Feeds;
use super::held::Held;
use super::host::Host;
use super::slots::{Job, Slots};
use crate::auth::KeyHash;
use crate::doors::{Desk, Output};
use crate::log;
use crate::requests::{Outcome, Refused};

/// Bytes of a line that are enough to know a method of HTTP, or JSON.
const FIRST_BYTES: usize = 16;
/// The longest line of a client that has not shown who it is.
const EARLY_LINE_MAX: usize = 1_024;
/// Tags from here on are of receives for what is pushed: this plus the feed.
pub(super) const FEED_TAGS: u64 = 1 << 62;
/// The tag of requests whose outcome is of no interest.
pub(super) const NO_TAG: u64 = u64::MAX;

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) line_max: usize,
    pub(crate) out_max: usize,
    pub(crate) in_flight_max: usize,
}

/// What a session needs before it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// More bytes.
    Bytes,
    /// The output to be sent first.
    Room,
    /// An answer to whether this is a right key: [`Session::authenticated`].
    Authenticate(KeyHash),
    /// To be told when the limits let a request go on: [`Session::admitted`].
    Time,
    /// To be closed at once: a browser speaks.
    Close,
    /// Nothing: it is over once what waits has been sent.
    Nothing,
}

/// What a session has counted since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lines: u64,
    pub(crate) refusals: u64,
    /// Lines that were refused.
    pub(crate) refused: Refused,
}

/// Where a session puts what it makes of bytes.
pub(crate) struct Io<'a> {
    pub(crate) requests: &'a mut VecDeque<Request>,
    pub(crate) output: &'a mut Output,
}

impl<'a> Io<'a> {
    /// On a desk.
    pub(super) const fn at(desk: &'a mut Desk) -> Self {
        Self { requests: &mut desk.requests, output: &mut desk.output }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Whoever is not let in yet may only say who they are.
    Early,
    /// The AUTH in this slot waits to hear whether its key is right.
    Asking(u64, KeyHash),
    Ready,
    Over,
}

/// One client of the line door.
pub(crate) struct Session {
    pub(super) limits: Limits,
    decoder: LineDecoder,
    state: State,
    /// No keys are configured.
    open: bool,
    first: bool,
    pub(super) draining: bool,
    /// A request that the limits delay.
    delayed: Option<(u64, Form, Ask)>,
    pub(super) now: Timestamp,
    pub(super) slots: Slots,
    pub(super) feeds: Feeds,
    pub(super) held: Held,
    /// Subscriptions and watches whose end was asked for before they were there.
    pub(super) ends_early: usize,
    /// Queues that were used before.
    pub(super) queues: BTreeSet<QueueName>,
    tally: Tally,
}

impl Session {
    pub(crate) fn new(limits: Limits, open: bool) -> Self {
        let line_max = if open { limits.line_max } else { limits.line_max.min(EARLY_LINE_MAX) };
        Self {
            limits,
            decoder: LineDecoder::new(line_max),
            state: if open { State::Ready } else { State::Early },
            open,
            first: true,
            draining: false,
            delayed: None,
            now: Timestamp::EPOCH,
            slots: Slots::default(),
            feeds: Feeds::default(),
            held: Held::default(),
            ends_early: 0,
            queues: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What time it is for the broker.
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Whether the client is let in and has said something.
    pub(crate) fn is_ready(&self) -> bool {
        !self.first && matches!(self.state, State::Ready | State::Over)
    }

    /// Whether it takes nothing more.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether every line has been answered.
    pub(crate) fn is_quiet(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the client holds deliveries that it may settle.
    pub(crate) fn holds(&self) -> bool {
        self.held.any(self.now)
    }

    /// Whether the client is not idle, though it says nothing.
    pub(crate) fn is_busy(&self) -> bool {
        !self.slots.is_empty() || !self.feeds.is_empty() || self.holds()
    }

    /// Whether the broker owes it something that comes when it comes.
    pub(crate) fn awaits(&self) -> bool {
        self.slots.parked().next().is_some() || self.feeds.fed().next().is_some()
    }

    /// Refuses new work from now on; what is in flight is still settled.
    pub(crate) fn drain(&mut self, io: &mut Io<'_>) {
        self.draining = true;
        self.withdraw_all(io.requests);
    }

    /// Takes nothing more, and sees to it that the session becomes quiet.
    pub(crate) fn finish(&mut self, io: &mut Io<'_>) {
        self.state = State::Over;
        self.draining = true;
        self.withdraw_all(io.requests);
        if let Some((tag, form, _)) = self.delayed.take() {
            self.refuse(tag, &form, &shutting_down());
        }
        self.flush(io.output);
    }

    /// Ends the receives that wait.
    fn withdraw_all(&mut self, requests: &mut VecDeque<Request>) {
        let feeds = self.feeds.fed().map(|number| FEED_TAGS + number);
        for receive in self.slots.parked().chain(feeds) {
            requests.push_back(Request { tag: NO_TAG, command: Command::Withdraw { receive } });
        }
    }

    /// Understands lines from the front of `input` until something else is wanted.
    pub(crate) fn receive(
        &mut self,
        input: &mut BytesMut,
        io: &mut Io<'_>,
        host: &mut impl Host,
    ) -> Wants {
        loop {
            match self.state {
                State::Over => {
                    input.clear();
                    return Wants::Nothing;
                }
                State::Asking(_, key) => return Wants::Authenticate(key),
                _ if self.delayed.is_some() => return Wants::Time,
                // What comes behind the end of something must not overtake it.
                _ if self.ends_early > 0 => return Wants::Room,
                _ if io.output.unsent() + self.slots.held() >= self.limits.out_max => {
                    return Wants::Room;
                }
                State::Early | State::Ready => {}
            }
            let mut begin = [0; FIRST_BYTES];
            begin.iter_mut().zip(input.iter()).for_each(|(to, from)| *to = *from);
            let Some(line) = self.decoder.decode(input) else { return Wants::Bytes };
            if std::mem::take(&mut self.first) {
                let http = match &line {
                    Line::Whole(line) => looks_like_http(line, true),
                    Line::TooLong => looks_like_http(&begin, false),
                };
                if http {
                    return Wants::Close;
                }
            }
            self.take(&line, &begin, io, host);
            self.flush(io.output);
        }
    }

    fn take(&mut self, line: &Line, begin: &[u8], io: &mut Io<'_>, host: &mut impl Host) {
        self.tally.lines += 1;
        let (form, ask) = match line {
            Line::Whole(line) => {
                let Asked { form, ask } = line::read_shared(line);
                (form, ask)
            }
            Line::TooLong => {
                let (form, refusal) = line::too_long(begin);
                (form, Err(refusal))
            }
        };
        let ask = ask.and_then(|ask| self.check(ask));
        let ask = match ask {
            Ok(ask) if ask.is_exempt() => Ok((ask, true)),
            Ok(ask) => host.admit().map(|admitted| (ask, admitted)),
            Err(refusal) => Err(refusal),
        };
        match ask {
            Ok((ask, true)) => self.act(None, form, ask, io, host),
            Ok((ask, false)) => {
                let tag = self.slots.push(form.clone(), Job::Own, false);
                self.delayed = Some((tag, form, ask));
            }
            Err(refusal) => {
                let tag = self.slots.push(form.clone(), Job::Own, false);
                self.refuse(tag, &form, &refusal);
            }
        }
    }

    /// What may not be asked now.
    fn check(&mut self, ask: Ask) -> Result<Ask, Refusal> {
        let early = matches!(ask, Ask::Ping | Ask::Auth(_) | Ask::Help | Ask::Quit);
        if self.state == State::Early && !early {
            return Err(Refusal::new(Code::Unauthenticated, "unauthenticated"));
        }
        let new_work = match &ask {
            Ask::Do(command, _) => !ask.is_exempt() && !matches!(command, Command::Queue(_)),
            Ask::Subscribe(_) | Ask::Watch { .. } => true,
            _ => false,
        };
        if self.draining && new_work {
            return Err(shutting_down());
        }
        if let Ask::Do(command, _) = &ask
            && matches!(command, Command::Receive(_))
            && self.held.is_full(self.limits.in_flight_max, self.now)
        {
            let text = "the connection holds as many deliveries as it may";
            return Err(Refusal::new(Code::RateLimited, text));
        }
        Ok(ask)
    }

    /// Answers [`Wants::Time`].
    pub(crate) fn admitted(
        &mut self,
        admitted: Result<(), Refusal>,
        io: &mut Io<'_>,
        host: &mut impl Host,
    ) {
        let Some((tag, form, ask)) = self.delayed.take() else { return };
        // Much may have happened meanwhile.
        match admitted.and_then(|()| self.check(ask)) {
            Ok(ask) => self.act(Some(tag), form, ask, io, host),
            Err(refusal) => self.refuse(tag, &form, &refusal),
        }
        self.flush(io.output);
    }

    /// Answers [`Wants::Authenticate`].
    pub(crate) fn authenticated(&mut self, answer: Result<(), Refusal>, io: &mut Io<'_>) {
        let State::Asking(tag, _) = self.state else { return };
        let Some(form) = self.slots.waiting(tag).map(|waiting| waiting.form.clone()) else {
            return;
        };
        match answer {
            Ok(()) => {
                self.state = State::Ready;
                self.decoder.allow(self.limits.line_max);
                self.say(tag, form.word(OK));
            }
            Err(refusal) => {
                let over = refusal.code != Code::Unauthenticated;
                self.state = if over { State::Over } else { State::Early };
                self.refuse(tag, &form, &refusal);
            }
        }
        self.flush(io.output);
    }

    /// Does what a line asks. `tag` is its place if it has one already.
    fn act(
        &mut self,
        tag: Option<u64>,
        form: Form,
        ask: Ask,
        io: &mut Io<'_>,
        host: &mut impl Host,
    ) {
        let tag = tag.unwrap_or_else(|| self.slots.push(form.clone(), Job::Own, false));
        match ask {
            Ask::Ping => self.say(tag, form.word(PONG)),
            Ask::Echo(text) => self.echo(tag, &form, text),
            Ask::Help => self.say(tag, line::help()),
            Ask::Quit => {
                self.say(tag, form.word(BYE));
                self.finish(io);
            }
            Ask::Auth(_) if self.open => self.say(tag, form.word(OK)),
            Ask::Auth(_) if self.state != State::Early => {
                self.refuse(tag, &form, &Refusal::new(Code::BadRequest, "already authenticated"));
            }
            Ask::Auth(secret) => self.state = State::Asking(tag, KeyHash::of(&secret.0)),
            Ask::Shutdown => match host.shut_down() {
                Ok(()) => self.say(tag, form.word(BYE)),
                Err(refusal) => self.refuse(tag, &form, &refusal),
            },
            Ask::Info | Ask::Stats => match host.figures() {
                Ok(figures) => self.say(tag, form.done(&figures.to_text(), &figures.to_json())),
                Err(refusal) => self.refuse(tag, &form, &refusal),
            },
            Ask::Do(command, want) => self.request(tag, command, want, io),
            Ask::Subscribe(_) | Ask::Unsubscribe(_) | Ask::Watch { .. } | Ask::Unwatch(_) => {
                self.listen(tag, &form, ask, io);
            }
        }
    }

    fn echo(&mut self, tag: u64, form: &Form, text: Bytes) {
        // Clients know a push by its first byte.
        match !form.is_json() && text.starts_with(b"*") {
            true => self.refuse(tag, form, &Refusal::new(Code::Invalid, "use JSON")),
            false => self.slots.fill(tag, text, 0, None),
        }
    }

    /// Answers a line.
    pub(super) fn say(&mut self, tag: u64, line: String) {
        self.slots.fill(tag, line.into(), 0, None);
    }

    /// Answers a line by what was refused.
    pub(super) fn refuse(&mut self, tag: u64, form: &Form, refusal: &Refusal) {
        self.note_refusal(refusal);
        self.say(tag, form.refused(refusal));
    }

    pub(super) fn note_refusal(&mut self, refusal: &Refusal) {
        self.tally.refusals += 1;
        self.tally.refused.note(Outcome::of(refusal.code));
        log::refused(None, refusal);
    }

    /// Lets the answers leave whose turn it is.
    pub(super) fn flush(&mut self, output: &mut Output) {
        let Self { slots, feeds, .. } = self;
        slots.flush(output, |feed| feeds.begin(feed));
    }

    /// Gives up what an idle connection needs not hold.
    pub(crate) fn release(&mut self) {
        self.slots.shrink();
    }
}

pub(super) fn shutting_down() -> Refusal {
    Refusal::new(Code::ShuttingDown, "shutting down")
}
