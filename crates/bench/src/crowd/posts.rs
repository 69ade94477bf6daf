//! Posts to `/enqueue` from many sockets: as fast as they are answered, or on a schedule that nobody
//! waits for.
//!
//! One thread does it, with as few and as cheap steps as it can, because whatever it takes longer for
//! a post than the broker does would be measured in the broker's place.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::asking::request;
use super::socket::Socket;
use crate::load::nanoseconds;
use crate::usage;

/// Bytes of a message, as in workload I.
const MESSAGE: usize = 24;
/// How long a client waits for a connection and its answer together, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);
/// Sockets that are looked at before the schedule is, and how long that may wait for one.
const AT_ONCE: usize = 64;
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// Room for an answer.
const ROOM: usize = 4 << 10;

/// What is posted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) addr: SocketAddr,
    /// Sockets that may be open at once.
    pub(super) sockets: usize,
    /// Posts that are due in a second, whatever becomes of earlier ones; else as fast as they are
    /// answered.
    pub(super) rate: Option<u64>,
    /// How long it goes on before it counts, and then.
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
}

/// What came of posts.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Posts that were due.
    pub due: u64,
    /// Of these, not sent, because every socket that the client may have waited already.
    pub unsent: u64,
    /// Answered with 202.
    pub accepted: u64,
    /// Answered with 503.
    pub refused: u64,
    /// Answered with anything else.
    pub other: u64,
    /// Not answered in time, or the connection broke.
    pub failed: u64,
    /// Nanoseconds from sending to 202, with a new connection where there was none.
    pub latencies: Histogram<u64>,
    /// How long it went on.
    pub elapsed: Duration,
    /// Processor time of the client for all of it.
    pub cpu: Duration,
}

impl Posted {
    fn none() -> Self {
        let (due, unsent, accepted, refused, other, failed) = (0, 0, 0, 0, 0, 0);
        let (latencies, elapsed, cpu) = (nanoseconds(), Duration::ZERO, Duration::ZERO);
        Self { due, unsent, accepted, refused, other, failed, latencies, elapsed, cpu }
    }

    /// Answers 202 a second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64()
    }

    fn note(&mut self, status: u16, took: Duration) {
        match status {
            202 => {
                self.accepted += 1;
                self.latencies.saturating_record(took.as_nanos() as u64);
            }
            503 => self.refused += 1,
            _ => self.other += 1,
        }
    }
}

/// Posts as planned, on this thread.
pub(super) fn post(plan: &Plan) -> io::Result<Posted> {
    let mut crew = Crew::new(plan)?;
    let counts_from = Instant::now() + plan.warm_up;
    crew.go_on(plan, counts_from)?;
    crew.posted = Posted::none();
    let (began, cpu) = (Instant::now(), usage::thread_cpu_time());
    crew.go_on(plan, counts_from + plan.duration)?;
    // What is answered later is none of these seconds' work.
    crew.posted.elapsed = began.elapsed();
    crew.posted.cpu = usage::thread_cpu_time().saturating_sub(cpu);
    Ok(crew.posted)
}

/// Many sockets, and what came of all posts.
struct Crew {
    addr: SocketAddr,
    request: Vec<u8>,
    poll: OwnedFd,
    events: Vec<epoll::Event>,
    sockets: Vec<Option<Socket>>,
    /// Places of sockets that wait for nothing, and places where none is.
    idle: Vec<usize>,
    free: Vec<usize>,
    posted: Posted,
    room: Vec<u8>,
}

impl Crew {
    fn new(plan: &Plan) -> io::Result<Self> {
        Ok(Self {
            addr: plan.addr,
            request: request("POST", "/enqueue", &[b'x'; MESSAGE]),
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(AT_ONCE),
            sockets: (0..plan.sockets).map(|_| None).collect(),
            idle: Vec::with_capacity(plan.sockets),
            free: (0..plan.sockets).rev().collect(),
            posted: Posted::none(),
            room: vec![0; ROOM],
        })
    }

    fn go_on(&mut self, plan: &Plan, ends: Instant) -> io::Result<()> {
        let began = Instant::now();
        let mut looked = began;
        loop {
            let now = Instant::now();
            if now >= ends {
                return Ok(());
            }
            let due = plan
                .rate
                .map_or(u64::MAX, |rate| ((now - began).as_secs_f64() * rate as f64) as u64);
            while self.posted.due < due && self.begin()? {}
            if plan.rate.is_some() {
                self.posted.unsent += due.saturating_sub(self.posted.due);
                self.posted.due = self.posted.due.max(due);
            }
            self.listen()?;
            if now - looked >= LOOK {
                looked = now;
                self.give_up(now);
            }
        }
    }

    /// Posts over a connection that is there or a new one, if there may be one more.
    fn begin(&mut self) -> io::Result<bool> {
        let at = if let Some(at) = self.idle.pop() {
            at
        } else if let Some(at) = self.free.pop() {
            let socket = Socket::open(self.addr)?;
            epoll::add(&self.poll, &socket.stream, data(at), epoll::EventFlags::IN)?;
            self.sockets[at] = Some(socket);
            at
        } else {
            return Ok(false);
        };
        if let Some(socket) = &mut self.sockets[at] {
            socket.asked = Some(Instant::now());
        }
        self.posted.due += 1;
        self.say(at, epoll::EventFlags::IN)?;
        Ok(true)
    }

    /// Sends the request over a socket that is looked at for `now`. One that has no connection yet is
    /// looked at until it has.
    fn say(&mut self, at: usize, now: epoll::EventFlags) -> io::Result<()> {
        let Some(socket) = &mut self.sockets[at] else { return Ok(()) };
        let wanted = match socket.say(&self.request) {
            Ok(true) => epoll::EventFlags::IN,
            Ok(false) => epoll::EventFlags::OUT,
            Err(_) => {
                self.lose(at);
                return Ok(());
            }
        };
        if wanted != now {
            epoll::modify(&self.poll, &socket.stream, data(at), wanted)?;
        }
        Ok(())
    }

    /// Takes the answers that are there.
    fn listen(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        epoll::wait(&self.poll, spare_capacity(&mut events), Some(&WAIT))?;
        for event in &events {
            let at = event.data.u64() as usize;
            match { event.flags }.contains(epoll::EventFlags::OUT) {
                true => self.say(at, epoll::EventFlags::OUT)?,
                false => self.hear(at),
            }
        }
        self.events = events;
        Ok(())
    }

    fn hear(&mut self, at: usize) {
        let Some(socket) = &mut self.sockets[at] else { return };
        match socket.hear(&mut self.room) {
            Ok(None) => {}
            Ok(Some(head)) => {
                let took = socket.asked.take().map_or(Duration::ZERO, |asked| asked.elapsed());
                self.posted.note(head.status, took);
                match head.closes {
                    true => self.close(at),
                    false => self.idle.push(at),
                }
            }
            Err(_) => self.lose(at),
        }
    }

    /// A socket that is of no more use. One that waits for nothing may end, as it is no answer's.
    fn lose(&mut self, at: usize) {
        match self.sockets[at].as_ref().and_then(|socket| socket.asked) {
            Some(_) => self.posted.failed += 1,
            None => self.idle.retain(|idle| *idle != at),
        }
        self.close(at);
    }

    fn close(&mut self, at: usize) {
        self.sockets[at] = None;
        self.free.push(at);
    }

    /// Loses sockets that have waited for too long.
    fn give_up(&mut self, now: Instant) {
        for at in 0..self.sockets.len() {
            let asked = self.sockets[at].as_ref().and_then(|socket| socket.asked);
            if asked.is_some_and(|asked| now.saturating_duration_since(asked) > PATIENCE) {
                self.lose(at);
            }
        }
    }
}

/// By which epoll names a socket.
fn data(at: usize) -> epoll::EventData {
    epoll::EventData::new_u64(at as u64)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// Accepts the first request of a connection, in two pieces, and refuses the second.
    fn serve(mut stream: TcpStream) -> io::Result<()> {
        let pieces = [
            &b"HTTP/1.1 202 Accepted\r\ncontent-le"[..],
            b"ngth: 0\r\n\r\n",
            b"HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        ];
        stream.set_nodelay(true)?;
        let mut request = vec![0; super::request("POST", "/enqueue", &[0; MESSAGE]).len()];
        stream.read_exact(&mut request)?;
        stream.write_all(pieces[0])?;
        stream.write_all(pieces[1])?;
        stream.read_exact(&mut request)?;
        stream.write_all(pieces[2])
    }

    #[test]
    fn a_connection_that_ends_behind_its_answer_fails_no_post() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (warm_up, duration) = (Duration::ZERO, Duration::from_secs(1));
        let plan = Plan { addr, sockets: 1, rate: None, warm_up, duration };
        let mut crew = Crew::new(&plan).unwrap();
        let mut request = vec![0; crew.request.len()];
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                stream.read_exact(&mut request).unwrap();
                stream.write_all(b"HTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        for accepted in 1..=3 {
            assert!(crew.begin().unwrap());
            while crew.posted.accepted < accepted || crew.free.is_empty() {
                crew.listen().unwrap();
            }
            assert_eq!((crew.posted.failed, crew.idle.len()), (0, 0));
        }
    }

    #[test]
    fn posts_are_counted_by_what_came_of_them() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                thread::spawn(move || serve(stream));
            }
        });
        let (warm_up, duration) = (Duration::ZERO, Duration::from_millis(200));
        let plan = Plan { addr, sockets: 50, rate: Some(1_000), warm_up, duration };
        let posted = post(&plan).unwrap();
        assert!(posted.due >= 100, "{posted:?}");
        let answered = posted.accepted + posted.refused;
        assert!(posted.refused > 0, "{posted:?}");
        assert!(posted.accepted.abs_diff(posted.refused) <= 50, "{posted:?}");
        assert!(answered + posted.unsent <= posted.due, "{posted:?}");
        assert_eq!((posted.other, posted.failed), (0, 0), "{posted:?}");
        let posted = post(&Plan { sockets: 3, rate: None, ..plan }).unwrap();
        assert!(posted.rate() > 0.0 && posted.refused > 0, "{posted:?}");
        assert!(posted.due.abs_diff(posted.accepted + posted.refused) <= 3, "{posted:?}");
    }
}
