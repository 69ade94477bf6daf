//! Confirmed requests: a window of them is kept in flight, and their answers are timed.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::{Exchange, nanoseconds};
use crate::wire::unexpected;

/// Bytes taken from a socket at a time.
const READ: usize = 64 << 10;

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests in flight on each connection.
    pub in_flight: usize,
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Time that counts.
    pub duration: Duration,
    /// Ends it early: as many requests as there is prepared room for, over all connections.
    pub requests_max: u64,
}

/// What was seen while it counted.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Requests answered.
    pub answered: u64,
    /// Requests sent in all, the warm-up's too.
    pub sent: u64,
    /// Time from the first that counts to the last answer.
    pub elapsed: Duration,
    /// Nanoseconds from sending to answer.
    pub latencies: Histogram<u64>,
}

impl Seen {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }
}

/// Drives one server over connections that are ready for `exchange`. One connection is served by
/// blocking reads, several by readiness, both from one thread.
///
/// # Errors
/// A connection failed, or an answer was not the one that was due.
pub fn drive(streams: Vec<TcpStream>, exchange: &Exchange, limits: Limits) -> io::Result<Seen> {
    let mut run = Run::new(limits);
    let mut lanes = streams.into_iter().map(Lane::new).collect::<io::Result<Vec<_>>>()?;
    for lane in &mut lanes {
        lane.fill(exchange, &mut run)?;
    }
    if let [lane] = lanes.as_mut_slice() {
        while lane.in_flight() > 0 {
            lane.receive(exchange, &mut run)?;
            lane.fill(exchange, &mut run)?;
        }
    } else {
        drive_many(&mut lanes, exchange, &mut run)?;
    }
    Ok(run.finish())
}

fn drive_many(lanes: &mut [Lane], exchange: &Exchange, run: &mut Run) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (at, lane) in lanes.iter().enumerate() {
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&poll, &lane.stream, data, epoll::EventFlags::IN)?;
    }
    let mut events = Vec::with_capacity(lanes.len());
    while lanes.iter().any(|lane| lane.in_flight() > 0) {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in &events {
            let lane = &mut lanes[event.data.u64() as usize];
            lane.receive(exchange, run)?;
            lane.fill(exchange, run)?;
        }
    }
    Ok(())
}

/// Connects to a server that wants no introduction.
///
/// # Errors
/// A connection failed.
pub fn connect(addr: SocketAddr, connections: usize) -> io::Result<Vec<TcpStream>> {
    (0..connections).map(|_| TcpStream::connect(addr)).collect()
}

/// What all connections of a run share.
struct Run {
    limits: Limits,
    counts_from: Instant,
    ends: Instant,
    last_answer: Instant,
    sent: u64,
    answered: u64,
    latencies: Histogram<u64>,
}

impl Run {
    fn new(limits: Limits) -> Self {
        let counts_from = Instant::now() + limits.warm_up;
        Self {
            limits,
            counts_from,
            ends: counts_from + limits.duration,
            last_answer: counts_from,
            sent: 0,
            answered: 0,
            latencies: nanoseconds(),
        }
    }

    fn may_send(&self, now: Instant) -> u64 {
        if now < self.ends { self.limits.requests_max.saturating_sub(self.sent) } else { 0 }
    }

    fn answer(&mut self, sent: Instant, now: Instant) {
        if now >= self.counts_from {
            self.answered += 1;
            self.last_answer = now;
        }
        if sent >= self.counts_from {
            self.latencies.saturating_record((now - sent).as_nanos() as u64);
        }
    }

    fn finish(self) -> Seen {
        let elapsed = self.last_answer - self.counts_from;
        Seen { answered: self.answered, sent: self.sent, elapsed, latencies: self.latencies }
    }
}

/// One connection.
struct Lane {
    stream: TcpStream,
    sent: u64,
    /// When each request in flight was sent, oldest first.
    waiting: VecDeque<Instant>,
    out: Vec<u8>,
    input: Box<[u8]>,
    /// Bytes of an answer that is not all there.
    held: usize,
}

impl Lane {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (out, input) = (Vec::new(), vec![0; READ].into_boxed_slice());
        Ok(Self { stream, sent: 0, waiting: VecDeque::new(), out, input, held: 0 })
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Sends until the window is full, in one write.
    fn fill(&mut self, exchange: &Exchange, run: &mut Run) -> io::Result<()> {
        let now = Instant::now();
        let count = run.may_send(now).min((run.limits.in_flight - self.in_flight()) as u64);
        if count == 0 {
            return Ok(());
        }
        exchange.put(self.sent + 1, count, &mut self.out);
        self.sent += count;
        run.sent += count;
        self.waiting.extend((0..count).map(|_| now));
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits for bytes and takes the answers among them.
    fn receive(&mut self, exchange: &Exchange, run: &mut Run) -> io::Result<()> {
        let read = self.stream.read(&mut self.input[self.held..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (end, mut at) = (self.held + read, 0);
        let now = Instant::now();
        loop {
            let due = self.sent - self.waiting.len() as u64 + 1;
            let Some((bytes, count)) = (exchange.answer)(due, &self.input[at..end])? else { break };
            for _ in 0..count {
                let sent = self.waiting.pop_front();
                let sent =
                    sent.ok_or_else(|| unexpected("an answer to nothing", &self.input[at..end]))?;
                run.answer(sent, now);
            }
            at += bytes;
        }
        self.input.copy_within(at..end, 0);
        self.held = end - at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Message, Template};
    use crate::null::{LogFile, nulllog, nulllog64};

    fn seen(connections: usize) -> Seen {
        let message = Message { bytes: 32, content: false };
        let request = Template::new(message.blank(), 0, message);
        let exchange =
            Exchange { request, answer: |_, _| Ok(None), pack: None }.answered_by_a_byte();
        let folder = tempfile::tempdir().unwrap();
        let file = LogFile::prepared(&folder.path().join("log"), 1 << 20, false).unwrap();
        let addr = match connections {
            1 => nulllog(file, message.bytes),
            _ => nulllog64(file, message.bytes, connections),
        };
        let streams = connect(addr.unwrap(), connections).unwrap();
        let limits = Limits {
            in_flight: 4,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(600),
            requests_max: 1000,
        };
        drive(streams, &exchange, limits).unwrap()
    }

    #[test]
    fn every_request_is_answered_and_timed() {
        for connections in [1, 3] {
            let seen = seen(connections);
            assert_eq!((seen.sent, seen.answered, seen.latencies.len()), (1000, 1000, 1000));
            assert!(seen.rate() > 0.0);
        }
    }
}
