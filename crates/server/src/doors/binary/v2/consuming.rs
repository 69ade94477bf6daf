//! SUBSCRIBE, CONSUME, CANCEL, CREDIT, RECEIVE: who gets messages, and how many.

use std::time::Duration;

use sluice_model::{
    Code, Command, KvRequest, Qos, QueueName, QueueSettings, Receive, Refusal, Request, Source,
    Subscribe, SubscriptionName, TopicPattern,
};
use sluice_protocol::binary::v2::{self, CREDIT_MAX, ConsumeRef, Credit, ReceiveRef, SubscribeRef};

use super::answers::Local;
use super::consumers::{Appetite, CONSUMERS_MAX, Consumer};
use super::parts::Receiving;
use super::pending::{Kind, PUSH_TAGS};
use super::session::Session;
use crate::doors::binary::common::Io;

/// Most RECEIVEs of one connection that wait.
const WAITS_MAX: usize = 1_024;
/// How long a receive waits for what is to be pushed, before it is asked again.
const PUSH_WAIT: Duration = Duration::from_secs(3_600);
const NO_CONSUMER: &str = "there is no such consumer";

/// A consumer that is not there yet.
#[derive(Debug)]
pub(super) struct Opening {
    /// Where from; none until its subscription has a number.
    pub(super) from: Option<Source>,
    pub(super) qos: Qos,
    pub(super) push: bool,
    pub(super) credit: u32,
    pub(super) lease: Option<Duration>,
    /// Its number, once it is there: further messages come for the receive that opened it.
    pub(super) number: Option<u64>,
}

/// A RECEIVE that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) id: u64,
    pub(super) tokens: bool,
    pub(super) consumer: u64,
}

impl Session {
    pub(super) fn subscribe(&mut self, id: u64, frame: &SubscribeRef<'_>, io: &mut Io<'_>) {
        let subscribe = match subscription(frame) {
            Ok(subscribe) => subscribe,
            Err(text) => return self.refuse(id, Code::Invalid, text, io),
        };
        if self.is_full() {
            return self.too_many_consumers(id, io);
        }
        self.receiving.opening.push_back(Opening {
            from: None,
            qos: frame.qos,
            push: frame.push,
            credit: frame.credit.min(CREDIT_MAX),
            lease: millis(frame.lease_ms),
            number: None,
        });
        self.push(io.requests, id, Kind::Subscribe, Command::Subscribe(subscribe));
    }

    pub(super) fn consume(&mut self, id: u64, frame: ConsumeRef<'_>, io: &mut Io<'_>) {
        let queue = match QueueName::new(frame.queue) {
            Ok(queue) => queue,
            Err(error) => return self.refuse(id, Code::Invalid, error.to_string(), io),
        };
        if self.is_full() {
            return self.too_many_consumers(id, io);
        }
        let opening = Opening {
            from: Some(Source::Queue(queue.clone())),
            qos: Qos::AtLeastOnce,
            push: true,
            credit: frame.credit.min(CREDIT_MAX),
            lease: millis(frame.lease_ms),
            number: None,
        };
        // What comes first says whether there is such a queue, and whether the key may consume it.
        let room = self.receiving.window.room(self.limits.in_flight_max, self.now);
        let consumer = consumer(id, &opening);
        let max = consumer.max(room);
        if max == 0 {
            let number = self.receiving.consumers.add(consumer);
            return self.answer(id, Local::Consuming(number), io);
        }
        let (from, lease) = (Source::Queue(queue), opening.lease);
        let receive = Receive { max, lease, gaps: true, ..Receive::one(from) };
        self.receiving.opening.push_back(opening);
        self.push(io.requests, id, Kind::Consume, Command::Receive(receive));
    }

    pub(super) fn is_full(&self) -> bool {
        self.receiving.consumers.len() + self.receiving.opening.len() >= CONSUMERS_MAX
    }

    pub(super) fn too_many_consumers(&mut self, id: u64, io: &mut Io<'_>) {
        let text = format!("a connection has at most {CONSUMERS_MAX} consumers");
        self.refuse(id, Code::RateLimited, text, io);
    }

    pub(super) fn cancel(&mut self, id: u64, number: u64, io: &mut Io<'_>) {
        let Some(consumer) = self.receiving.consumers.living(number) else {
            return self.refuse(id, Code::NotFound, NO_CONSUMER, io);
        };
        let fed = consumer.appetite == Appetite::Fed;
        let command = match &consumer.from {
            Source::Subscription(subscription) => {
                Command::Unsubscribe { subscription: *subscription }
            }
            Source::Watch(watch) => Command::Kv(KvRequest::Unwatch { watch: *watch }),
            Source::Queue(_) => {
                if fed {
                    self.withdraw(io.requests, PUSH_TAGS + number);
                }
                Command::Fence
            }
        };
        if !fed {
            self.receiving.consumers.remove(number);
        } else if let Some(consumer) = self.receiving.consumers.get_mut(number) {
            consumer.ends = true;
        }
        self.push(io.requests, id, Kind::Cancel, command);
    }

    pub(super) fn credit(&mut self, id: u64, credit: Credit, io: &mut Io<'_>) {
        if !self.receiving.consumers.credit(credit.consumer, credit.messages) {
            self.refuse(id, Code::NotFound, NO_CONSUMER, io);
        }
    }

    pub(super) fn receive_messages(&mut self, id: u64, frame: ReceiveRef<'_>, io: &mut Io<'_>) {
        let (from, qos, consumer) = match self.source(frame.from) {
            Ok(source) => source,
            Err(refusal) => return self.answer(id, Local::Refused(refusal), io),
        };
        let leased = qos == Qos::AtLeastOnce && !frame.unbound;
        let room = if leased {
            self.receiving.window.room(self.limits.in_flight_max, self.now)
        } else {
            usize::MAX
        };
        if room == 0 {
            let text = "the connection holds as many deliveries as it may";
            return self.refuse(id, Code::RateLimited, text, io);
        }
        let max = u32::from(frame.max).min(u32::try_from(room).unwrap_or(u32::MAX));
        let (lease, wait) = (millis(frame.lease_ms), millis(frame.wait_ms));
        let bound = !frame.unbound;
        let receive = Receive { max, lease, wait, bound, gaps: true, ..Receive::one(from) };
        let tokens = frame.unbound;
        if wait.is_none() {
            let kind = Kind::Receive { tokens, consumer };
            return self.push(io.requests, id, kind, Command::Receive(receive));
        }
        if self.receiving.waits.len() >= WAITS_MAX {
            let text = format!("at most {WAITS_MAX} receives of a connection wait");
            return self.refuse(id, Code::RateLimited, text, io);
        }
        let Receiving { waits, last_wait, .. } = &mut *self.receiving;
        *last_wait += 1;
        waits.insert(*last_wait, Wait { id, tokens, consumer });
        let command = Command::Receive(receive);
        io.requests.push_back(Request { tag: *last_wait, command });
    }

    /// Where a RECEIVE takes messages from, how, and through which consumer, 0 for none.
    fn source(&self, from: v2::Source<'_>) -> Result<(Source, Qos, u64), Refusal> {
        match from {
            v2::Source::Queue(name) => {
                let queue = QueueName::new(name)
                    .map_err(|error| Refusal::new(Code::Invalid, error.to_string()))?;
                Ok((Source::Queue(queue), Qos::AtLeastOnce, 0))
            }
            v2::Source::Consumer(number) => match self.receiving.consumers.living(number) {
                None => Err(Refusal::new(Code::NotFound, NO_CONSUMER)),
                Some(consumer) if consumer.push => {
                    Err(Refusal::new(Code::Invalid, "the consumer is pushed to"))
                }
                Some(consumer) => Ok((consumer.from.clone(), consumer.qos, number)),
            },
        }
    }

    /// Makes the consumer that was asked for by the frame `id`, and says which number it has.
    pub(super) fn opened(&mut self, id: u64, opening: &Opening) -> u64 {
        self.receiving.consumers.add(consumer(id, opening))
    }

    /// Asks the broker for what may be pushed to the client, as far as the client takes what was
    /// pushed before; whether anything was asked.
    pub(crate) fn ask(&mut self, io: &mut Io<'_>) -> bool {
        let Some(Receiving { consumers, window, .. }) = self.receiving.made() else { return false };
        let before = io.requests.len();
        while consumers.is_hungry()
            && !self.draining
            && io.output.unsent() < self.limits.out_max / 2
        {
            let room = window.room(self.limits.in_flight_max, self.now);
            let Some((number, consumer)) = consumers.next_hungry() else { break };
            let max = consumer.max(room);
            if max == 0 {
                consumers.pause(number, window.ends_after());
                continue;
            }
            let (from, lease) = (consumer.from.clone(), consumer.lease);
            let wait = Some(PUSH_WAIT);
            let receive = Receive { max, lease, wait, gaps: true, ..Receive::one(from) };
            let command = Command::Receive(receive);
            io.requests.push_back(Request { tag: PUSH_TAGS + number, command });
        }
        io.requests.len() > before
    }
}

fn consumer(id: u64, opening: &Opening) -> Consumer {
    Consumer {
        id,
        from: opening.from.clone().unwrap_or(Source::Subscription(sluice_model::SubscriptionId(0))),
        qos: opening.qos,
        push: opening.push,
        credit: opening.credit,
        lease: opening.lease,
        appetite: Appetite::Idle,
        ends: false,
    }
}

fn subscription(frame: &SubscribeRef<'_>) -> Result<Subscribe, String> {
    let pattern = TopicPattern::new(frame.pattern).map_err(|error| error.to_string())?;
    let mut settings = QueueSettings::default();
    for (name, value) in frame.settings.iter() {
        settings.set_text(name, value).map_err(|error| error.to_string())?;
    }
    let name = match frame.qos {
        Qos::AtMostOnce => None,
        Qos::AtLeastOnce => {
            Some(SubscriptionName::new(frame.name).map_err(|error| error.to_string())?)
        }
    };
    if name.is_none() && !settings.is_empty() {
        return Err("a subscription at most once has no settings".to_owned());
    }
    Ok(Subscribe { pattern, qos: frame.qos, name, settings })
}

/// A time in milliseconds, of which 0 stands for none.
fn millis(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(u64::from(millis)))
}
