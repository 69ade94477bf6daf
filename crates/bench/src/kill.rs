//! A real broker under load, killed with SIGKILL again and again, and what must hold of it: no
//! confirmed publish is missing, no message comes again after its ack was confirmed, and messages
//! of one publisher are first seen in their order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::process::{Broker, Launch, StartError};
use crate::v1::{Client, ClientError};

const TOPIC: &str = "kill";
/// Publishes between two fences.
const WINDOW: u64 = 200;
/// Messages taken at once.
const BATCH: usize = 256;
/// How long a broker gets to answer before the run fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// How hard and how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kills.
    pub kills: u32,
    /// Publishes in all, at least.
    pub publishes: u64,
    /// Connections that publish.
    pub publishers: usize,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Decides when the kills come.
    pub seed: u64,
    /// More arguments for `sluice serve`.
    pub args: Vec<String>,
}

/// What was done and seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Kills.
    pub kills: u32,
    /// Of these, with publishes that were sent and not confirmed.
    pub in_flight: u32,
    /// Publishes sent.
    pub sent: u64,
    /// Publishes confirmed.
    pub confirmed: u64,
    /// Messages seen, each counted once.
    pub seen: u64,
    /// Deliveries of messages seen before.
    pub repeated: u64,
    /// Acks confirmed.
    pub acked: u64,
    /// Longest time from a start of the process to its being ready.
    pub slowest_start: Duration,
}

/// Why a run failed.
#[derive(Debug, Error)]
pub enum KillError {
    /// The broker did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The broker could not be killed.
    #[error("can't kill the broker: {0}")]
    Kill(#[from] std::io::Error),
    /// A client could not go on though the broker was there.
    #[error("a client failed: {0}")]
    Client(#[from] ClientError),
    /// A promise was broken.
    #[error("{0}")]
    Broken(String),
}

#[derive(Debug, Default)]
struct Publisher {
    sent: AtomicU64,
    confirmed: AtomicU64,
    /// Counts that were sent on a connection that broke: they may be there or not.
    doubtful: Mutex<BTreeSet<u64>>,
}

#[derive(Debug)]
struct Shared {
    addr: Mutex<SocketAddr>,
    publishers: Vec<Publisher>,
    message_bytes: usize,
    /// Publishers stop.
    enough: AtomicBool,
    /// Consumers stop once nothing comes any more.
    drain: AtomicBool,
    abort: AtomicBool,
}

impl Shared {
    fn connect(&self) -> Result<Client, ClientError> {
        let addr = *self.addr.lock().unwrap_or_else(PoisonError::into_inner);
        let client = Client::connect(addr, None)?;
        client.set_timeout(Some(PATIENCE))?;
        Ok(client)
    }

    fn is_over(&self, flag: &AtomicBool) -> bool {
        flag.load(Ordering::SeqCst) || self.abort.load(Ordering::SeqCst)
    }
}

/// Runs the broker `program` with its data in `folder` and kills it as planned.
///
/// # Errors
/// A promise was broken, or the run could not be carried out.
pub fn run(program: &Path, folder: &Path, plan: &Plan) -> Result<Report, KillError> {
    let mut launch = Launch::new(program, &folder.join("data"), &folder.join("broker.log"));
    for arg in &plan.args {
        launch = launch.arg(arg);
    }
    let mut broker = launch.start()?;
    let shared = Arc::new(Shared {
        addr: Mutex::new(broker.tcp_addr()),
        publishers: (0..plan.publishers).map(|_| Publisher::default()).collect(),
        message_bytes: plan.message_bytes,
        enough: AtomicBool::new(false),
        drain: AtomicBool::new(false),
        abort: AtomicBool::new(false),
    });
    // The subscription is there before the first publish.
    let mut first = shared.connect()?;
    first.subscribe(TOPIC, 1)?;
    first.close();

    let consumer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || consume(&shared))
    };
    let publishers: Vec<_> = (0..plan.publishers)
        .map(|at| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || publish(&shared, at))
        })
        .collect();

    let mut report = Report::default();
    let killed = kill_repeatedly(&launch, &mut broker, &shared, plan, &mut report);
    shared.abort.store(killed.is_err(), Ordering::SeqCst);
    shared.enough.store(true, Ordering::SeqCst);
    for publisher in publishers {
        publisher.join().map_err(|_| KillError::Broken("a publisher panicked".into()))??;
    }
    shared.drain.store(true, Ordering::SeqCst);
    let seen = consumer.join().map_err(|_| KillError::Broken("the consumer panicked".into()))?;
    killed?;
    let seen = seen?;
    report.sent = shared.publishers.iter().map(|p| p.sent.load(Ordering::SeqCst)).sum();
    report.confirmed = shared.publishers.iter().map(|p| p.confirmed.load(Ordering::SeqCst)).sum();
    check(&shared, &seen, &mut report)?;
    drop(broker);
    Ok(report)
}

fn kill_repeatedly(
    launch: &Launch,
    broker: &mut Broker,
    shared: &Shared,
    plan: &Plan,
    report: &mut Report,
) -> Result<(), KillError> {
    let sent = || shared.publishers.iter().map(|p| p.sent.load(Ordering::SeqCst)).sum::<u64>();
    let confirmed =
        || shared.publishers.iter().map(|p| p.confirmed.load(Ordering::SeqCst)).sum::<u64>();
    let mut random = plan.seed;
    for kill in 0..plan.kills {
        // Each kill comes after its share of the publishes, at a random moment.
        let share = plan.publishes * u64::from(kill + 1) / u64::from(plan.kills);
        let given_up = Instant::now() + PATIENCE;
        while confirmed() < share && Instant::now() < given_up {
            thread::sleep(Duration::from_millis(1));
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        thread::sleep(Duration::from_micros((random >> 33) % 5_000));
        let doubtful = sent().saturating_sub(confirmed());
        broker.kill_now()?;
        report.kills += 1;
        report.in_flight += u32::from(doubtful > 0);
        let started = Instant::now();
        *broker = launch.start()?;
        report.slowest_start = report.slowest_start.max(started.elapsed());
        *shared.addr.lock().unwrap_or_else(PoisonError::into_inner) = broker.tcp_addr();
    }
    Ok(())
}

/// Publishes windows with a fence each, and connects again whenever the broker is gone.
fn publish(shared: &Shared, at: usize) -> Result<(), KillError> {
    let me = &shared.publishers[at];
    let mut count = 0;
    let padding = vec![b'.'; shared.message_bytes];
    while !shared.is_over(&shared.enough) {
        let Ok(mut client) = shared.connect() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        while !shared.is_over(&shared.enough) {
            let first = count + 1;
            let mut window = || -> Result<(), ClientError> {
                for n in first..first + WINDOW {
                    let mut message = format!("{at} {n} ").into_bytes();
                    let rest = shared.message_bytes.saturating_sub(message.len());
                    message.extend_from_slice(&padding[..rest]);
                    client.publish(TOPIC, 1, &message)?;
                }
                me.sent.fetch_add(WINDOW, Ordering::SeqCst);
                client.fence()
            };
            let outcome = window();
            count += WINDOW;
            match outcome {
                Ok(()) => {
                    me.confirmed.fetch_add(WINDOW, Ordering::SeqCst);
                }
                Err(ClientError::Refused(nack)) => {
                    return Err(ClientError::Refused(nack).into());
                }
                Err(_) => {
                    let mut doubtful = me.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
                    doubtful.extend(first..first + WINDOW);
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What a consumer saw of each publisher.
#[derive(Debug, Default)]
struct Seen {
    messages: Vec<BTreeSet<u64>>,
    newest: Vec<u64>,
    acked: u64,
    repeated: u64,
}

/// Takes and acks until there is nothing more, and connects again whenever the broker is gone.
fn consume(shared: &Shared) -> Result<Seen, KillError> {
    let publishers = shared.publishers.len();
    let mut seen = Seen {
        messages: vec![BTreeSet::new(); publishers],
        newest: vec![0; publishers],
        ..Seen::default()
    };
    let mut acked: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); publishers];
    'connections: while !shared.abort.load(Ordering::SeqCst) {
        let client = shared.connect().and_then(|mut client| {
            let subscription = client.subscribe(TOPIC, 1)?;
            Ok((client, subscription))
        });
        let Ok((mut client, subscription)) = client else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        loop {
            let draining = shared.is_over(&shared.drain);
            let Ok(batch) = client.take(subscription, BATCH) else { continue 'connections };
            if batch.is_empty() {
                if draining {
                    return Ok(seen);
                }
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let mut names = Vec::with_capacity(batch.len());
            for message in &batch {
                let (at, n) = name(&message.message, publishers)?;
                seen.note(at, n, &acked)?;
                names.push((at, n));
                if client.ack(subscription, message.tag).is_err() {
                    continue 'connections;
                }
            }
            if client.fence().is_err() {
                continue 'connections;
            }
            for (at, n) in names {
                acked[at].insert(n);
                seen.acked += 1;
            }
        }
    }
    Ok(seen)
}

impl Seen {
    fn note(&mut self, at: usize, n: u64, acked: &[BTreeSet<u64>]) -> Result<(), KillError> {
        if acked[at].contains(&n) {
            let text = format!("message {n} of publisher {at} came again after its confirmed ack");
            return Err(KillError::Broken(text));
        }
        if !self.messages[at].insert(n) {
            self.repeated += 1;
            return Ok(());
        }
        if n <= self.newest[at] {
            let text = format!("message {n} of publisher {at} came behind {}", self.newest[at]);
            return Err(KillError::Broken(text));
        }
        self.newest[at] = n;
        Ok(())
    }
}

/// Which publisher's message it is, and which of its.
fn name(message: &[u8], publishers: usize) -> Result<(usize, u64), KillError> {
    let changed = || KillError::Broken("a message was changed".into());
    let text = std::str::from_utf8(message).map_err(|_| changed())?;
    let mut words = text.split(' ');
    let at: usize = words.next().and_then(|word| word.parse().ok()).ok_or_else(changed)?;
    let n = words.next().and_then(|word| word.parse().ok()).ok_or_else(changed)?;
    if at >= publishers { Err(changed()) } else { Ok((at, n)) }
}

fn check(shared: &Shared, seen: &Seen, report: &mut Report) -> Result<(), KillError> {
    for (at, publisher) in shared.publishers.iter().enumerate() {
        let sent = publisher.sent.load(Ordering::SeqCst);
        let doubtful = publisher.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = (1..=sent)
            .filter(|n| !doubtful.contains(n) && !seen.messages[at].contains(n))
            .collect::<Vec<_>>();
        if !missing.is_empty() {
            let text = format!("{} confirmed messages are missing: {missing:?}", missing.len());
            return Err(KillError::Broken(text));
        }
        report.seen += seen.messages[at].len() as u64;
    }
    report.repeated = seen.repeated;
    report.acked = seen.acked;
    Ok(())
}
