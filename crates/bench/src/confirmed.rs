//! Workload B: confirmed publishes over version 1, the broker and a null server in turn.
//!
//! Both get the same bytes from the same client loop. Each repetition starts a broker of its own
//! on an empty directory and a null server of its own, so that nothing piles up between them.
//!
//! By default both write where blocks were written before: the null server round and round in a
//! file of zeros, the broker in segments that it has zeroed in the background, which takes a
//! first segment that is filled and does not count. [`Options::fresh`] lets both grow instead.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sluice_protocol::FrameEncodeError;
use thiserror::Error;

use crate::exchange::Exchange;
use crate::flow::{Limits, connect, drive};
use crate::null::{LogFile, nulllog, nulllog64};
use crate::process::{Broker, Launch, StartError};
use crate::report::{Measured, Pair, Row};
use crate::v1::{Client, ClientError};

const TOPIC: &str = "bench";
/// Bytes of one of the broker's segments while prepared ones are measured: two of them, the one
/// in use and the next, are what a repetition may fill.
const SEGMENT: u64 = 512 << 20;
/// Part of two segments that may be filled; the rest is for what the broker writes around it.
const ROOM: u64 = 2 * SEGMENT * 8 / 10;
/// Bytes of the null server's file.
const NULL_FILE: u64 = 256 << 20;
/// Payload of the messages that fill the first segment.
const FILLING: usize = 256 << 10;
/// The disk counts as quiet after so long without a write.
const QUIET: Duration = Duration::from_millis(400);
const QUIET_MAX: Duration = Duration::from_secs(60);

/// How the workload is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where temporary directories are made.
    pub dir: PathBuf,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Repetitions of each row.
    pub repetitions: usize,
    /// Time of each that counts.
    pub duration: Duration,
    /// Confirm once the disk has it; otherwise once the kernel has it.
    pub synced: bool,
    /// Write into files that grow.
    pub fresh: bool,
}

/// How many clients and how much each has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Publishes in flight on each.
    pub in_flight: usize,
}

/// The shapes of the workload's table.
pub const SHAPES: [Shape; 4] = [
    Shape { connections: 1, in_flight: 1 },
    Shape { connections: 1, in_flight: 16 },
    Shape { connections: 1, in_flight: 256 },
    Shape { connections: 64, in_flight: 1 },
];

/// Why a figure could not be had.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The broker did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A client could not go on.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file or socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A message is too large.
    #[error(transparent)]
    Encode(#[from] FrameEncodeError),
}

/// Runs one shape: null server and broker in turn, the first of each pair changing.
///
/// # Errors
/// A server failed or gave a wrong answer.
pub fn measure(options: &Options, shape: Shape) -> Result<Row, BenchError> {
    let mut pairs = Vec::new();
    for repetition in 0..options.repetitions {
        let (null, broker) = if repetition % 2 == 0 {
            let null = against_null(options, shape)?;
            (null, against_broker(options, shape)?)
        } else {
            let broker = against_broker(options, shape)?;
            (against_null(options, shape)?, broker)
        };
        pairs.push(Pair { null, broker });
    }
    let Shape { connections, in_flight } = shape;
    let null = if connections == 1 { "nulllog" } else { "nulllog64" };
    Ok(Row { name: format!("{connections} x {in_flight} in flight"), null: null.into(), pairs })
}

impl Options {
    fn exchange(&self) -> Result<Exchange, FrameEncodeError> {
        Exchange::publish(TOPIC, &vec![b'x'; self.message_bytes])
    }

    fn limits(&self, shape: Shape, request_bytes: usize) -> Limits {
        Limits {
            in_flight: shape.in_flight,
            warm_up: self.duration / 8,
            duration: self.duration,
            requests_max: if self.fresh { u64::MAX } else { ROOM / request_bytes as u64 },
        }
    }
}

fn against_null(options: &Options, shape: Shape) -> Result<Measured, BenchError> {
    let exchange = options.exchange()?.answered_by_a_byte();
    let folder = tempfile::tempdir_in(&options.dir)?;
    let path = folder.path().join("null");
    let file = match options.fresh {
        true => LogFile::growing(&path, options.synced)?,
        false => LogFile::prepared(&path, NULL_FILE, options.synced)?,
    };
    let bytes = exchange.request_bytes();
    let addr = if shape.connections == 1 { nulllog(file, bytes)? } else { nulllog64(file, bytes)? };
    let streams = connect(addr, shape.connections)?;
    let seen = drive(streams, &exchange, options.limits(shape, bytes))?;
    Ok(Measured { seen, cpu: None })
}

fn against_broker(options: &Options, shape: Shape) -> Result<Measured, BenchError> {
    let exchange = options.exchange()?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    let broker = start(options, folder.path())?;
    // Messages that nobody subscribes to would not be kept.
    let mut subscriber = Client::connect(broker.tcp_addr(), None)?;
    subscriber.subscribe(TOPIC, 1)?;
    if !options.fresh {
        prepare(&broker)?;
    }
    let streams: Result<Vec<TcpStream>, ClientError> = (0..shape.connections)
        .map(|_| Client::connect(broker.tcp_addr(), None).map(Client::into_stream))
        .collect();
    let limits = options.limits(shape, exchange.request_bytes());
    let cpu = broker.cpu_time()?;
    let seen = drive(streams?, &exchange, limits)?;
    let cpu = (broker.cpu_time()? - cpu).as_secs_f64() * 1e6 / seen.sent as f64;
    broker.kill()?;
    Ok(Measured { seen, cpu: Some(cpu) })
}

fn start(options: &Options, folder: &Path) -> Result<Broker, BenchError> {
    let config = folder.join("sluice.toml");
    let durability = if options.synced { "sync" } else { "os" };
    let mut text = format!("durability = \"{durability}\"\n");
    // Nothing is consumed here, so the bounds on what may wait must not be met.
    text += "v1_max_messages = 1000000000\nmax_bytes = 1099511627776\n";
    if !options.fresh {
        text += &format!("segment_bytes = {SEGMENT}\n");
    }
    fs::write(&config, text)?;
    let launch = Launch::new(&options.program, &folder.join("data"), &folder.join("log"));
    Ok(launch.arg("--config").arg(config).start()?)
}

/// Has the broker move on to a segment that it has prepared, and prepare the one after it.
fn prepare(broker: &Broker) -> Result<(), BenchError> {
    await_quiet(broker)?;
    let mut client = Client::connect(broker.tcp_addr(), None)?;
    // A topic of its own, so that its messages are gone when its subscription is.
    client.subscribe("filling", 1)?;
    let payload = vec![0; FILLING];
    for _ in 0..SEGMENT / FILLING as u64 {
        client.publish("filling", 1, &payload)?;
        client.fence()?;
    }
    await_quiet(broker)
}

/// Waits until the broker has written nothing for a while. Its figures are all that can be seen
/// from outside of its work in the background.
fn await_quiet(broker: &Broker) -> Result<(), BenchError> {
    let started = Instant::now();
    let mut written = broker.written_bytes()?;
    while started.elapsed() < QUIET_MAX {
        thread::sleep(QUIET);
        let now = broker.written_bytes()?;
        if now == written {
            break;
        }
        written = now;
    }
    Ok(())
}
