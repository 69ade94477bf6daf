//! HELLO and AUTH: how a connection becomes ready.

use sluice_model::{Code, Refusal};
use sluice_protocol::binary::v1::put_nack;
use sluice_protocol::binary::v2::{Hello, PROTOCOL_VERSION, Welcome, put_going};
use tracing::debug;

use super::answers::Local;
use super::session::{GOING, Session, State};
use crate::auth::KeyHash;
use crate::doors::binary::common::Io;
use crate::log::Shown;
use crate::requests::Outcome;

const BROKER: &str = concat!("sluice ", env!("CARGO_PKG_VERSION"));

impl Session {
    pub(super) fn hello(&mut self, id: u64, payload: &[u8], io: &mut Io<'_>) {
        if self.state != State::Connected {
            return self.refuse(id, Code::BadRequest, "HELLO already performed", io);
        }
        if !payload.starts_with(&PROTOCOL_VERSION.to_be_bytes()) {
            let (code, text) = (Code::Version.status(), "unsupported protocol version");
            self.tally.refusals += 1;
            self.tally.refused.note(Outcome::Error);
            return io.output.write(|out| put_nack(out, id, code, text));
        }
        let hello = match Hello::read(payload) {
            Ok(hello) => hello,
            Err(error) => return self.malformed(id, &error, io),
        };
        debug!(name = %Shown(hello.name), hello.frame_max, "HELLO of version 2");
        self.length_max = hello.length_max();
        self.state = if self.open { State::Ready } else { State::Greeted };
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let welcome = Welcome {
            frame_max: number(self.limits.frame_max),
            message_max: number(self.limits.message_max),
            batch_max: u16::try_from(self.limits.batch_max).unwrap_or(u16::MAX),
            in_flight_max: number(self.limits.in_flight_max),
            auth: !self.open,
            broker: BROKER,
        };
        let written = io.output.write(|out| welcome.put(out, id));
        debug_assert_eq!(written, Ok(()));
    }

    pub(super) fn auth(&mut self, id: u64, key: &str, io: &mut Io<'_>) {
        if self.state == State::Connected {
            return self.refuse(id, Code::BadRequest, "HELLO not performed", io);
        }
        if self.authenticated {
            return self.refuse(id, Code::BadRequest, "already authenticated", io);
        }
        if self.open {
            self.authenticated = true;
            return self.answer(id, Local::Ok, io);
        }
        self.asking = Some(Box::new((id, KeyHash::of(key))));
        self.state = State::Asking;
    }

    /// Answers [`Wants::Authenticate`].
    pub(crate) fn authenticated(&mut self, answer: Result<(), Refusal>, io: &mut Io<'_>) {
        let Some((id, _)) = self.asking.take().map(|asking| *asking) else { return };
        debug_assert_eq!(self.state, State::Asking);
        match answer {
            Ok(()) => {
                self.state = State::Ready;
                self.authenticated = true;
                self.answer(id, Local::Ok, io);
                if self.draining {
                    io.output.write(|out| put_going(out, GOING));
                }
            }
            Err(refusal) => {
                let over = refusal.code != Code::Unauthenticated;
                self.state = if over { State::Over } else { State::Greeted };
                self.answer(id, Local::Refused(refusal), io);
            }
        }
    }
}
