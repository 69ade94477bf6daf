//! A real broker, killed at random moments under load, and what must hold afterwards.
//!
//! ```text
//!       .--> start --> check: consumers drain --> load: publishers and consumers --> SIGKILL --.
//!       '--------------------------------------------------------------------------------------'
//! ```
//!
//! Publishers always have publishes in flight that no PONG has confirmed; consumers acknowledge
//! only part of what they get. The check after each start finds that
//!
//! - every publish that was confirmed and not acknowledged is delivered, with its bytes as they
//!   were;
//! - nothing comes whose acknowledgement was confirmed;
//! - within a connection each publisher's messages come in the order published, and so do first
//!   deliveries over all connections.
//!
//! Writers of keys beside them see that no acknowledged write is lost, none counts twice, that
//! revisions never stand for two changes, and that a key with a time to live has that. Watches are held under load:
//! what they were told before the kill has to be so after it.
//!
//! What was in flight at the kill may have survived or not; the check finds out and holds the
//! broker to it.

mod consumer;
mod held_watch;
mod keys;
pub mod limits;
mod message;
mod mortal;
mod publisher;

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use thiserror::Error;

use crate::process::{Broker, Launch, StartError};
use crate::random::Random;
use crate::v1::ClientError;
use consumer::Consumer;
use held_watch::HeldWatch;
use keys::KeyWriter;
use publisher::Publisher;

/// Small segments, so that many are begun and given back. Leases outlast the run, so that a
/// message comes again only for a reason that the check knows.
const SETTINGS: &str = "segment_bytes = 4194304\nreplay_max = 16777216\n\
    max_message_bytes = 65536\nv1_ack_timeout_ms = 3600000\nmax_retries = 10000\n";

/// Its `watch_history`: the changes that watches can begin at. There are more after a few kills.
const HISTORY: u64 = 300;

/// Longest pause between reaching a round's count and the kill, in microseconds.
const PAUSE_MAX: u64 = 4_000;

/// How the broker is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where its data goes: an empty directory.
    pub dir: PathBuf,
    /// What the run follows from, save for the scheduling of processes.
    pub seed: u64,
    /// How often it is killed.
    pub kills: u64,
    /// Publishes in all, at least.
    pub publishes: u64,
    /// Publishers, a connection each.
    pub publishers: u32,
    /// Topics, a consumer each; one more consumer takes them all.
    pub topics: u64,
    /// Writers of keys, a connection each.
    pub key_writers: u32,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Times the broker was killed.
    pub kills: u64,
    /// Of these, with publishes in flight that were not confirmed.
    pub kills_in_flight: u64,
    /// Of these, with acknowledgements in flight that were not confirmed.
    pub kills_acks_in_flight: u64,
    /// Messages published.
    pub published: u64,
    /// Of these, confirmed.
    pub confirmed: u64,
    /// Messages that were not confirmed and have been delivered all the same.
    pub survived: u64,
    /// Messages delivered for the first time, each through two subscriptions.
    pub delivered: u64,
    /// Messages delivered again.
    pub redelivered: u64,
    /// Acknowledgements confirmed.
    pub acked: u64,
    /// Writes of keys acknowledged.
    pub key_writes: u64,
    /// Times that a watch wanted to begin before what the history held.
    pub watches_gone: u64,
    /// Kills with writes of keys in flight that were not acknowledged.
    pub kills_key_writes_in_flight: u64,
    /// Time from start to ready, of each start.
    pub starts: Vec<Duration>,
}

/// Why a run ended early.
#[derive(Debug, Error)]
pub enum KillError {
    /// A promise was broken.
    #[error("a promise was broken: {0}")]
    Broken(String),
    /// The broker did not start again.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The broker refused, or failed without being killed.
    #[error("a client failed while the broker ran: {0}")]
    Client(#[from] ClientError),
    /// A file or process failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs it all.
///
/// # Errors
/// A promise was broken, or something failed that should not.
pub fn run(options: &Options, mut tell: impl FnMut(&Figures)) -> Result<Figures, KillError> {
    let mut world = World::new(options)?;
    while world.figures.kills < options.kills || world.published() < options.publishes {
        let broker = world.start()?;
        world.check(&broker, false)?;
        world.load(broker)?;
        world.count();
        tell(&world.figures);
    }
    let broker = world.start()?;
    world.check(&broker, true)?;
    broker.kill()?;
    // Everything was acknowledged now: nothing may come.
    let broker = world.start()?;
    world.check(&broker, true)?;
    broker.kill()?;
    world.count();
    let Figures { key_writes, watches_gone, .. } = world.figures;
    if key_writes > 10 * HISTORY && watches_gone == 0 {
        let text = format!("{key_writes} writes and no watch began too early: too gentle to tell");
        return broken(text);
    }
    Ok(world.figures)
}

/// A connection that ends is what a kill looks like; anything else is a failure.
fn gone(error: ClientError) -> Result<(), KillError> {
    match error {
        ClientError::Io(_) | ClientError::Closed => Ok(()),
        other => Err(other.into()),
    }
}

fn broken<T>(what: String) -> Result<T, KillError> {
    Err(KillError::Broken(what))
}

struct World<'a> {
    options: &'a Options,
    launch: Launch,
    random: Random,
    publishers: Vec<Publisher>,
    consumers: Vec<Consumer>,
    key_writers: Vec<KeyWriter>,
    /// One for each of those.
    watches: Vec<HeldWatch>,
    figures: Figures,
}

impl<'a> World<'a> {
    fn new(options: &'a Options) -> io::Result<Self> {
        let config = options.dir.join("sluice.toml");
        fs::write(&config, format!("{SETTINGS}watch_history = {HISTORY}\n"))?;
        let (data, log) = (options.dir.join("data"), options.dir.join("log"));
        let launch = Launch::new(&options.program, &data, &log).arg("--config").arg(config);
        let mut random = Random::new(options.seed);
        let topics = options.topics;
        let publishers = (0..options.publishers)
            .map(|number| Publisher::new(number, topics, random.split()))
            .collect();
        let patterns = (0..topics).map(Some).chain([None]);
        let consumers = patterns
            .map(|topic| Consumer::new(topic, topics, options.publishers, random.split()))
            .collect();
        let key_writers: Vec<_> =
            (0..options.key_writers).map(|number| KeyWriter::new(number, random.split())).collect();
        let watches = key_writers.iter().map(KeyWriter::watcher).collect();
        let figures = Figures::default();
        Ok(Self { options, launch, random, publishers, consumers, key_writers, watches, figures })
    }

    fn published(&self) -> u64 {
        self.publishers.iter().map(Publisher::sent).sum()
    }

    fn start(&mut self) -> Result<Broker, KillError> {
        let started = Instant::now();
        let broker = self.launch.start()?;
        self.figures.starts.push(started.elapsed());
        Ok(broker)
    }

    /// Drains every subscription and compares.
    fn check(&mut self, broker: &Broker, ack_all: bool) -> Result<(), KillError> {
        for consumer in &mut self.consumers {
            consumer.connect(broker.tcp_addr())?;
            consumer.drain(ack_all)?;
            consumer.compare(&self.publishers)?;
        }
        for (writer, watch) in self.key_writers.iter_mut().zip(&mut self.watches) {
            writer.check(broker.tcp_addr(), watch)?;
            self.figures.kills_key_writes_in_flight += u64::from(writer.was_cut_short());
        }
        Ok(())
    }

    /// Lets everybody work until the kill, which comes at a moment of chance.
    fn load(&mut self, broker: Broker) -> Result<(), KillError> {
        let average = self.options.publishes / self.options.kills.max(1);
        let enough = 1 + self.random.below(2 * average.max(1));
        let pause = Duration::from_micros(self.random.below(PAUSE_MAX));
        let addr = broker.tcp_addr();
        let (sent, written) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut broken = None;
        thread::scope(|scope| {
            let publishers: Vec<_> = self
                .publishers
                .iter_mut()
                .map(|publisher| scope.spawn(|| publisher.publish(addr, &sent)))
                .collect();
            let consumers: Vec<_> = self
                .consumers
                .iter_mut()
                .map(|consumer| scope.spawn(|| consumer.consume()))
                .collect();
            let key_writers: Vec<_> = self
                .key_writers
                .iter_mut()
                .map(|writer| scope.spawn(|| writer.write(addr, &written)))
                .collect();
            let watches: Vec<_> =
                self.watches.iter_mut().map(|watch| scope.spawn(|| watch.hold(addr))).collect();
            // A publisher that ends before the kill has something to say.
            while sent.load(Ordering::Relaxed) < enough
                && !publishers.iter().any(thread::ScopedJoinHandle::is_finished)
            {
                thread::yield_now();
            }
            thread::sleep(pause);
            let lost = publishers.iter().any(thread::ScopedJoinHandle::is_finished);
            let status = broker.kill()?;
            if lost || status.signal() != Some(Signal::KILL.as_raw()) {
                broken =
                    Some(format!("a connection ended before the kill, the broker by {status}"));
            }
            for worker in publishers.into_iter().chain(consumers).chain(key_writers).chain(watches)
            {
                worker.join().map_err(|_| KillError::Broken("a client panicked".into()))??;
            }
            Ok::<_, KillError>(())
        })?;
        if let Some(broken) = broken {
            return Err(KillError::Broken(broken));
        }
        self.figures.kills += 1;
        let publishes = self.publishers.iter().any(Publisher::was_cut_short);
        self.figures.kills_in_flight += u64::from(publishes);
        let acks = self.consumers.iter().any(Consumer::was_cut_short);
        self.figures.kills_acks_in_flight += u64::from(acks);
        Ok(())
    }

    fn count(&mut self) {
        self.figures.published = self.published();
        self.figures.confirmed = self.publishers.iter().map(Publisher::confirmed_count).sum();
        self.figures.key_writes = self.key_writers.iter().map(KeyWriter::writes).sum();
        self.figures.watches_gone = self.key_writers.iter().map(KeyWriter::gone).sum();
        let sum = |of: fn(&Consumer) -> u64| self.consumers.iter().map(of).sum();
        self.figures.delivered = sum(|consumer| consumer.counts.delivered);
        let survived = |consumer: &Consumer| consumer.survivors(&self.publishers);
        self.figures.survived = self.consumers.last().map_or(0, survived);
        self.figures.redelivered = sum(|consumer| consumer.counts.redelivered);
        self.figures.acked = sum(|consumer| consumer.counts.acked);
    }
}
