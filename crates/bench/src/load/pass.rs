//! Messages that pass from one publisher to its subscribers, none of them confirmed: as fast as
//! they go while the publisher stays at most a lead ahead of the slowest subscriber.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::error::LoadError;
use super::inflow::Inflow;
use super::outflow::Outflow;
use super::tally::Tally;
use super::template::Message;

/// A publisher's connection.
pub type Publisher = (TcpStream, Box<dyn Outflow>);
/// A subscriber's.
pub type Subscriber = (TcpStream, Box<dyn Inflow>);

/// How long and how far ahead.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Time that counts.
    pub duration: Duration,
    /// Messages that the publisher may be ahead.
    pub lead: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Deliveries that count.
    pub delivered: u64,
    /// In this time.
    pub elapsed: Duration,
    /// Deliveries in all.
    pub all: u64,
}

impl Passed {
    /// Deliveries a second.
    pub fn rate(&self) -> f64 {
        self.delivered as f64 / self.elapsed.as_secs_f64()
    }
}

/// Bytes of a subscriber's buffer.
const READ: usize = 256 << 10;
/// Bytes of each buffer where there are many.
const READ_MANY: usize = 64 << 10;
/// Everything counts as lost that has not come after so long without anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often somebody who waits looks up.
const LOOK: Duration = Duration::from_millis(100);

/// Runs it.
///
/// # Errors
/// A connection failed, or a message was lost, doubled, changed or out of order.
pub fn run(
    publisher: Publisher,
    subscribers: Vec<Subscriber>,
    message: Message,
    limits: Limits,
) -> Result<Passed, LoadError> {
    let progress = Progress::default();
    // Its connection stays until everything has arrived: a server may close the others with it.
    let (mut stream, mut outflow) = publisher;
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let sent = publish(&mut stream, outflow.as_mut(), &progress, limits);
            progress.ended.store(true, SeqCst);
            sent
        });
        let received = receive(subscribers, message, &progress, sender.thread(), limits);
        progress.ended.store(true, SeqCst);
        sender.thread().unpark();
        let sent = sender.join().map_err(|_| io::Error::other("the publisher panicked"))?;
        let (lanes, passed) = received?;
        let sent = sent?;
        let fault = lanes.iter().find_map(|lane| lane.tally.fault(sent));
        fault.map_or(Ok(passed), |fault| Err(LoadError::Messages(fault)))
    })
}

/// What the two sides know of each other.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    /// Messages that every subscriber has.
    received: AtomicU64,
    /// The publisher waits.
    waits: AtomicBool,
    /// Nothing more is sent.
    ended: AtomicBool,
}

fn publish(
    stream: &mut TcpStream,
    outflow: &mut dyn Outflow,
    progress: &Progress,
    limits: Limits,
) -> io::Result<u64> {
    let ends = Instant::now() + limits.warm_up + limits.duration;
    let mut sent = 0;
    while Instant::now() < ends && !progress.ended.load(SeqCst) {
        // More than was sent arrives where messages are doubled.
        let ahead = |sent: u64| sent.saturating_sub(progress.received.load(SeqCst));
        let room = limits.lead.saturating_sub(ahead(sent));
        // Half of the lead at once keeps the wake-ups few.
        if room < limits.lead.div_ceil(2) {
            progress.waits.store(true, SeqCst);
            if ahead(sent) > limits.lead / 2 {
                thread::park_timeout(LOOK);
            }
            progress.waits.store(false, SeqCst);
            continue;
        }
        let (frames, count) = outflow.next(sent + 1, room);
        // Told before it is written, so that nothing arrives that nobody knows of.
        sent += count;
        progress.sent.store(sent, SeqCst);
        stream.write_all(frames)?;
    }
    Ok(sent)
}

struct Lane {
    stream: TcpStream,
    inflow: Box<dyn Inflow>,
    tally: Tally,
    input: Box<[u8]>,
    held: usize,
    out: Vec<u8>,
}

impl Lane {
    /// Takes what a read brings; false if it brought nothing in time.
    fn receive(&mut self) -> io::Result<bool> {
        let read = match self.stream.read(&mut self.input[self.held..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let end = self.held + read;
        let taken = self.inflow.take(&self.input[..end], &mut self.tally, &mut self.out)?;
        self.input.copy_within(taken..end, 0);
        self.held = end - taken;
        if !self.out.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(true)
    }
}

fn receive(
    subscribers: Vec<Subscriber>,
    message: Message,
    progress: &Progress,
    publisher: &Thread,
    limits: Limits,
) -> io::Result<(Vec<Lane>, Passed)> {
    let buffer = if subscribers.len() == 1 { READ } else { READ_MANY };
    let lane = |(stream, inflow): Subscriber| {
        stream.set_read_timeout(Some(LOOK))?;
        let input = vec![0; buffer.max(2 * message.bytes + 1024)].into_boxed_slice();
        Ok(Lane { stream, inflow, tally: Tally::of(message), input, held: 0, out: Vec::new() })
    };
    let mut lanes = subscribers.into_iter().map(lane).collect::<io::Result<Vec<_>>>()?;
    let mut clock = Clock::new(limits.warm_up);
    let mut wait = Wait::over(&lanes)?;
    loop {
        let some = wait.receive(&mut lanes)?;
        let least = lanes.iter().map(|lane| lane.tally.count()).min().unwrap_or(0);
        progress.received.store(least, SeqCst);
        if some {
            clock.see(&lanes);
        }
        let ahead = progress.sent.load(SeqCst).saturating_sub(least);
        if progress.waits.load(SeqCst) && ahead <= limits.lead / 2 {
            publisher.unpark();
        }
        let ended = progress.ended.load(SeqCst);
        if (ended && progress.sent.load(SeqCst) <= least) || clock.silence() > PATIENCE {
            return Ok((lanes, clock.passed()));
        }
    }
}

/// How one thread waits for one connection or for many.
enum Wait {
    One,
    Many { poll: std::os::fd::OwnedFd, events: Vec<epoll::Event> },
}

impl Wait {
    fn over(lanes: &[Lane]) -> io::Result<Self> {
        if lanes.len() == 1 {
            return Ok(Self::One);
        }
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, lane) in lanes.iter().enumerate() {
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&poll, &lane.stream, data, epoll::EventFlags::IN)?;
        }
        Ok(Self::Many { poll, events: Vec::with_capacity(lanes.len()) })
    }

    fn receive(&mut self, lanes: &mut [Lane]) -> io::Result<bool> {
        match self {
            Self::One => lanes[0].receive(),
            Self::Many { poll, events } => {
                events.clear();
                let look = Timespec { tv_sec: 0, tv_nsec: LOOK.as_nanos() as i64 };
                epoll::wait(&*poll, spare_capacity(events), Some(&look))?;
                for event in &*events {
                    lanes[event.data.u64() as usize].receive()?;
                }
                Ok(!events.is_empty())
            }
        }
    }
}

/// When what arrived.
struct Clock {
    counts_from: Instant,
    first: Option<(Instant, u64)>,
    last: (Instant, u64),
}

impl Clock {
    fn new(warm_up: Duration) -> Self {
        let now = Instant::now();
        Self { counts_from: now + warm_up, first: None, last: (now, 0) }
    }

    fn see(&mut self, lanes: &[Lane]) {
        let all = lanes.iter().map(|lane| lane.tally.count()).sum();
        self.last = (Instant::now(), all);
        if self.first.is_none() && self.last.0 >= self.counts_from {
            self.first = Some(self.last);
        }
    }

    fn silence(&self) -> Duration {
        self.last.0.elapsed()
    }

    fn passed(&self) -> Passed {
        let (from, before) = self.first.unwrap_or((self.counts_from, 0));
        let (until, all) = self.last;
        Passed { delivered: all - before, elapsed: until.saturating_duration_since(from), all }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::{Batch, Fixed, Template};
    use super::*;

    const MESSAGE: Message = Message { bytes: 16, content: true };

    /// A relay that has `spoil` see what it copies, and ends at an empty message.
    fn relay(mut spoil: impl FnMut(&mut Vec<u8>) + Send + 'static) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (publisher, subscriber) =
            (TcpStream::connect(addr).unwrap(), TcpStream::connect(addr).unwrap());
        let (mut from, _) = listener.accept().unwrap();
        let (mut to, _) = listener.accept().unwrap();
        thread::spawn(move || {
            let mut message = vec![0; MESSAGE.bytes];
            while from.read_exact(&mut message).is_ok() {
                let mut copied = message.clone();
                spoil(&mut copied);
                if copied.is_empty() {
                    return;
                }
                if to.write_all(&copied).is_err() {
                    return;
                }
            }
        });
        (publisher, subscriber)
    }

    fn passed(spoil: impl FnMut(&mut Vec<u8>) + Send + 'static) -> Result<Passed, LoadError> {
        let (publisher, subscriber) = relay(spoil);
        let batch = Batch::new(Template::new(MESSAGE.blank(), 0, MESSAGE));
        let limits =
            Limits { warm_up: Duration::ZERO, duration: Duration::from_millis(30), lead: 100 };
        let subscribers: Vec<Subscriber> = vec![(subscriber, Box::new(Fixed(MESSAGE.bytes)))];
        run((publisher, Box::new(batch)), subscribers, MESSAGE, limits)
    }

    #[test]
    fn all_that_is_sent_arrives_and_counts() {
        let passed = passed(|_| {}).unwrap();
        assert!(passed.all > 100 && passed.delivered <= passed.all);
        assert!(passed.rate() > 0.0);
    }

    #[test]
    fn a_lost_connection_is_no_lost_message() {
        let mut count = 0;
        let broken = passed(move |message| {
            count += 1;
            if count == 50 {
                message.clear();
            }
        });
        assert!(matches!(broken, Err(LoadError::Io(_))));
    }

    #[test]
    fn a_flipped_bit_and_a_message_too_many_are_told() {
        let mut count = 0;
        let flipped = passed(move |message| {
            count += 1;
            message[12] ^= u8::from(count == 50);
        });
        assert!(flipped.unwrap_err().to_string().contains("1 with wrong bytes"));
        let mut count = 0;
        let doubled = passed(move |message| {
            count += 1;
            if count == 50 {
                message.extend_from_within(..);
            }
        });
        assert!(matches!(doubled, Err(LoadError::Messages(_))));
    }
}
