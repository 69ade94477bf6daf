//! What replies of the broker mean to the client.

use std::time::Duration;

use sluice_model::{Answer, Code, Refusal, Reply, Source, Timestamp};
use sluice_protocol::binary::frame::LENGTH_MIN;
use sluice_protocol::binary::v2::{
    NEXT_UNKNOWN, put_consuming, put_empty, put_gap, put_ok, put_pong, put_result,
};
use sluice_protocol::json;

use super::consumers::Appetite;
use super::deliveries::{Resident, Rest, Target, Written};
use super::pending::{Entry, Kind, POLL_TAGS, PUSH_TAGS, WAIT_TAGS};
use super::receipts::{each, put_receipts};
use super::session::Session;
use crate::doors::Output;
use crate::doors::binary::common::Io;

/// How long a consumer that was refused for now is paused, if the refusal does not say.
const PAUSE: Duration = Duration::from_secs(1);

impl Session {
    /// Writes what replies mean to the client, and marks where each ends.
    pub(crate) fn reply(&mut self, replies: &mut Vec<Reply>, io: &mut Io<'_>) {
        let mut rest = replies.drain(..).peekable();
        while let Some(reply) = rest.next() {
            let weight = reply.weight();
            let followed = self.reply_one(reply, &mut rest, io);
            io.output.mark(weight + followed);
        }
        if !self.confirms.is_empty() {
            self.write(io.output, |_| ());
        }
        self.ask(io);
    }

    /// Writes one, and says the weight of those that were taken from the others with it.
    fn reply_one(&mut self, reply: Reply, rest: &mut Rest<'_>, io: &mut Io<'_>) -> usize {
        let Reply { tag, answer } = reply;
        if tag >= WAIT_TAGS {
            let Some(wait) = self.receiving.waits.get(&tag).copied() else { return 0 };
            let to = Target {
                tag,
                id: wait.id,
                pushed: false,
                tokens: wait.tokens,
                consumer: wait.consumer,
            };
            let written = self.hand_over(to, answer, rest, io);
            if !written.more {
                self.receiving.waits.remove(&tag);
            }
            return written.weight;
        }
        if tag >= PUSH_TAGS {
            return self.push_on(tag, tag - PUSH_TAGS, answer, rest, io);
        }
        if tag >= POLL_TAGS {
            self.polled(tag, answer, io);
            return 0;
        }
        while let Some(entry) = self.pending.pop_before(tag) {
            self.succeeded(entry);
        }
        let Some(Entry { id, kind }) = self.pending.answered(tag, true) else {
            debug_assert!(false, "a reply to no request");
            return 0;
        };
        let written = match kind {
            Kind::Receive { tokens, consumer } => {
                let to = Target { tag, id, pushed: false, tokens, consumer };
                self.hand_over(to, answer, rest, io)
            }
            Kind::Consume => self.open_queue(tag, id, answer, rest, io),
            Kind::Poll => {
                self.pending.answered(tag, false);
                self.begin_poll(id, answer, io);
                return 0;
            }
            _ => {
                self.pending.answered(tag, false);
                self.answered(id, kind, answer, io.output);
                return 0;
            }
        };
        if !written.more {
            self.pending.answered(tag, false);
        }
        written.weight
    }

    /// A request that is silent when it succeeds did so.
    fn succeeded(&mut self, entry: Entry) {
        debug_assert!(entry.kind.is_silent(), "a request was not answered");
        if let Kind::Settle { .. } = entry.kind {
            self.settled_silently();
        }
    }

    fn answered(&mut self, id: u64, kind: Kind, answer: Answer, output: &mut Output) {
        match (kind, answer) {
            (Kind::Local, _) => {
                if let Some(local) = self.local.pop_front() {
                    self.write_local(id, local, output);
                }
            }
            (Kind::Muted | Kind::Own { .. }, _) => {}
            (Kind::Settle { .. }, answer) => self.settled(id, answer, output),
            (Kind::Part { receipt, last }, answer) => {
                self.part(answer);
                if last {
                    let parts = std::mem::take(&mut self.publishing.parts);
                    self.published(id, receipt, &parts, output);
                }
            }
            (Kind::Quiet { follow }, answer) => {
                let refusal = match answer {
                    Answer::Refused(refusal) => Some(refusal),
                    Answer::PublishedEach(all) => all.into_iter().find_map(Result::err),
                    _ => None,
                };
                if let Some(refusal) = refusal {
                    self.write_error(id, &refusal, output);
                    self.pending.mute(follow);
                }
            }
            (Kind::Subscribe, answer) => self.subscribed(id, answer, output),
            (Kind::Watch, answer) => self.watching(id, answer, output),
            (_, Answer::Refused(refusal)) => self.write_error(id, &refusal, output),
            (Kind::Publish { receipt: false }, Answer::PublishedBlock(block)) => {
                self.confirms.add(id, block.level);
            }
            (Kind::Publish { .. }, Answer::PublishedBlock(block)) => {
                let length_max = self.length_max;
                self.write(output, |out| put_receipts(out, id, each(block).map(Ok), length_max));
            }
            (Kind::Publish { receipt }, Answer::PublishedBatch(all)) => {
                let all: Vec<_> = all.into_iter().map(Ok).collect();
                self.published(id, receipt, &all, output);
            }
            (Kind::Publish { receipt }, Answer::PublishedEach(all)) => {
                self.published(id, receipt, &all, output);
            }
            (Kind::Ping, _) => self.write(output, |out| put_pong(out, id)),
            (Kind::Cancel, _) => self.write(output, |out| put_ok(out, id)),
            (Kind::Control, answer) => self.result(id, &answer, output),
            _ => debug_assert!(false, "an answer to another kind of request"),
        }
    }

    fn part(&mut self, answer: Answer) {
        self.publishing.parts.push(match answer {
            Answer::Published(published) => Ok(published),
            Answer::Refused(refusal) => Err(refusal),
            _ => Err(Refusal::new(Code::Internal, "the message was answered by something else")),
        });
    }

    fn result(&mut self, id: u64, answer: &Answer, output: &mut Output) {
        self.result_text(id, &json::answer(answer), output);
    }

    /// Writes a RESULT, if the client takes one of that length.
    pub(super) fn result_text(&mut self, id: u64, text: &str, output: &mut Output) {
        let (length, length_max) = (text.len() + LENGTH_MIN, self.length_max);
        if length > length_max {
            let text = format!("the result has {length} bytes, the client takes {length_max}");
            return self.write_error(id, &Refusal::new(Code::TooLarge, text), output);
        }
        let put = self.write(output, |out| put_result(out, id, text.as_bytes()));
        debug_assert_eq!(put, Ok(()));
    }

    fn subscribed(&mut self, id: u64, answer: Answer, output: &mut Output) {
        let Some(mut opening) = self.receiving.opening.pop_front() else { return };
        match answer {
            Answer::Subscribed { subscription } => {
                opening.from = Some(Source::Subscription(subscription));
                let number = self.opened(id, &opening);
                self.write(output, |out| put_consuming(out, id, number));
            }
            Answer::Refused(refusal) => self.write_error(id, &refusal, output),
            _ => debug_assert!(false, "an answer to another kind of request"),
        }
    }

    /// The first receive for a CONSUME was answered: there is such a queue.
    fn open_queue(
        &mut self,
        tag: u64,
        id: u64,
        answer: Answer,
        rest: &mut Rest<'_>,
        io: &mut Io<'_>,
    ) -> Written {
        let Some(mut opening) = self.receiving.opening.pop_front() else {
            return Written::default();
        };
        if let Answer::Refused(refusal) = &answer
            && opening.number.is_none()
            && refusal.code != Code::RateLimited
        {
            self.write_error(id, refusal, io.output);
            return Written::default();
        }
        let number = opening.number.unwrap_or_else(|| {
            let number = self.opened(id, &opening);
            // The receive that opened it is its first.
            if let Some(consumer) = self.receiving.consumers.get_mut(number) {
                consumer.appetite = Appetite::Fed;
            }
            self.write(io.output, |out| put_consuming(out, id, number));
            number
        });
        let goes_on = answer.goes_on();
        let weight = self.push_on(tag, number, answer, rest, io);
        // What follows may have been written with it.
        let more = goes_on && self.receiving.consumers.is_fed(number);
        if more {
            opening.number = Some(number);
            self.receiving.opening.push_front(opening);
        }
        Written { weight, more, ..Written::default() }
    }

    /// Pushes what a consumer gets; says the weight of what was taken from the rest.
    fn push_on(
        &mut self,
        tag: u64,
        number: u64,
        answer: Answer,
        rest: &mut Rest<'_>,
        io: &mut Io<'_>,
    ) -> usize {
        if let Answer::Refused(refusal) = &answer {
            self.push_refused(number, refusal, io.output);
            return 0;
        }
        let to = Target { tag, id: number, pushed: true, tokens: false, consumer: number };
        let written = match answer {
            Answer::Changes { events, .. } => self.tell_changes(number, &events, io.output),
            answer => self.hand_over(to, answer, rest, io),
        };
        self.receiving.consumers.pushed(number, written.messages);
        if !written.more {
            self.receiving.consumers.answered(number);
        }
        written.weight
    }

    fn push_refused(&mut self, number: u64, refusal: &Refusal, output: &mut Output) {
        let Some(consumer) = self.receiving.consumers.get_mut(number) else { return };
        let id = consumer.id;
        if consumer.ends {
            self.receiving.consumers.answered(number);
        } else if refusal.code == Code::RateLimited {
            let pause = refusal.retry_after.unwrap_or(PAUSE);
            self.receiving.consumers.pause(number, self.now.after(pause));
        } else {
            self.receiving.consumers.remove(number);
            self.write_error(id, refusal, output);
        }
    }

    /// Writes what came of a receive.
    fn hand_over(
        &mut self,
        to: Target,
        answer: Answer,
        rest: &mut Rest<'_>,
        io: &mut Io<'_>,
    ) -> Written {
        let more = answer.goes_on();
        let written = match answer {
            Answer::Delivered(delivery) => self.deliver(to, delivery, rest, io),
            Answer::DeliveredBlock(block) => {
                self.deliver_resident(to, Resident::Many(block), rest, io)
            }
            Answer::Lost { messages } => {
                io.output.write(|out| put_gap(out, to.consumer, messages));
                return Written { more, ..Written::default() };
            }
            Answer::Empty { next } => {
                if !to.pushed {
                    let next_ms = self.millis_until(next);
                    self.write(io.output, |out| put_empty(out, to.id, next_ms));
                }
                return Written::default();
            }
            Answer::Refused(refusal) => {
                self.write_error(to.id, &refusal, io.output);
                return Written::default();
            }
            Answer::Unreadable { .. } => Written { more, ..Written::default() },
            _ => {
                debug_assert!(false, "an answer to another kind of request");
                return Written::default();
            }
        };
        // A message that could not be handed over was the last: whoever asked is told so.
        if !written.more && (written.messages == 0 || written.promised) && !to.pushed {
            self.write(io.output, |out| put_empty(out, to.id, 0));
        }
        written
    }

    fn millis_until(&self, next: Option<Timestamp>) -> u32 {
        next.map_or(NEXT_UNKNOWN, |next| {
            u32::try_from(next.since(self.now).as_millis()).unwrap_or(NEXT_UNKNOWN - 1)
        })
    }
}
