//! A real broker whose disk fails: one system call of one kind fails with EIO, the first in one
//! run, the second in the next, until a run makes fewer calls than that.
//!
//! A broker whose log failed must end with exit code 4 within a second; one whose checkpoint failed
//! goes on. In either case the next start has everything that was confirmed and nothing that was
//! confirmed to be acknowledged.
//!
//! ```text
//! start          empty directory     main thread, from its first call to its last
//! restart        killed broker's     likewise: recovery
//! commits        empty directory     all threads but the housekeeper, once they serve
//! housekeeping   empty directory     the housekeeper: checkpoints, next segments
//! ```

mod tracer;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

use self::tracer::Tracer;
use crate::process::{Broker, Launch, StartError};
use crate::v1::{Client, ClientError};

const TOPIC: &str = "errors";
/// Small, so that a short run rolls segments and makes checkpoints, and a start sets little aside.
const CONFIG: &str = "segment_bytes = 262144\nreplay_max = 65536\nmax_message_bytes = 16384\n\
                      settlements_reserve = 524288\nv1_ack_timeout_ms = 3600000\n";
/// Messages of a batch, batches of a run, bytes of a message.
const BATCH: u64 = 20;
const BATCHES: u64 = 60;
const MESSAGE: usize = 1_000;
/// A broker whose log failed must be gone by then.
const END_MAX: Duration = Duration::from_secs(1);
/// The exit code of a disk failure.
const DISK_FAILED: i32 = 4;

/// Whose calls fail, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Those of a first start, and of its end.
    Start,
    /// Those of a start after a crash, and of its end.
    Restart,
    /// Those of commits.
    Commits,
    /// Those of background work.
    Housekeeping,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Start, Self::Restart, Self::Commits, Self::Housekeeping];
}

/// How it is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// An empty directory for data and logs.
    pub dir: PathBuf,
    /// System calls, one of which fails in each run, as `strace` names them.
    pub calls: String,
    /// Whose.
    pub phase: Phase,
    /// Only every so many-th call fails.
    pub step: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Runs in which a call failed.
    pub failures: u64,
    /// Of these, runs in which the broker ended with exit code 4.
    pub ended: u64,
    /// Of these, runs that ended before the broker was ready.
    pub at_start: u64,
    /// Runs in which the broker went on.
    pub went_on: u64,
    /// The longest time from a failed call to the end of the process with exit code 4.
    pub end_max: Duration,
    /// Publishes and acks confirmed in all runs.
    pub published: u64,
    /// Likewise.
    pub acked: u64,
}

/// Why it could not be run, or what promise was broken.
#[derive(Debug, Error)]
pub enum ErrorsError {
    /// The broker did not start where nothing failed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A connection failed where nothing failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file could not be used.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The broker did what it must not.
    #[error("call {call} failed, and {what}")]
    Broken {
        /// Which call had failed.
        call: u64,
        /// What it did.
        what: String,
    },
}

/// What clients know of a run.
#[derive(Debug, Default)]
struct Known {
    confirmed: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    /// Acks without an answer.
    doubtful: BTreeSet<u64>,
}

/// Runs until no call is left to fail. `tell` is told of each run.
///
/// # Errors
/// A promise was broken, or it could not be run.
pub fn run(options: &Options, mut tell: impl FnMut(&Figures)) -> Result<Figures, ErrorsError> {
    let mut figures = Figures::default();
    let mut call = 1;
    loop {
        let hit = one(options, call, &mut figures)?;
        if !hit {
            return Ok(figures);
        }
        figures.failures += 1;
        tell(&figures);
        call += options.step;
    }
}

/// One run. Says whether the call was made at all.
fn one(options: &Options, call: u64, figures: &mut Figures) -> Result<bool, ErrorsError> {
    let broken = |what: String| ErrorsError::Broken { call, what };
    let dir = options.dir.join(format!("{call}"));
    fs::create_dir(&dir)?;
    let config = dir.join("sluice.toml");
    fs::write(&config, CONFIG)?;
    let launch = Launch::new(&options.program, &dir.join("data"), &dir.join("log"))
        .arg("--config")
        .arg(&config);
    let tracer = Tracer { calls: &options.calls, call, trace: dir.join("trace") };
    let mut known = Known::default();
    let ended = match options.phase {
        Phase::Start | Phase::Restart => {
            if options.phase == Phase::Restart {
                let broker = launch.start()?;
                talk(&broker, 0, &mut known)?;
                broker.kill()?;
            }
            let wrapper = tracer.wrap(&options.program, &dir)?;
            match launch.clone().by(&wrapper).start() {
                Ok(broker) => load(broker, BATCHES, &mut known)?,
                Err(StartError::Ended { status, .. }) => {
                    figures.at_start += 1;
                    status
                }
                Err(error) => return Err(error.into()),
            }
        }
        phase @ (Phase::Commits | Phase::Housekeeping) => {
            let broker = launch.start()?;
            let mut strace = tracer.attach(&broker, phase)?;
            let ended = load(broker, 0, &mut known);
            strace.wait()?;
            ended?
        }
    };
    let seen = tracer.outcome()?;
    let hit = seen.is_hit();
    match ended.code() {
        Some(DISK_FAILED) if hit => {
            figures.ended += 1;
            figures.end_max = figures.end_max.max(seen.lived_on());
            if seen.lived_on() > END_MAX {
                return Err(broken(format!("the broker lived on for {:?}", seen.lived_on())));
            }
        }
        Some(0) if hit && options.phase == Phase::Commits => {
            return Err(broken("the broker went on after a failed commit".into()));
        }
        Some(0) if hit => figures.went_on += 1,
        Some(0) => {}
        _ => return Err(broken(format!("the broker ended with {ended}"))),
    }
    figures.published += known.confirmed.len() as u64;
    figures.acked += known.acked.len() as u64;
    check(&launch, &known).map_err(|error| match error {
        ErrorsError::Broken { what, .. } => broken(what),
        other => broken(format!("the next start: {other}")),
    })?;
    fs::remove_dir_all(&dir)?;
    Ok(hit)
}

/// Publishes and acknowledges until all is done or the broker fails. Gives how it ended.
fn load(mut broker: Broker, first: u64, known: &mut Known) -> Result<ExitStatus, ErrorsError> {
    match talk(&broker, first, known) {
        Ok(()) => Ok(broker.terminate()?),
        // A checkpoint that failed: publishes are refused until the next one, and all is well.
        Err(ClientError::Refused(nack)) if nack.code == 503 => Ok(broker.terminate()?),
        Err(_in_doubt) => broker.ends_within(2 * END_MAX)?.ok_or_else(|| {
            let what = format!("the broker runs on after {:?}", 2 * END_MAX);
            ErrorsError::Broken { call: 0, what }
        }),
    }
}

fn talk(broker: &Broker, first: u64, known: &mut Known) -> Result<(), ClientError> {
    let mut client = Client::connect(broker.tcp_addr(), None)?;
    let subscription = client.subscribe(TOPIC, 1)?;
    for batch in first..first + BATCHES {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        for number in numbers.clone() {
            client.publish(TOPIC, 1, &message(number))?;
        }
        client.fence()?;
        known.confirmed.extend(numbers);
        // Half of them stay.
        let taken = client.take(subscription, BATCH as usize / 2)?;
        let numbers: Vec<u64> = taken.iter().filter_map(|got| number(&got.message)).collect();
        known.doubtful.extend(&numbers);
        for got in &taken {
            client.ack(subscription, got.tag)?;
        }
        client.fence()?;
        for number in numbers {
            known.doubtful.remove(&number);
            known.acked.insert(number);
        }
    }
    Ok(())
}

/// Takes all that a healthy broker has, and compares.
fn check(launch: &Launch, known: &Known) -> Result<(), ErrorsError> {
    let broker = launch.start()?;
    let mut client = Client::connect(broker.tcp_addr(), None)?;
    // Where the subscription was never confirmed, nothing was.
    let subscription = client.subscribe(TOPIC, 1)?;
    let mut there = BTreeSet::new();
    loop {
        let taken = client.take(subscription, 256)?;
        if taken.is_empty() {
            break;
        }
        for got in taken {
            there.extend(number(&got.message));
            client.ack(subscription, got.tag)?;
        }
        client.fence()?;
    }
    broker.terminate()?;
    let broken = |what| Err(ErrorsError::Broken { call: 0, what });
    let settled = |number: &&u64| known.acked.contains(number) || known.doubtful.contains(number);
    if let Some(lost) = known.confirmed.iter().filter(|n| !settled(n)).find(|n| !there.contains(n))
    {
        return broken(format!("message {lost} was confirmed and is gone"));
    }
    match known.acked.intersection(&there).next() {
        Some(back) => broken(format!("message {back} was acknowledged and is back")),
        None => Ok(()),
    }
}

fn message(number: u64) -> Vec<u8> {
    let mut message = number.to_be_bytes().to_vec();
    message.resize(MESSAGE, b'.');
    message
}

fn number(message: &[u8]) -> Option<u64> {
    message.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
