//! The load: batches go around, so many at a time, over all connections and queues in turn.
//!
//! ```text
//! PUBLISH --CONFIRM--> RECEIVE --DELIVER--> SETTLE --SETTLED--> the next batch
//! ```
//!
//! A batch stays with one connection and one queue. So there is always something to receive: what
//! was confirmed before. Which messages it gets is for the queue's order to say.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use sluice_protocol::binary::v2::TagRange;

use super::seen::Seen;
use crate::load::{LoadError, Message, Tally, Template};
use crate::targets::rounds::{self, Answer};

/// Bytes taken from a socket at a time.
const READ: usize = 256 << 10;
/// Sockets that are looked at at a time.
const EVENTS: usize = 256;
/// What has not come within this time is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much goes around, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// Batches in all.
    pub(super) batches: u64,
    /// Messages of a batch.
    pub(super) batch: u16,
    /// Batches on their way at a time.
    pub(super) in_flight: u64,
    /// They are published only.
    pub(super) fills: bool,
}

impl Work {
    /// Messages in all.
    pub(super) fn messages(&self) -> u64 {
        self.batches * u64::from(self.batch)
    }
}

/// Connections and queues, and what went over them so far.
pub(super) struct Client {
    poll: OwnedFd,
    lanes: Vec<Lane>,
    queues: Vec<String>,
    message: Message,
    template: Template,
    /// Batches and messages that were published so far, and messages that came back.
    batches: u64,
    published: u64,
    pub(super) taken: u64,
    input: Box<[u8]>,
}

/// One connection.
struct Lane {
    stream: TcpStream,
    out: BytesMut,
    /// Bytes of an answer that is not all there.
    held: Vec<u8>,
    /// Batches that no CONFIRM has spoken of, oldest first.
    unconfirmed: VecDeque<u64>,
}

/// A batch on its way.
struct Open {
    queue: usize,
    /// Messages that are still to come.
    missing: u16,
    ranges: Vec<TagRange>,
}

impl Client {
    /// Over connections that are let in, to queues that are there and empty.
    pub(super) fn new(
        streams: Vec<TcpStream>,
        queues: Vec<String>,
        message: Message,
    ) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lanes = Vec::with_capacity(streams.len());
        for (at, stream) in streams.into_iter().enumerate() {
            stream.set_nodelay(true)?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
            let (out, held, unconfirmed) = (BytesMut::new(), Vec::new(), VecDeque::new());
            lanes.push(Lane { stream, out, held, unconfirmed });
        }
        let template = rounds::template(message);
        let input = vec![0; READ].into_boxed_slice();
        let (batches, published, taken) = (0, 0, 0);
        Ok(Self { poll, lanes, queues, message, template, batches, published, taken, input })
    }

    /// Messages that were published and have not come back.
    pub(super) fn backlog(&self) -> u64 {
        self.published - self.taken
    }

    /// Has the work done and gives the time that it took.
    pub(super) fn run(&mut self, work: Work) -> Result<Duration, LoadError> {
        let due = if work.fills { 0 } else { work.messages() };
        let mut run = Run {
            work,
            left: work.batches,
            open: HashMap::new(),
            seen: Seen::due(self.taken + 1, due),
            tally: Tally::of(self.message),
            touched: Vec::new(),
            last: Instant::now(),
        };
        let started = Instant::now();
        self.drive(&mut run)?;
        let elapsed = started.elapsed();
        self.taken += due;
        run.fault().map_or(Ok(elapsed), |fault| Err(LoadError::Messages(fault)))
    }

    fn drive(&mut self, run: &mut Run) -> io::Result<()> {
        for _ in 0..run.work.in_flight {
            self.begin(run)?;
        }
        self.flush(run)?;
        let mut events = Vec::with_capacity(EVENTS);
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        while !run.open.is_empty() && run.last.elapsed() < PATIENCE {
            events.clear();
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&second))?;
            for event in &events {
                self.hear(event.data.u64() as usize, run)?;
            }
            self.flush(run)?;
        }
        Ok(())
    }

    /// Publishes the next batch, if one is left.
    fn begin(&mut self, run: &mut Run) -> io::Result<()> {
        if run.left == 0 {
            return Ok(());
        }
        run.left -= 1;
        let turn = self.batches as usize;
        let (queue, at) = (turn % self.queues.len(), turn % self.lanes.len());
        self.batches += 1;
        let (id, lane) = (self.batches, &mut self.lanes[at]);
        let first = self.published + 1;
        self.published += u64::from(run.work.batch);
        let numbers = first..self.published + 1;
        rounds::publish(&mut lane.out, id, &self.queues[queue], numbers, &self.template)?;
        lane.unconfirmed.push_back(id);
        run.open.insert(id, Open { queue, missing: run.work.batch, ranges: Vec::new() });
        run.touched.push(at);
        Ok(())
    }

    /// Reads what a connection has and goes on with the batches it is about.
    fn hear(&mut self, at: usize, run: &mut Run) -> io::Result<()> {
        let lane = &mut self.lanes[at];
        let mut end = lane.held.len();
        if self.input.len() < end + READ {
            self.input = vec![0; end + READ].into_boxed_slice();
        }
        self.input[..end].copy_from_slice(&lane.held);
        let read = lane.stream.read(&mut self.input[end..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        end += read;
        let (mut from, mut ended) = (0, 0);
        while let Some((answer, bytes)) =
            rounds::answer(&self.input[from..end], &mut |message| run.message(message))?
        {
            from += bytes;
            ended += lane.goes_on(answer, &self.queues, run)?;
        }
        lane.held.clear();
        lane.held.extend_from_slice(&self.input[from..end]);
        run.touched.push(at);
        for _ in 0..ended {
            self.begin(run)?;
        }
        Ok(())
    }

    /// Sends what was asked, one write a connection.
    fn flush(&mut self, run: &mut Run) -> io::Result<()> {
        for at in run.touched.drain(..) {
            let lane = &mut self.lanes[at];
            if !lane.out.is_empty() {
                lane.stream.write_all(&lane.out)?;
                lane.out.clear();
            }
        }
        Ok(())
    }
}

/// What is under way.
struct Run {
    work: Work,
    /// Batches that were not begun.
    left: u64,
    open: HashMap<u64, Open>,
    seen: Seen,
    tally: Tally,
    /// Connections that have something to send.
    touched: Vec<usize>,
    /// When the last message or confirm came.
    last: Instant,
}

impl Run {
    fn message(&mut self, message: &[u8]) {
        let number = self.tally.message(message);
        self.seen.message(number);
    }

    /// What is wrong with what came, or did not.
    fn fault(&self) -> Option<String> {
        let open = self.open.len();
        let unanswered = (open > 0).then(|| format!("{open} batches were never answered"));
        self.seen.fault().or_else(|| self.tally.wrong_fault()).or(unanswered)
    }
}

impl Lane {
    /// Asks for what comes next after an answer; gives how many batches have ended.
    fn goes_on(&mut self, answer: Answer, queues: &[String], run: &mut Run) -> io::Result<u64> {
        let mut ended = 0;
        match answer {
            Answer::Confirmed(last) => {
                run.last = Instant::now();
                while let Some(id) = self.unconfirmed.pop_front_if(|id| *id <= last) {
                    if run.work.fills {
                        run.open.remove(&id);
                        ended += 1;
                    } else if let Some(open) = run.open.get(&id) {
                        rounds::receive(&mut self.out, id, &queues[open.queue], open.missing)?;
                    }
                }
            }
            Answer::Delivered { id, range, more } => {
                let Some(open) = run.open.get_mut(&id) else { return Ok(0) };
                if let Some(range) = range {
                    run.last = Instant::now();
                    open.missing =
                        open.missing.saturating_sub((range.last - range.first + 1) as u16);
                    open.ranges.push(range);
                }
                match (more, open.missing) {
                    (true, _) => {}
                    (false, 0) => rounds::settle(&mut self.out, id, &open.ranges)?,
                    (false, missing) => {
                        rounds::receive(&mut self.out, id, &queues[open.queue], missing)?;
                    }
                }
            }
            Answer::Settled(id) => {
                run.open.remove(&id);
                ended = 1;
            }
        }
        Ok(ended)
    }
}
