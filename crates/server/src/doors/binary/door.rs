//! Which version a connection speaks: version 1 until a HELLO of version 2 opens it.

use std::sync::Arc;

use bytes::BytesMut;
use sluice_model::{Refusal, Reply, Request, Timestamp};
use sluice_protocol::binary::frame::{FrameType, peek_frame};
use sluice_protocol::binary::v2::PROTOCOL_VERSION;

use super::common::{EARLY_LENGTH_MAX, Io, Limits, Tally, Wants};
use super::{v1, v2};

/// The session of the version that a client speaks.
pub(crate) enum Door {
    /// Also before the version is known: whatever opens no connection is refused by version 1.
    V1(Box<v1::Session>),
    V2(Box<v2::Session>),
}

impl Door {
    /// A session that waits for a HELLO. `open`: no keys are configured.
    pub(crate) fn new(limits: Arc<Limits>, open: bool) -> Self {
        Self::V1(Box::new(v1::Session::new(limits, open)))
    }

    /// Understands frames from the front of `input` until something else is wanted.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, io: &mut Io<'_>) -> Wants {
        while let Self::V1(session) = self
            && session.is_unopened()
        {
            if opens_version_2(input) {
                let (limits, open) = (Arc::clone(session.limits()), session.is_open());
                let session = v2::Session::new(limits, open, session.take_tally());
                *self = Self::V2(Box::new(session));
            } else if let Some(wants) = session.receive_next(input, io) {
                return wants;
            }
        }
        match self {
            Self::V1(session) => session.receive(input, io),
            Self::V2(session) => session.receive(input, io),
        }
    }

    /// Writes what replies of the broker mean to the client, and marks where each ends.
    pub(crate) fn reply(&mut self, replies: &mut Vec<Reply>, io: &mut Io<'_>) {
        match self {
            Self::V1(session) => {
                for reply in replies.drain(..) {
                    let weight = reply.weight();
                    session.reply(reply, io.output);
                    io.output.mark(weight);
                }
            }
            Self::V2(session) => session.reply(replies, io),
        }
    }

    /// Asks the broker for what may be pushed to the client; whether anything was asked.
    pub(crate) fn ask(&mut self, io: &mut Io<'_>) -> bool {
        match self {
            Self::V1(_) => false,
            Self::V2(session) => session.ask(io),
        }
    }

    /// What time it is for the broker, where that matters.
    pub(crate) fn set_now(&mut self, now: impl FnOnce() -> Timestamp) {
        if let Self::V2(session) = self {
            session.set_now(now());
        }
    }

    /// Answers [`Wants::Authenticate`].
    pub(crate) fn authenticated(&mut self, answer: Result<(), Refusal>, io: &mut Io<'_>) {
        match self {
            Self::V1(session) => session.authenticated(answer, io),
            Self::V2(session) => session.authenticated(answer, io),
        }
    }

    /// Refuses new work from now on; what is in flight is still settled.
    pub(crate) fn drain(&mut self, io: &mut Io<'_>) {
        match self {
            Self::V1(session) => session.drain(),
            Self::V2(session) => session.drain(io),
        }
    }

    /// Whether the client may still settle what it holds, though it gets nothing new.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::V1(_) => false,
            Self::V2(session) => session.holds(),
        }
    }

    /// Whether the broker owes it answers to receives that wait.
    pub(crate) fn awaits(&self) -> bool {
        match self {
            Self::V1(_) => false,
            Self::V2(session) => session.awaits(),
        }
    }

    /// When consumers that are paused are to be asked for again.
    pub(crate) fn resume_at(&self) -> Option<Timestamp> {
        match self {
            Self::V1(_) => None,
            Self::V2(session) => session.resume_at(),
        }
    }

    /// Asks for those whose time has come.
    pub(crate) fn resume(&mut self, io: &mut Io<'_>) {
        if let Self::V2(session) = self {
            session.resume(io);
        }
    }

    /// Takes nothing more, and sees to it that the session becomes quiet.
    pub(crate) fn finish(&mut self, requests: &mut std::collections::VecDeque<Request>) {
        match self {
            Self::V1(session) => session.finish(requests),
            Self::V2(session) => session.finish(requests),
        }
    }

    /// Whether the client is let in.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::V1(session) => session.is_ready(),
            Self::V2(session) => session.is_ready(),
        }
    }

    /// Whether it takes nothing more.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::V1(session) => session.is_over(),
            Self::V2(session) => session.is_over(),
        }
    }

    /// Whether every request has been answered, as far as is known.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::V1(session) => session.is_quiet(),
            Self::V2(session) => session.is_quiet(),
        }
    }

    pub(crate) fn take_tally(&mut self) -> Tally {
        match self {
            Self::V1(session) => session.take_tally(),
            Self::V2(session) => session.take_tally(),
        }
    }
}

/// Whether a whole HELLO of version 2 comes next, be the rest of its payload right or wrong.
fn opens_version_2(input: &[u8]) -> bool {
    peek_frame(input, EARLY_LENGTH_MAX).ok().flatten().is_some_and(|frame| {
        frame.msg_type == FrameType::Hello
            && frame.payload.starts_with(&PROTOCOL_VERSION.to_be_bytes())
    })
}
