//! Watchers of one key, by the thousand, over the line door: each is told of every change before the
//! next one is made, so no two changes share a push.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::CrowdError;
use crate::process::{Broker, Launch};
use crate::wire::Conn;

/// Room for them, whatever the defaults are.
const SETTINGS: &str =
    "durability = \"os\"\nwatches_max = 100000\nwatches_per_principal = 100000\n";
const KEY: &str = "watched";
/// Changes before anything counts: buffers grow in them.
const WARM_UP: u64 = 3;
/// Nothing came for so long: pushes are missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the broker is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where its data goes: an empty directory.
    pub dir: PathBuf,
    /// Watchers, a connection each.
    pub watchers: usize,
    /// Changes of the key that count.
    pub changes: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Processor time of the broker, for each watcher and change.
    pub cpu_each: Duration,
    /// Time from a change until the last watcher had it, on average.
    pub told_within: Duration,
    /// Bytes of resident memory that the broker had more, for each watcher.
    pub bytes_each: u64,
}

/// Runs it all. Every watcher has to get every change, in order.
///
/// # Errors
/// The broker failed, or a watcher was told something else than what was done.
pub fn run(options: &Options) -> Result<Figures, CrowdError> {
    let config = options.dir.join("sluice.toml");
    std::fs::write(&config, SETTINGS)?;
    let (data, log) = (options.dir.join("data"), options.dir.join("log"));
    let broker = Launch::new(&options.program, &data, &log).arg("--config").arg(config).start()?;
    let before = broker.resident_bytes()?;
    let mut crowd = Crowd::new(broker.tcp_addr(), options.watchers)?;
    let bytes_each =
        broker.resident_bytes()?.saturating_sub(before) / options.watchers.max(1) as u64;
    for number in 0..WARM_UP {
        crowd.change(number)?;
    }
    let (began, used) = (std::time::Instant::now(), broker.cpu_time()?);
    for number in WARM_UP..WARM_UP + options.changes {
        crowd.change(number)?;
    }
    let (elapsed, used) = (began.elapsed(), broker.cpu_time()?.saturating_sub(used));
    end(broker)?;
    let changes = options.changes.max(1) as f64;
    Ok(Figures {
        cpu_each: used.div_f64(changes * options.watchers.max(1) as f64),
        told_within: elapsed.div_f64(changes),
        bytes_each,
    })
}

fn end(broker: Broker) -> Result<(), CrowdError> {
    match broker.terminate()?.success() {
        true => Ok(()),
        false => Err(CrowdError::Other("the broker did not end in order")),
    }
}

/// All watchers, and who changes the key.
struct Crowd {
    poll: rustix::fd::OwnedFd,
    watchers: Vec<Watcher>,
    writer: Conn,
}

struct Watcher {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Crowd {
    fn new(addr: SocketAddr, count: usize) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut watchers = Vec::with_capacity(count);
        for at in 0..count {
            let mut conn = Conn::open(addr)?;
            conn.out.extend_from_slice(format!("WATCH {KEY}\n").as_bytes());
            conn.flush()?;
            expect_ok(&mut conn)?;
            let stream = conn.into_stream()?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
            watchers.push(Watcher { stream, held: Vec::new() });
        }
        Ok(Self { poll, watchers, writer: Conn::open(addr)? })
    }

    /// Changes the key, and waits until all have been told.
    fn change(&mut self, number: u64) -> io::Result<()> {
        writeln!(self.writer.out, "SET {KEY} {number}")?;
        self.writer.flush()?;
        expect_ok(&mut self.writer)?;
        let expected = format!("*put {KEY} {number}\n");
        let patience = rustix::time::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let mut left = self.watchers.len();
        let mut events = Vec::with_capacity(1_024);
        while left > 0 {
            events.clear();
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&patience))?;
            if events.is_empty() {
                return Err(io::Error::other(format!("{left} watchers were not told of a change")));
            }
            for event in &events {
                let watcher = &mut self.watchers[event.data.u64() as usize];
                left -= usize::from(watcher.hear(expected.as_bytes())?);
            }
        }
        Ok(())
    }
}

impl Watcher {
    /// Reads what there is; whether that is the whole push that is due.
    fn hear(&mut self, expected: &[u8]) -> io::Result<bool> {
        let mut bytes = [0; 256];
        let read = self.stream.read(&mut bytes)?;
        self.held.extend_from_slice(&bytes[..read]);
        if read == 0 || !expected.starts_with(&self.held) {
            let held = String::from_utf8_lossy(&self.held);
            return Err(io::Error::other(format!("a watcher was told `{}`", held.escape_debug())));
        }
        let is_whole = self.held.len() == expected.len();
        if is_whole {
            self.held.clear();
        }
        Ok(is_whole)
    }
}

fn expect_ok(conn: &mut Conn) -> io::Result<()> {
    conn.next(|input| match crate::wire::line(input) {
        Some((b"OK", end)) => Ok(Some(((), end))),
        Some((text, _)) => Err(crate::wire::unexpected("no OK", text)),
        None => Ok(None),
    })
}
