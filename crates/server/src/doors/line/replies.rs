//! What is asked of the broker, and what its replies mean to the client.

use bytes::Bytes;
use sluice_model::{
    Answer, BlockDelivery, Code, Command, Confirm, Destination, KvAnswer, KvRequest, LeaseId,
    Outcome, Publish, Qos, QueueRequest, QueueSettings, Receive, Refusal, Reply, Request, Source,
    Subscribe,
};
use sluice_protocol::line::{Ask, Event, Form, OK, Said, Want};
use tracing::debug;

use super::feeds::{Appetite, FEEDS_MAX, Wish};
use super::pushes;
use super::session::{FEED_TAGS, Io, NO_TAG, Session};
use super::slots::Job;
use crate::doors::Output;

/// Queues that are known to be there, at most.
const QUEUES_MAX: usize = 1_024;

impl Session {
    /// Asks the broker for the one answer to a line.
    pub(super) fn request(&mut self, tag: u64, command: Command, want: Want, io: &mut Io<'_>) {
        self.declare(&command, io);
        let job = match &command {
            Command::Ack { lease, .. }
            | Command::Nack { lease, .. }
            | Command::Extend { lease, .. } => Job::Settle(want, *lease),
            _ => Job::Tell(want),
        };
        let parks = matches!(&command, Command::Receive(receive) if receive.wait.is_some());
        if let Some(waiting) = self.slots.waiting(tag) {
            waiting.job = job;
            waiting.parked = parks;
        }
        io.requests.push_back(Request { tag, command });
    }

    /// A queue is made by its first use, where the client may: there is no other word for it. A
    /// refusal of that says nothing; the use itself is refused then.
    fn declare(&mut self, command: &Command, io: &mut Io<'_>) {
        let queue = match command {
            Command::Publish(Publish { to: Destination::Queue(queue), .. })
            | Command::Receive(Receive { from: Source::Queue(queue), .. }) => queue,
            _ => return,
        };
        if self.queues.contains(queue) || queue.is_subscription() {
            return;
        }
        if self.queues.len() >= QUEUES_MAX {
            self.queues.clear();
        }
        self.queues.insert(queue.clone());
        let settings = QueueSettings::default();
        let declare = QueueRequest::Declare { name: queue.clone(), settings, update: false };
        let command = Command::Queue(Box::new(declare));
        io.requests.push_back(Request { tag: NO_TAG, command });
    }

    /// Begins or ends a subscription or a watch.
    pub(super) fn listen(&mut self, tag: u64, form: &Form, ask: Ask, io: &mut Io<'_>) {
        match ask {
            Ask::Subscribe(pattern) => {
                let subscribe = Subscribe::unnamed(pattern.clone(), Qos::AtMostOnce);
                let (wish, command) = (Wish::Topics(pattern), Command::Subscribe(subscribe));
                self.open(tag, form, wish, command, io);
            }
            Ask::Watch { keys, from } => {
                let watch = KvRequest::Watch { keys: keys.clone(), from };
                self.open(tag, form, Wish::Keys(keys), Command::Kv(watch), io);
            }
            Ask::Unsubscribe(pattern) => self.close(tag, form, &Wish::Topics(pattern), io),
            Ask::Unwatch(keys) => self.close(tag, form, &Wish::Keys(keys), io),
            _ => debug_assert!(false, "this begins and ends nothing"),
        }
    }

    fn open(&mut self, tag: u64, form: &Form, wish: Wish, command: Command, io: &mut Io<'_>) {
        if self.feeds.of(&wish).is_some() {
            let text = format!("the connection listens to {} already", wish.name());
            return self.refuse(tag, form, &Refusal::new(Code::Conflict, text));
        }
        if self.feeds.len() >= FEEDS_MAX {
            let text = format!("a connection listens to at most {FEEDS_MAX} patterns and keys");
            return self.refuse(tag, form, &Refusal::new(Code::Overloaded, text));
        }
        let feed = self.feeds.open(wish, form.is_json());
        self.become_job(tag, Job::Open(feed));
        io.requests.push_back(Request { tag, command });
    }

    fn close(&mut self, tag: u64, form: &Form, wish: &Wish, io: &mut Io<'_>) {
        let Some(number) = self.feeds.of(wish) else {
            let text = format!("the connection does not listen to {}", wish.name());
            return self.refuse(tag, form, &Refusal::new(Code::NotFound, text));
        };
        self.become_job(tag, Job::Close(number));
        match self.feeds.end(number) {
            Some(command) => io.requests.push_back(Request { tag, command }),
            // It is not there yet: its end follows its beginning.
            None => {
                if let Some(feed) = self.feeds.get_mut(number) {
                    feed.end_asked_by = Some(tag);
                    self.ends_early += 1;
                }
            }
        }
    }

    fn become_job(&mut self, tag: u64, job: Job) {
        if let Some(waiting) = self.slots.waiting(tag) {
            waiting.job = job;
        }
    }

    /// Writes what replies mean to the client, and marks where each ends.
    pub(crate) fn reply(&mut self, replies: &mut Vec<Reply>, io: &mut Io<'_>) {
        for reply in replies.drain(..) {
            let weight = reply.weight();
            let Reply { tag, answer } = reply;
            match tag {
                NO_TAG => io.output.mark(weight),
                FEED_TAGS.. => {
                    self.push(tag - FEED_TAGS, &answer, io.output);
                    io.output.mark(weight);
                }
                _ => self.answered(tag, &answer, weight, io),
            }
        }
        self.flush(io.output);
        self.ask(io);
    }

    fn answered(&mut self, tag: u64, answer: &Answer, weight: usize, io: &mut Io<'_>) {
        let Some(waiting) = self.slots.waiting(tag) else {
            debug_assert!(false, "a reply to no line");
            return io.output.mark(weight);
        };
        waiting.weight += weight;
        if answer.goes_on() && !matches!(answer, Answer::Delivered(_)) {
            return;
        }
        let (form, job, weight) = (waiting.form.clone(), waiting.job, waiting.weight);
        if let Answer::Refused(refusal) = answer {
            self.note_refusal(refusal);
            // Perhaps a queue is gone: it is made again by its next use.
            if refusal.code == Code::NotFound && matches!(job, Job::Tell(_)) {
                self.queues.clear();
            }
        }
        let mut begins = None;
        let line = match job {
            Job::Tell(want) => self.tell(&form, want, answer, io),
            Job::Settle(want, lease) => {
                self.settled(&lease, answer);
                self.tell(&form, want, answer, io)
            }
            Job::Open(feed) => {
                begins = self.opened(feed, answer, io);
                opened_text(&form, answer).into()
            }
            Job::Close(feed) => {
                self.feeds.ended(feed);
                self.tell(&form, Want::Deleted, answer, io)
            }
            Job::Own => form.word(OK).into(),
        };
        self.slots.fill(tag, line, weight, begins);
    }

    /// An answer in the form of its line. What was taken and can't be shown goes back.
    fn tell(&mut self, form: &Form, want: Want, answer: &Answer, io: &mut Io<'_>) -> Bytes {
        let lease = match answer {
            Answer::Delivered(delivery) => delivery.lease.map(|lease| (lease, delivery.deadline)),
            _ => None,
        };
        match (form.answer(want, answer, self.now), lease) {
            (Said::Line(line), Some((lease, deadline))) => {
                self.held.note(lease, deadline);
                line
            }
            (Said::Unshowable(line), lease) => {
                if let Some((lease, _)) = lease {
                    let (outcome, confirm) = (Outcome::Withdrawn, Confirm::Refusal);
                    let command = Command::Nack { lease, outcome, confirm };
                    io.requests.push_back(Request { tag: NO_TAG, command });
                }
                self.note_refusal(&Refusal::new(Code::Invalid, "use JSON"));
                line
            }
            (Said::Line(line), None) => line,
        }
    }

    fn settled(&mut self, lease: &LeaseId, answer: &Answer) {
        match answer {
            Answer::Extended { deadline } => self.held.extend(lease, *deadline),
            Answer::Settled { .. } => self.held.forget(lease),
            Answer::Refused(refusal)
                if matches!(refusal.code, Code::LeaseLost | Code::NotFound) =>
            {
                self.held.forget(lease);
            }
            _ => {}
        }
    }

    /// A subscription or a watch is there, or not; it begins with the answer that says so.
    fn opened(&mut self, number: u64, answer: &Answer, io: &mut Io<'_>) -> Option<u64> {
        let source = match answer {
            Answer::Subscribed { subscription } => Some(Source::Subscription(*subscription)),
            Answer::Kv(KvAnswer::Watching { watch, .. }) => Some(Source::Watch(*watch)),
            _ => None,
        };
        let feed = self.feeds.get_mut(number)?;
        let (is_there, end_asked_by) = (source.is_some(), feed.end_asked_by.take());
        feed.source = source;
        feed.appetite = Appetite::Announced;
        if !is_there {
            self.feeds.ended(number);
        }
        if let Some(tag) = end_asked_by {
            self.ends_early -= 1;
            match self.feeds.end(number) {
                Some(command) => io.requests.push_back(Request { tag, command }),
                None => self.never_was(tag),
            }
        }
        is_there.then_some(number)
    }

    fn never_was(&mut self, tag: u64) {
        let Some(waiting) = self.slots.waiting(tag) else { return };
        let form = waiting.form.clone();
        self.refuse(tag, &form, &Refusal::new(Code::NotFound, "it never began"));
    }

    /// Pushes what came for a subscription or a watch.
    fn push(&mut self, number: u64, answer: &Answer, output: &mut Output) {
        let over = self.is_over();
        let Some(feed) = self.feeds.get_mut(number) else { return };
        let silent = feed.ending || over;
        if let Answer::Refused(refusal) = answer
            && !silent
        {
            // It has ended by itself, as when the broker drains.
            debug!(code = refusal.code.name(), wish = feed.wish.name(), "nothing more is pushed");
            feed.appetite = Appetite::Announced;
            return self.feeds.ended(number);
        }
        if !silent {
            let json = feed.json;
            let mut push = |event: &Event<'_>| output.push(pushes::line(event, json).into());
            match answer {
                Answer::Changes { events, .. } => output.push(pushes::of_changes(events, json)),
                Answer::Delivered(delivery) => {
                    output.push(pushes::of_message(&delivery.carried, json));
                }
                Answer::DeliveredBlock(block) => each_message(block, push),
                Answer::Lost { messages } => {
                    push(&Event::Lost { pattern: feed.wish.name(), messages: *messages });
                }
                _ => {}
            }
        }
        if !answer.goes_on() {
            self.feeds.answered(number);
        }
    }

    /// Asks the broker for what may be pushed, as far as the client takes what was pushed before;
    /// whether anything was asked.
    pub(crate) fn ask(&mut self, io: &mut Io<'_>) -> bool {
        let before = io.requests.len();
        while !self.draining && io.output.unsent() + self.slots.held() < self.limits.out_max / 2 {
            let Some((number, receive)) = self.feeds.feed_next() else { break };
            let command = Command::Receive(receive);
            io.requests.push_back(Request { tag: FEED_TAGS + number, command });
        }
        io.requests.len() > before
    }
}

/// The answer to SUBSCRIBE and WATCH.
fn opened_text(form: &Form, answer: &Answer) -> String {
    match answer {
        Answer::Refused(refusal) => form.refused(refusal),
        Answer::Kv(KvAnswer::Watching { revision, .. }) => {
            form.done(OK, &serde_json::json!({"revision": revision.0}))
        }
        _ => form.word(OK),
    }
}

fn each_message(block: &BlockDelivery, mut push: impl FnMut(&Event<'_>)) {
    for payload in block.messages.shared() {
        push(&Event::Message {
            topic: &block.topic,
            sender: &block.sender,
            published_at: block.published_at,
            headers: &[],
            payload: &payload,
        });
    }
}
