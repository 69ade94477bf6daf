//! Steady traffic through a real broker: published and consumed as fast as it goes, with the
//! directory and the process looked at meanwhile. What is seen is held against the log's bounds.
//!
//! ```text
//! publisher --batch, PING--> broker --POLL, ACK--> consumer
//!     ^                        |                      |
//!     |                        '--> an abandoned subscription, which nobody consumes
//!     '------------- credit for what was consumed ----'
//! ```
//!
//! The publisher is never further ahead of the consumer than `AHEAD_MAX`, so that the traffic is
//! steady and not a backlog that grows.

mod clients;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::process::{Launch, StartError};
use crate::v1::{Client, ClientError};
use clients::{Consumer, IDLE, Publisher};
use watch::Watch;

/// Messages that the publisher may be ahead of the consumer.
const AHEAD_MAX: u64 = 20_000;
/// Bytes of a segment and most bytes to replay, as they are by default.
const SEGMENT: u64 = 64 << 20;
const REPLAY_MAX: u64 = 32 << 20;
/// Parts of a run whose resident sets are told apart.
pub const PARTS: usize = 10;
/// How often the directory and the process are looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// How the broker is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where its data goes: an empty directory.
    pub dir: PathBuf,
    /// How long.
    pub duration: Duration,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// One message of so many goes to the abandoned subscription; 0 for none.
    pub abandoned_one_in: u64,
    /// Subscriptions that each message goes to.
    pub subscriptions: u64,
    /// Confirm once the kernel has it, which loads the log more than a disk would let it.
    pub unsynced: bool,
}

/// What was seen from outside and what the broker said at its end.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Time that it ran.
    pub elapsed: Duration,
    /// Messages published and confirmed.
    pub published: u64,
    /// Messages consumed and acknowledged by the consumer that sets the pace.
    pub consumed: u64,
    /// Largest size of all segment files.
    pub file_bytes_max: u64,
    /// The most that they were above twice the live bytes, in segments; at most 4.
    pub segments_above: f64,
    /// Live bytes at the end, as far as they can be seen from outside.
    pub live_bytes: u64,
    /// The broker's largest resident set in each part of the run, which tells whether it grows.
    pub resident_max: [u64; PARTS],
    /// Bytes that the log wrote.
    pub log_bytes: u64,
    /// Bytes that checkpoints wrote; at most a third of the log's.
    pub image_bytes: u64,
    /// Bytes copied out of sparse segments.
    pub moved_bytes: u64,
    /// Most bytes that a start would have replayed.
    pub replay_bytes_max: u64,
    /// How often a publisher waited for a checkpoint.
    pub replay_waits: u64,
    /// How often publishes waited for segments to be cleared.
    pub clearing_waits: u64,
    /// The longest turn, and how many took more than 2 ms.
    pub longest_turn: Duration,
    /// Turns of more than 2 ms.
    pub long_turns: u64,
    /// The longest time that an image held the engine, by the clock and by processor time; at most 2
    /// ms of that.
    pub longest_image: [Duration; 2],
    /// The longest time that moving bodies held it, by both.
    pub longest_move: [Duration; 2],
}

impl Figures {
    /// The bound on bytes to replay.
    pub const REPLAY_MAX: u64 = REPLAY_MAX;
}

/// Why a run ended early.
#[derive(Debug, Error)]
pub enum SteadyError {
    /// The broker did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A client failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file or process failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A client panicked, or the broker's last words were not understood.
    #[error("{0}")]
    Other(&'static str),
}

/// What the clients share with the one that watches.
#[derive(Debug, Default)]
struct Progress {
    over: AtomicBool,
    sent: AtomicU64,
    confirmed: AtomicU64,
    /// Sent to the abandoned subscription.
    abandoned: AtomicU64,
    consumed: AtomicU64,
}

/// Runs it all.
///
/// # Errors
/// The broker or a client failed.
pub fn run(options: &Options) -> Result<Figures, SteadyError> {
    let (data, log) = (options.dir.join("data"), options.dir.join("log"));
    let mut launch = Launch::new(&options.program, &data, &log);
    if options.unsynced {
        let config = options.dir.join("sluice.toml");
        std::fs::write(&config, "durability = \"os\"\n")?;
        launch = launch.arg("--config").arg(config);
    }
    let broker = launch.start()?;
    let addr = broker.tcp_addr();
    let mut idle = Client::connect(addr, None)?;
    idle.subscribe(IDLE, 1)?;
    idle.close();
    let (credit, credits) = mpsc::channel();
    // The first sets the pace; the others are behind it by a batch or two.
    let mut consumers = Vec::new();
    for at in 0..options.subscriptions.max(1) {
        consumers.push(Consumer::new(addr, (at == 0).then(|| credit.clone()))?);
    }
    drop(credit);
    let mut publisher = Publisher::new(addr, options, credits)?;
    let progress = Progress::default();
    let mut watch = Watch::new(&data, broker.pid(), options);
    let began = Instant::now();
    thread::scope(|scope| {
        let publishing = scope.spawn(|| publisher.run(&progress));
        let mut others = Vec::new();
        for mut consumer in consumers {
            let progress = &progress;
            others.push(scope.spawn(move || consumer.run(progress)));
        }
        let mut outcome = Ok(());
        while began.elapsed() < options.duration && outcome.is_ok() && !publishing.is_finished() {
            thread::sleep(SAMPLE);
            outcome = watch.look(&progress);
        }
        progress.over.store(true, Ordering::Relaxed);
        for client in others.into_iter().chain([publishing]) {
            client.join().map_err(|_| SteadyError::Other("a client panicked"))??;
        }
        outcome.map_err(SteadyError::from)
    })?;
    let elapsed = began.elapsed();
    watch.look(&progress)?;
    broker.terminate()?;
    let figures = Figures {
        elapsed,
        published: progress.confirmed.load(Ordering::Relaxed),
        consumed: progress.consumed.load(Ordering::Relaxed),
        ..watch.figures
    };
    watch::last_words(&std::fs::read_to_string(&log)?, figures)
}
