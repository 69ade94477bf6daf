//! A real broker with limits, killed at random moments under load, and judged from outside.
//!
//! ```text
//! start --> limits are set, once --> load: a producer, consumers that take, work, ack or let go --> SIGKILL --.
//!   ^                                                                                                         |
//!   '---------------------------------------------------------------------------------------------------------'
//!          at the end: all is drained and acknowledged, then every lease that anybody saw is judged
//! ```
//!
//! Every message has two keys: under one at most so many may be leased at once, under the other at most so
//! many may be handed out in any interval. Leases are bound to no connection, so a kill ends none: what a
//! consumer held goes on counting until it was acknowledged or its time is over.

mod consumer;
mod http;
mod judge;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::consumer::Consumer;
use self::http::{Http, HttpError};
pub use self::judge::{Lease, Verdict, judge};
use super::KillError;
use crate::process::{Broker, Launch};
use crate::random::Random;

/// Where everything goes.
const QUEUE: &str = "calls";
/// Keys of each kind.
pub(super) const KEYS: u64 = 4;
/// Most leases at once under a key `c*`.
const AT_ONCE: u32 = 3;
/// Most starts under a key `w*` in any interval of this length.
const STARTS: u32 = 20;
const INTERVAL: Duration = Duration::from_millis(400);
/// Messages that are published together.
const BATCH: u64 = 50;
/// Messages that wait or are held before a producer waits.
const WAITING_MAX: u64 = 2_000;
/// Time to settle a message, of the queue too: a start gives what is held so long again. One that
/// is let go comes again after it.
const LEASE_MS: u64 = 1_000;
/// Longest time between a start and its kill.
const ROUND_MAX: Duration = Duration::from_millis(600);
/// The same of a long round. Only a broker that lives longer than a lease frees what a kill left behind, and has something to hand out.
const LONG_ROUND_MAX: Duration = Duration::from_millis(4_000);
/// Of a hundred rounds, so many may be long.
const LONG_PERCENT: u64 = 25;
/// Leases for each kill below which a run says too little.
const LEASES_PER_KILL_MIN: u64 = 5;
/// How long the rest may take to be drained.
const DRAIN_MAX: Duration = Duration::from_secs(120);

/// How the broker is tried.
#[derive(Clone, Debug)]
pub struct LimitOptions {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where its data goes: an empty directory.
    pub dir: PathBuf,
    /// What the run follows from, save for the scheduling of processes.
    pub seed: u64,
    /// How often it is killed.
    pub kills: u64,
    /// Consumers, a connection each.
    pub consumers: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct LimitFigures {
    /// Times the broker was killed.
    pub kills: u64,
    /// Messages whose publish was confirmed.
    pub confirmed: u64,
    /// Leases that consumers saw.
    pub leases: u64,
    /// Acknowledgements that were confirmed.
    pub acked: u64,
    /// Leases that consumers let go, to end by their time.
    pub abandoned: u64,
    /// What the judge found.
    pub verdict: Verdict,
}

/// Runs it all.
///
/// # Errors
/// A limit was exceeded, or something failed that should not.
pub fn run(
    options: &LimitOptions,
    mut tell: impl FnMut(&LimitFigures),
) -> Result<LimitFigures, KillError> {
    let mut world = World::new(options);
    while world.figures.kills < options.kills {
        let broker = world.launch.start()?;
        if world.figures.kills == 0 {
            set_limits(&mut Http::connect(&broker)?)?;
        }
        world.load(broker)?;
        world.count();
        tell(&world.figures);
    }
    let LimitFigures { kills, leases, .. } = world.figures;
    if leases < kills * LEASES_PER_KILL_MIN {
        let text = format!("{leases} leases between {kills} kills: too gentle to tell");
        return Err(KillError::Broken(text));
    }
    world.drain()?;
    world.count();
    world.judged()
}

fn set_limits(http: &mut Http) -> Result<(), KillError> {
    let length_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
    for (path, body) in [
        (
            "/v1/queues/calls",
            json!({"settings": {"lease_ms": LEASE_MS, "max_failures": 0, "backoff_min_ms": 10}}),
        ),
        ("/v1/limits/at-once", json!({"key": "c*", "concurrency": AT_ONCE})),
        (
            "/v1/limits/window",
            json!({"key": "w*", "window": {"max": STARTS, "length_ms": length_ms}}),
        ),
    ] {
        http.ask("PUT", path, &body)?;
    }
    Ok(())
}

struct World<'a> {
    options: &'a LimitOptions,
    launch: Launch,
    random: Random,
    consumers: Vec<Consumer>,
    published: AtomicU64,
    figures: LimitFigures,
}

impl<'a> World<'a> {
    fn new(options: &'a LimitOptions) -> Self {
        let (data, log) = (options.dir.join("data"), options.dir.join("log"));
        let launch = Launch::new(&options.program, &data, &log);
        let mut random = Random::new(options.seed);
        let consumers = (0..options.consumers).map(|_| Consumer::new(random.split())).collect();
        let (published, figures) = (AtomicU64::new(0), LimitFigures::default());
        Self { options, launch, random, consumers, published, figures }
    }

    /// Lets everybody work until the kill, which comes at a moment of chance.
    fn load(&mut self, broker: Broker) -> Result<(), KillError> {
        let is_long = self.random.chance(LONG_PERCENT);
        let most = if is_long { LONG_ROUND_MAX } else { ROUND_MAX };
        let round = Duration::from_micros(self.random.below(most.as_micros() as u64));
        let producer = Producer { published: &self.published, random: self.random.split() };
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let produces = scope.spawn(|| producer.publish(&broker));
            let consumes: Vec<_> = self
                .consumers
                .iter_mut()
                .map(|consumer| scope.spawn(|| consumer.consume(&broker, &stop)))
                .collect();
            let began = Instant::now();
            while began.elapsed() < round {
                thread::sleep(Duration::from_millis(1));
            }
            let killed = kill(&broker);
            for worker in consumes.into_iter().chain([produces]) {
                worker.join().map_err(|_| KillError::Broken("a client panicked".into()))??;
            }
            killed
        })?;
        // It is reaped.
        broker.kill()?;
        self.figures.kills += 1;
        Ok(())
    }

    /// Lets consumers take and acknowledge all there is.
    fn drain(&mut self) -> Result<(), KillError> {
        let broker = self.launch.start()?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let consumes: Vec<_> = self
                .consumers
                .iter_mut()
                .map(|consumer| scope.spawn(|| consumer.drain(&broker, &stop)))
                .collect();
            let empty = until_empty(&broker);
            stop.store(true, Ordering::Relaxed);
            for worker in consumes {
                worker.join().map_err(|_| KillError::Broken("a client panicked".into()))??;
            }
            empty
        })?;
        broker.terminate()?;
        Ok(())
    }

    fn count(&mut self) {
        self.figures.confirmed = self.published.load(Ordering::Relaxed);
        let sum = |of: fn(&Consumer) -> u64| self.consumers.iter().map(of).sum();
        self.figures.leases = sum(|consumer| consumer.leases.len() as u64);
        self.figures.acked = sum(|consumer| consumer.acked);
        self.figures.abandoned = sum(|consumer| consumer.abandoned);
    }

    fn judged(mut self) -> Result<LimitFigures, KillError> {
        let leases: Vec<Lease> =
            self.consumers.iter_mut().flat_map(|consumer| consumer.leases.drain(..)).collect();
        let keep = self.options.dir.join("leases.json");
        match judge(&leases, AT_ONCE, STARTS, INTERVAL) {
            Ok(verdict) => {
                self.figures.verdict = verdict;
                Ok(self.figures)
            }
            Err(broken) => {
                fs::write(&keep, judge::shown(&leases))?;
                let text = format!("{broken}; every lease is in {}", keep.display());
                Err(KillError::Broken(text))
            }
        }
    }
}

fn kill(broker: &Broker) -> Result<(), KillError> {
    let pid = i32::try_from(broker.pid()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| KillError::Broken("the broker has no pid".into()))?;
    let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    killed.map_err(|error| KillError::Io(error.into()))
}

/// Waits until nothing waits and nobody holds anything.
fn until_empty(broker: &Broker) -> Result<(), KillError> {
    let (mut http, began) = (Http::connect(broker)?, Instant::now());
    loop {
        let stats = http.ask("GET", "/v1/queues/calls", &Value::Null)?;
        if waiting(&stats) == 0 {
            return Ok(());
        }
        if began.elapsed() > DRAIN_MAX {
            return Err(KillError::Broken(format!("it is not drained: {}", stats["counts"])));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Messages that wait or are held.
fn waiting(stats: &Value) -> u64 {
    let counts = &stats["counts"];
    ["ready", "delayed", "leased"].iter().filter_map(|state| counts[state].as_u64()).sum()
}

/// Publishes as long as the broker is there.
struct Producer<'a> {
    published: &'a AtomicU64,
    random: Random,
}

impl Producer<'_> {
    fn publish(mut self, broker: &Broker) -> Result<(), KillError> {
        let Some(mut http) = ended(Http::connect(broker).map_err(HttpError::from))? else {
            return Ok(());
        };
        loop {
            let messages: Vec<Value> = (0..BATCH).map(|_| self.message()).collect();
            let body = json!({ "messages": messages });
            let path = format!("/v1/queues/{QUEUE}/messages");
            if ended(http.ask("POST", &path, &body))?.is_none() {
                return Ok(());
            }
            self.published.fetch_add(BATCH, Ordering::Relaxed);
            loop {
                let stats = http.ask("GET", &format!("/v1/queues/{QUEUE}"), &Value::Null);
                let Some(stats) = ended(stats)? else { return Ok(()) };
                if waiting(&stats) < WAITING_MAX {
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn message(&mut self) -> Value {
        let (c, w) = (self.random.below(KEYS), self.random.below(KEYS));
        json!({"payload": "x", "keys": [format!("c{c}"), format!("w{w}")]})
    }
}

/// A connection that ends is what a kill looks like; anything else is a failure.
fn ended<T>(outcome: Result<T, HttpError>) -> Result<Option<T>, KillError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(HttpError::Io(_)) => Ok(None),
        Err(refused) => Err(refused.into()),
    }
}

impl From<HttpError> for KillError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Io(error) => Self::Io(error),
            HttpError::Refused(answer) => Self::Broken(format!("the broker refused: {answer}")),
        }
    }
}

/// Milliseconds since 1970, by the clock of the machine, which is the broker's too.
pub(super) fn now() -> Result<u64, io::Error> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.map_err(io::Error::other)?;
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
