//! A real broker whose disk fails: one system call of one kind fails with EIO, the first in one
//! run, the second in the next, until a run makes fewer calls than that.
//!
//! `strace` lets the call fail; it counts the calls of each thread by itself. A broker whose log failed must end with exit code 4 within a
//! second; one whose checkpoint failed goes on. In either case the next start has everything that
//! was confirmed and nothing that was confirmed to be acknowledged.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::process::{Broker, Launch, StartError};
use crate::v1::{Client, ClientError};

const TOPIC: &str = "errors";
/// Small, so that a short run rolls segments and makes checkpoints.
const CONFIG: &str = "segment_bytes = 262144\nreplay_max = 65536\nmax_message_bytes = 16384\n\
                      v1_ack_timeout_ms = 3600000\n";
/// Messages of a batch, batches of a run, bytes of a message.
const BATCH: u64 = 20;
const BATCHES: u64 = 60;
const MESSAGE: usize = 1_000;
/// A broker whose log failed must be gone by then.
const END_MAX: Duration = Duration::from_secs(1);
/// How long the tracer may take to write its last line.
const TRACE_MAX: Duration = Duration::from_secs(5);
/// The exit code of a disk failure.
const DISK_FAILED: i32 = 4;

/// How it is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// An empty directory for data and logs.
    pub dir: PathBuf,
    /// System calls, one of which fails in each run, as `strace` names them.
    pub calls: String,
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
    /// The longest time from the first refusal to the end of the process.
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
    let trace = dir.join("trace");
    let wrapper = wrapper(options, &dir, &trace, call)?;
    let launch = |program: &Path| {
        Launch::new(program, &dir.join("data"), &dir.join("log")).arg("--config").arg(&config)
    };
    let mut known = Known::default();
    let ended = match launch(&wrapper).start() {
        Ok(broker) => load(broker, &mut known, figures)?,
        Err(StartError::Ended { status, .. }) => {
            figures.at_start += 1;
            status
        }
        Err(error) => return Err(error.into()),
    };
    let hit = was_hit(&trace)?;
    match ended.code() {
        Some(DISK_FAILED) if hit => figures.ended += 1,
        Some(0) if hit => figures.went_on += 1,
        Some(0) => {}
        _ => return Err(broken(format!("the broker ended with {ended}"))),
    }
    figures.published += known.confirmed.len() as u64;
    figures.acked += known.acked.len() as u64;
    check(&launch(&options.program), &known).map_err(|error| match error {
        ErrorsError::Broken { what, .. } => broken(what),
        other => broken(format!("the next start: {other}")),
    })?;
    fs::remove_dir_all(&dir)?;
    Ok(hit)
}

/// Whether a call failed. The tracer writes on for a moment after the broker has ended.
fn was_hit(trace: &Path) -> Result<bool, ErrorsError> {
    let patience = Instant::now() + TRACE_MAX;
    loop {
        let text = fs::read_to_string(trace)?;
        if text.contains("(INJECTED)") {
            return Ok(true);
        }
        if text.contains("+++ exited with") || Instant::now() > patience {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program that runs the broker with one call failing.
fn wrapper(options: &Options, dir: &Path, trace: &Path, call: u64) -> Result<PathBuf, ErrorsError> {
    let path = dir.join("failing");
    let (program, trace) = (options.program.display(), trace.display());
    let calls = &options.calls;
    let text = format!(
        "#!/bin/sh\nexec strace -D -f -q -o '{trace}' -e signal=none -e trace={calls} \
         -e inject={calls}:error=EIO:when={call} '{program}' \"$@\"\n"
    );
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    Ok(path)
}

/// Publishes and acknowledges until all is done or the broker fails. Gives how it ended.
fn load(
    mut broker: Broker,
    known: &mut Known,
    figures: &mut Figures,
) -> Result<ExitStatus, ErrorsError> {
    match talk(&broker, known) {
        Ok(()) => Ok(broker.terminate()?),
        // A checkpoint that failed: publishes are refused until the next one, and all is well.
        Err(ClientError::Refused(nack)) if nack.code == 503 => Ok(broker.terminate()?),
        Err(_in_doubt) => {
            let since = Instant::now();
            let ended = broker.ends_within(END_MAX)?;
            figures.end_max = figures.end_max.max(since.elapsed());
            ended.ok_or_else(|| {
                let what = format!("the broker runs on after {END_MAX:?}");
                ErrorsError::Broken { call: 0, what }
            })
        }
    }
}

fn talk(broker: &Broker, known: &mut Known) -> Result<(), ClientError> {
    let mut client = Client::connect(broker.tcp_addr(), None)?;
    let subscription = client.subscribe(TOPIC, 1)?;
    for batch in 0..BATCHES {
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
