//! Many times as many posts as the broker can take, and acknowledgements beside them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::acks::{Acked, acknowledge, lease};
use super::posts::{self, Posted};
use super::{CrowdError, on_processor, runtime};
use crate::process::{Broker, Launch};
use crate::targets::Level;

/// Connections of the closed loops among which the best is the capacity.
const CONNECTIONS: [usize; 3] = [64, 256, 1_024];
/// How often a message is acknowledged, over a connection that is kept and over a new one.
const ACK_EVERY: Duration = Duration::from_millis(5);
const ACK_ANEW_EVERY: Duration = Duration::from_millis(100);
/// How often the broker's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// How the broker is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's binary.
    pub program: PathBuf,
    /// Where its data goes: an empty directory.
    pub dir: PathBuf,
    /// What 202 means.
    pub level: Level,
    /// How many times its capacity is due.
    pub times: u64,
    /// How long.
    pub duration: Duration,
    /// Sockets that the client may have open at once.
    pub sockets: usize,
    /// Bytes of memory that the broker may use.
    pub memory_max: u64,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The best closed loop.
    pub capacity: Posted,
    /// Connections of that.
    pub connections: usize,
    /// Processor time of the broker for each 202 of it.
    pub capacity_cost: Duration,
    /// The overload.
    pub overload: Posted,
    /// Processor time of the broker for each 202 of it.
    pub overload_cost: Duration,
    /// Acknowledgements over a connection that is kept.
    pub acks: Acked,
    /// Each over a new connection.
    pub acks_anew: Acked,
    /// The broker's resident memory before the overload, and the most during it.
    pub resident: (u64, u64),
    /// Whether client and broker had a processor each.
    pub apart: bool,
}

/// Runs it all.
///
/// # Errors
/// The broker or a client failed.
pub fn run(options: &Options) -> Result<Figures, CrowdError> {
    let Options { level, memory_max, .. } = options;
    let config = options.dir.join("sluice.toml");
    let text = format!(
        "durability = \"{}\"\ndefault_max_messages = 1000000000\n\
         default_max_bytes = 1099511627776\nmemory_max = {memory_max}\nmax_bytes = 1099511627776\n",
        level.word()
    );
    std::fs::write(&config, text)?;
    let (data, log) = (options.dir.join("data"), options.dir.join("log"));
    let launch = Launch::new(&options.program, &data, &log).arg("--config").arg(config);
    // What it starts has the processor that it had itself then.
    let mut apart = on_processor(0);
    let broker = launch.start()?;
    apart &= on_processor(1);
    let figures = runtime()?.block_on(drive(options, &broker, apart))?;
    broker.terminate()?;
    Ok(figures)
}

async fn drive(options: &Options, broker: &Broker, apart: bool) -> Result<Figures, CrowdError> {
    let addr = broker.http_addr().ok_or(CrowdError::Other("there is no HTTP door"))?;
    let (capacity, connections, capacity_cost) = capacity(options, broker).await?;
    let count = options.duration.as_millis() / ACK_EVERY.as_millis()
        + options.duration.as_millis() / ACK_ANEW_EVERY.as_millis();
    let leased = Arc::new(Mutex::new(lease(addr, count as usize + 2).await?));
    let before = broker.resident_bytes()?;
    let cpu = broker.cpu_time()?;
    let rate = (capacity.rate() as u64).max(1) * options.times;
    let acks = acknowledge(addr, Arc::clone(&leased), ACK_EVERY, true, options.duration);
    let acks_anew = acknowledge(addr, leased, ACK_ANEW_EVERY, false, options.duration);
    let (acks, acks_anew) = (tokio::spawn(acks), tokio::spawn(acks_anew));
    let mut posting = tokio::spawn(posts::open(addr, rate, options.sockets, options.duration));
    let mut most = before;
    let overload = loop {
        tokio::select! {
            overload = &mut posting => break overload?,
            () = tokio::time::sleep(SAMPLE) => most = most.max(broker.resident_bytes()?),
        }
    };
    let overload_cost = cost(broker.cpu_time()? - cpu, &overload);
    Ok(Figures {
        capacity,
        connections,
        capacity_cost,
        overload,
        overload_cost,
        acks: acks.await?,
        acks_anew: acks_anew.await?,
        resident: (before, most.max(broker.resident_bytes()?)),
        apart,
    })
}

/// The best of a few closed loops, how many connections it had and what a 202 cost.
async fn capacity(
    options: &Options,
    broker: &Broker,
) -> Result<(Posted, usize, Duration), CrowdError> {
    let addr = broker.http_addr().ok_or(CrowdError::Other("there is no HTTP door"))?;
    let mut best: Option<(Posted, usize, Duration)> = None;
    for connections in CONNECTIONS {
        let cpu = broker.cpu_time()?;
        let posted = posts::closed(addr, connections, options.duration / 6).await;
        // Those of the warm-up are in the time and not in the count: an eighth of both.
        let cost = cost((broker.cpu_time()? - cpu) * 8 / 9, &posted);
        if best.as_ref().is_none_or(|(other, ..)| posted.rate() > other.rate()) {
            best = Some((posted, connections, cost));
        }
    }
    best.ok_or(CrowdError::Other("nothing was measured"))
}

fn cost(cpu: Duration, posted: &Posted) -> Duration {
    cpu.div_f64(posted.accepted.max(1) as f64)
}
