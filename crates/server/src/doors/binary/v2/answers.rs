//! What the session answers itself, behind what is due.

use std::borrow::Cow;

use bytes::BytesMut;
use sluice_model::{Code, Command, Refusal};
use sluice_protocol::binary::v2::{DecodeError, put_consuming, put_error, put_ok};

use super::pending::Kind;
use super::session::Session;
use super::settling::{Name, put_settled};
use crate::doors::Output;
use crate::doors::binary::common::Io;
use crate::log;
use crate::requests::Outcome;

/// An answer that the broker has no part in.
#[derive(Debug)]
pub(super) enum Local {
    Ok,
    Consuming(u64),
    /// SETTLED of no lease: they were settled before, but for those that are lost.
    Settled {
        tokens: bool,
        refused: Vec<(Name, Code)>,
    },
    Refused(Refusal),
}

impl Session {
    pub(super) fn malformed(&mut self, id: u64, error: &DecodeError, io: &mut Io<'_>) {
        self.refuse(id, error.code(), error.to_string(), io);
    }

    pub(super) fn shutting_down(&mut self, id: u64, io: &mut Io<'_>) {
        self.refuse(id, Code::ShuttingDown, "shutting down", io);
    }

    pub(super) fn refuse(
        &mut self,
        id: u64,
        code: Code,
        text: impl Into<Cow<'static, str>>,
        io: &mut Io<'_>,
    ) {
        self.answer(id, Local::Refused(Refusal::new(code, text)), io);
    }

    /// Answers without the broker, behind what it still has to answer.
    pub(super) fn answer(&mut self, id: u64, answer: Local, io: &mut Io<'_>) {
        if self.pending.is_empty() {
            self.write_local(id, answer, io.output);
        } else {
            self.local.push_back(answer);
            self.push(io.requests, id, Kind::Local, Command::Fence);
        }
    }

    pub(super) fn write_local(&mut self, id: u64, answer: Local, output: &mut Output) {
        match answer {
            Local::Refused(refusal) => self.write_error(id, &refusal, output),
            Local::Ok => self.write(output, |out| put_ok(out, id)),
            Local::Consuming(number) => self.write(output, |out| put_consuming(out, id, number)),
            Local::Settled { tokens, refused } => {
                self.tally.refusals += refused.len() as u32;
                let length_max = self.length_max;
                self.write(output, |out| {
                    put_settled(out, id, tokens, None, &refused, length_max);
                });
            }
        }
    }

    pub(super) fn write_error(&mut self, id: u64, refusal: &Refusal, output: &mut Output) {
        self.tally.refusals += 1;
        self.tally.refused.note(Outcome::of(refusal.code));
        log::refused(Some(id), refusal);
        self.write(output, |out| put_error(out, id, refusal));
    }

    /// Writes behind the confirms that wait.
    pub(super) fn write<T>(
        &mut self,
        output: &mut Output,
        write: impl FnOnce(&mut BytesMut) -> T,
    ) -> T {
        output.write(|out| {
            self.confirms.put(out);
            write(out)
        })
    }
}
