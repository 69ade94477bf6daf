//! Clients that take long: heads that drip in byte by byte, and long polls.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::acks::{Acked, acknowledge, lease};
use super::asking::{Asking, request};
use super::background::Background;
use super::{CrowdError, runtime};
use crate::load::nanoseconds;
use crate::process::{Broker, Launch};

/// A byte of a head comes so often.
const DRIP: Duration = Duration::from_millis(500);
/// By when a head has to be there, as it is by default, and how much later its end may be seen.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
const LATE: Duration = Duration::from_secs(2);
/// Connections that are opened at a time.
const OPENED_AT_ONCE: usize = 100;
/// How often a message is acknowledged, over a connection that is kept and over a new one.
const ACK_EVERY: Duration = Duration::from_millis(10);
const ACK_ANEW_EVERY: Duration = Duration::from_millis(100);
/// Longer than a run takes.
const WAIT_MS: u64 = 120_000;

/// How the broker is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where its data goes: an empty directory.
    pub dir: PathBuf,
    /// Clients of each kind.
    pub clients: usize,
    /// How long the well-behaved client asks, alone and beside them.
    pub duration: Duration,
}

/// What was seen with one kind of client.
#[derive(Clone, Debug)]
pub struct Beside {
    /// What the well-behaved clients saw.
    pub seen: Seen,
    /// Bytes of resident memory that the broker had more, for each of them.
    pub bytes_each: u64,
    /// How they ended.
    pub ends: Ends,
}

/// What well-behaved clients saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Nanoseconds of a request of one that puts a message and takes it.
    pub latencies: Histogram<u64>,
    /// Acknowledgements over a connection that is kept.
    pub acks: Acked,
    /// Each over a new connection.
    pub acks_anew: Acked,
}

/// How clients of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// As they should: dripping ones with 408 in time, polls with the message that they waited for.
    pub good: usize,
    /// The same, and it was seen too late.
    pub late: usize,
    /// Without an answer: the connection broke.
    pub broken: usize,
    /// In any other way.
    pub other: usize,
}

impl Ends {
    /// All that ended.
    pub fn all(&self) -> usize {
        self.good + self.late + self.broken + self.other
    }

    fn note(&mut self, end: End) {
        *match end {
            End::Good => &mut self.good,
            End::Late => &mut self.late,
            End::Broken => &mut self.broken,
            End::Other => &mut self.other,
        } += 1;
    }

    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.late += other.late;
        self.broken += other.broken;
        self.other += other.other;
    }
}

/// How one client ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Good,
    Late,
    Broken,
    Other,
}

impl End {
    fn good_if(good: bool) -> Self {
        if good { Self::Good } else { Self::Other }
    }
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The well-behaved clients alone.
    pub alone: Seen,
    /// Beside heads that drip.
    pub dripping: Beside,
    /// Beside long polls.
    pub polling: Beside,
}

/// Runs it all.
///
/// # Errors
/// The broker or a client failed.
pub fn run(options: &Options) -> Result<Figures, CrowdError> {
    let (runtime, others) = (runtime()?, Background::start()?);
    let first = start(options, "first")?;
    let (alone, dripping) = runtime.block_on(async {
        let addr = door(&first)?;
        // What the first requests set up counts for neither.
        well_behaved(addr, options.duration / 4).await?;
        let alone = seen(addr, options.duration).await?;
        Ok::<_, CrowdError>((alone, dripping(options, &first, addr, &others).await?))
    })?;
    first.terminate()?;
    // One of its own: memory that dripping clients have left would not be seen to grow.
    let second = start(options, "second")?;
    let polling = runtime.block_on(async {
        let addr = door(&second)?;
        well_behaved(addr, options.duration / 4).await?;
        polling(options, &second, addr, &others).await
    })?;
    second.terminate()?;
    others.stop();
    Ok(Figures { alone, dripping, polling })
}

fn start(options: &Options, name: &str) -> Result<Broker, CrowdError> {
    let (data, log) = (options.dir.join(name), options.dir.join("log"));
    Ok(Launch::new(&options.program, &data, &log).start()?)
}

fn door(broker: &Broker) -> Result<SocketAddr, CrowdError> {
    broker.http_addr().ok_or(CrowdError::Other("there is no HTTP door"))
}

/// What well-behaved clients see.
async fn seen(addr: SocketAddr, duration: Duration) -> Result<Seen, CrowdError> {
    let count = duration.as_millis() / ACK_EVERY.as_millis()
        + duration.as_millis() / ACK_ANEW_EVERY.as_millis();
    let leased = Arc::new(Mutex::new(lease(addr, count as usize + 2).await?));
    let (latencies, acks, acks_anew) = tokio::join!(
        well_behaved(addr, duration),
        acknowledge(addr, Arc::clone(&leased), ACK_EVERY, true, duration),
        acknowledge(addr, leased, ACK_ANEW_EVERY, false, duration),
    );
    Ok(Seen { latencies: latencies?, acks, acks_anew })
}

/// Puts a message and takes it, one request after the other.
async fn well_behaved(addr: SocketAddr, duration: Duration) -> io::Result<Histogram<u64>> {
    let requests = [request("POST", "/enqueue", b"hello"), request("GET", "/dequeue", b"")];
    let mut latencies = nanoseconds();
    let mut asking = Asking::connect(addr).await?;
    let ends = Instant::now() + duration;
    while Instant::now() < ends {
        for (request, status) in requests.iter().zip([202, 200]) {
            let began = Instant::now();
            let answer = asking.ask(request).await?;
            if answer.status != status {
                return Err(io::Error::other(format!("{} where {status} was due", answer.status)));
            }
            latencies.saturating_record(began.elapsed().as_nanos() as u64);
        }
        // As somebody who has other things to do: the time between counts for nobody.
        sleep(Duration::from_millis(1)).await;
    }
    Ok(latencies)
}

/// Long polls that all get their message in the end.
async fn polling(
    options: &Options,
    broker: &Broker,
    addr: SocketAddr,
    others: &Background,
) -> Result<Beside, CrowdError> {
    let mut helper = Asking::connect(addr).await?;
    helper.ask(&request("PUT", "/v1/queues/awaited", b"")).await?;
    let before = broker.resident_bytes()?;
    let poll = Arc::new(request(
        "POST",
        "/v1/queues/awaited/receive",
        json!({"wait_ms": WAIT_MS}).to_string().as_bytes(),
    ));
    let mut tasks = JoinSet::new();
    let opening = Arc::new(Semaphore::new(OPENED_AT_ONCE));
    for at in 0..options.clients {
        let (poll, opening) = (Arc::clone(&poll), Arc::clone(&opening));
        let poll = async move {
            let opened = opening.acquire().await;
            let mut asking = Asking::connect(addr).await?;
            asking.say(&poll).await?;
            drop(opened);
            let answer = asking.hear().await?;
            let is_it = |json: serde_json::Value| json["messages"][0]["payload"] == "x";
            let is_good = answer.status == 200 && answer.json().is_ok_and(is_it);
            Ok::<_, io::Error>(End::good_if(is_good))
        };
        tasks.spawn_on(async { poll.await.unwrap_or(End::Broken) }, others.place(at));
    }
    await_parked(&mut helper, options.clients).await?;
    let after = broker.resident_bytes()?;
    let seen = seen(addr, options.duration).await?;
    let mut left = options.clients;
    while left > 0 {
        let now = left.min(1_000);
        let body = json!({"messages": vec![json!({"payload": "x"}); now]}).to_string();
        helper.ask(&request("POST", "/v1/queues/awaited/messages", body.as_bytes())).await?;
        left -= now;
    }
    let mut ends = Ends::default();
    while let Some(ended) = tasks.join_next().await {
        ends.note(ended?);
    }
    let bytes_each = after.saturating_sub(before) / options.clients.max(1) as u64;
    Ok(Beside { seen, bytes_each, ends })
}

/// Waits until so many consumers wait.
async fn await_parked(helper: &mut Asking, clients: usize) -> Result<(), CrowdError> {
    let ends = Instant::now() + Duration::from_secs(30);
    while Instant::now() < ends {
        let stats = helper.ask(&request("GET", "/v1/queues/awaited", b"")).await?.json()?;
        if stats["waiting"].as_u64() == Some(clients as u64) {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(CrowdError::Other("the long polls do not wait"))
}

/// Heads that drip in until they are cut; the next takes the place of each, until the time is up.
async fn dripping(
    options: &Options,
    broker: &Broker,
    addr: SocketAddr,
    others: &Background,
) -> Result<Beside, CrowdError> {
    let before = broker.resident_bytes()?;
    let over = Arc::new(AtomicBool::new(false));
    let open = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for at in 0..options.clients {
        let (over, open) = (Arc::clone(&over), Arc::clone(&open));
        // Spread over what one lives, so that not all come, and are cut, at once.
        let begin = HEAD_TIMEOUT.mul_f64(at as f64 / options.clients as f64);
        let client = async move {
            sleep(begin).await;
            let mut ends = Ends::default();
            while !over.load(Relaxed) {
                open.fetch_add(1, Relaxed);
                ends.note(drip(addr).await.unwrap_or(End::Broken));
                open.fetch_sub(1, Relaxed);
            }
            ends
        };
        tasks.spawn_on(client, others.place(at));
    }
    while open.load(Relaxed) < options.clients {
        sleep(Duration::from_millis(10)).await;
    }
    // The first are cut by now; the last have sent something.
    sleep(DRIP).await;
    let after = broker.resident_bytes()?;
    let seen = seen(addr, options.duration).await;
    over.store(true, Relaxed);
    let mut ends = Ends::default();
    while let Some(ended) = tasks.join_next().await {
        ends.add(ended?);
    }
    let bytes_each = after.saturating_sub(before) / options.clients.max(1) as u64;
    Ok(Beside { seen: seen?, bytes_each, ends })
}

/// One that sends a byte now and then, until it is answered with 408 and cut.
async fn drip(addr: SocketAddr) -> io::Result<End> {
    let head = b"POST /enqueue HTTP/1.1\r\nHost: localhost\r\n";
    let began = Instant::now();
    let mut asking = Asking::connect(addr).await?;
    for byte in head.chunks(1) {
        // The answer comes when it wants to; a byte that is sent behind it hears of the end.
        asking.say(byte).await?;
        let answer = tokio::select! {
            answer = asking.hear() => answer?,
            () = sleep(DRIP) => continue,
        };
        if answer.status != 408 || !asking.ends().await {
            return Ok(End::Other);
        }
        return Ok(if began.elapsed() < HEAD_TIMEOUT + LATE { End::Good } else { End::Late });
    }
    Ok(End::Broken)
}
