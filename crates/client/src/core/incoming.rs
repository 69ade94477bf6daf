//! What the broker sends, frame by frame. No bytes make it panic: what is not as the protocol says
//! ends the connection.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sluice_model::Code;
use sluice_protocol::binary::frame::{LENGTH_MAX, decode_frame_of};
use sluice_protocol::binary::v2::{ChangesRef, DeliverRef, FrameType, ServerFrame};

use super::{Core, Phase, delivered};
use crate::error::{Error, Refused};

impl Core {
    /// Takes all whole frames off the front of what was read.
    ///
    /// # Errors
    /// The connection can't be used any more.
    pub(crate) fn receive(&mut self, buffer: &mut BytesMut, now: Instant) -> Result<(), Error> {
        let length_max = match self.frame_max {
            0 => LENGTH_MAX,
            length => length as usize,
        };
        self.heard_at = Some(now);
        loop {
            let frame =
                decode_frame_of::<FrameType>(buffer, length_max).map_err(Error::protocol)?;
            let Some(frame) = frame else { return Ok(()) };
            let payload = frame.payload;
            let read = ServerFrame::read(frame.msg_type, &payload).map_err(Error::protocol)?;
            if self.phase == Phase::Ready {
                self.handle(frame.correlation_id, &read, &payload, now)?;
            } else {
                self.greet(&read)?;
            }
        }
    }

    fn greet(&mut self, frame: &ServerFrame<'_>) -> Result<(), Error> {
        match (self.phase, frame) {
            (_, ServerFrame::Error(error)) => Err(Refused::from(*error).into()),
            (_, ServerFrame::Nack { code: 426, text }) => Err(Error::Version((*text).to_owned())),
            (_, ServerFrame::Nack { code, text }) => {
                Err(Error::protocol(format_args!("NACK {code} {text}")))
            }
            (Phase::Greeting, ServerFrame::Welcome(welcome)) => {
                self.bounds = (*welcome).into();
                if welcome.auth && self.key.is_none() {
                    let text = "the broker asks for an API key";
                    return Err(Error::Refused(Refused::by(Code::Unauthenticated, text)));
                }
                self.welcomed(welcome.auth)
            }
            (Phase::Authenticating, ServerFrame::Ok) => {
                self.phase = Phase::Ready;
                Ok(())
            }
            _ => Err(Error::protocol("an unexpected answer to HELLO or AUTH")),
        }
    }

    fn handle(
        &mut self,
        id: u64,
        frame: &ServerFrame<'_>,
        payload: &Bytes,
        now: Instant,
    ) -> Result<(), Error> {
        if id > self.next_id && answers(frame) {
            return Err(Error::protocol("an answer to what was never asked"));
        }
        match frame {
            ServerFrame::Confirm(level) => {
                self.publishes.confirmed(id, *level);
                Ok(())
            }
            ServerFrame::Receipt(receipts) => self.publishes.receipts(id, receipts, now),
            ServerFrame::Deliver(deliver) => self.deliver(id, deliver, payload),
            ServerFrame::Settled(settled) => {
                if !self.requests.settled(id, settled)? && !self.settlements.settled(id, settled) {
                    self.settlements.refused += u64::from(settled.count());
                }
                Ok(())
            }
            ServerFrame::Error(error) => self.refused(id, (*error).into(), now),
            ServerFrame::Consuming(wire) => self.consumers.consuming(id, *wire, None),
            ServerFrame::Watching(watching) => {
                self.consumers.consuming(id, watching.consumer, Some(watching.revision))
            }
            ServerFrame::Changes(changes) => self.changed(id, changes),
            ServerFrame::Ok => self.consumers.cancelled(id),
            ServerFrame::Empty(next_ms) => {
                let back = self.requests.empty(id, *next_ms)?;
                self.give_back(back);
                Ok(())
            }
            ServerFrame::Gap(messages) => self.consumers.gap(id, *messages),
            ServerFrame::Result(json) => self.requests.json(id, json),
            ServerFrame::Pong if self.probe == Some(id) => {
                self.probe = None;
                self.publishes.arrived(id);
                Ok(())
            }
            ServerFrame::Pong => {
                self.publishes.arrived(id);
                self.requests.pong(id)
            }
            ServerFrame::Going(_) => {
                self.going = true;
                Ok(())
            }
            ServerFrame::Nack { .. } | ServerFrame::Welcome(_) => {
                Err(Error::protocol("a greeting in the middle of a connection"))
            }
        }
    }

    fn deliver(&mut self, id: u64, deliver: &DeliverRef<'_>, payload: &Bytes) -> Result<(), Error> {
        let epoch = self.epoch;
        let back = if deliver.pushed {
            let (key, names) = self.consumers.pushed(id, deliver.count())?;
            let messages = delivered::read(deliver, payload, epoch, Some(key), names);
            self.consumers.hand(key, messages)
        } else {
            let mut names = delivered::Names::default();
            let messages = delivered::read(deliver, payload, epoch, None, &mut names);
            self.requests.delivered(id, messages, deliver.more)?
        };
        self.give_back(back);
        Ok(())
    }

    fn changed(&mut self, id: u64, changes: &ChangesRef<'_>) -> Result<(), Error> {
        let (key, _) = self.consumers.pushed(id, changes.count().into())?;
        let changes = changes.iter().map(|change| change.to_model()).collect::<Result<_, _>>();
        self.consumers.tell(key, self.epoch, changes.map_err(Error::protocol)?)
    }

    fn refused(&mut self, id: u64, refused: Refused, now: Instant) -> Result<(), Error> {
        if id == 0 {
            return Err(Error::protocol(format_args!("the broker ended it: {refused}")));
        }
        let known = self.publishes.refused(id, refused.clone(), now)
            || self.requests.refused(id, &refused)
            || self.settlements.refused(id, &refused)
            || self.consumers.refused(id, &refused, now);
        // At most once, or settled without waiting to hear of it.
        self.quiet_errors += u64::from(!known);
        Ok(())
    }
}

/// Its id is that of a request.
const fn answers(frame: &ServerFrame<'_>) -> bool {
    match frame {
        ServerFrame::Deliver(deliver) => !deliver.pushed,
        ServerFrame::Gap(_) | ServerFrame::Going(_) | ServerFrame::Changes(_) => false,
        _ => true,
    }
}
