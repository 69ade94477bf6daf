//! Many times as many posts as the broker can take, and acknowledgements beside them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::acks::{Acked, acknowledge, lease};
use super::posts::{Plan, Posted, post};
use super::{CrowdError, on_processor, runtime};
use crate::process::{Broker, Launch};
use crate::targets::Level;

/// Connections of the closed loops of which the best tells the capacity.
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
    /// Closed loops, each with more connections than the one before.
    pub loops: Vec<Loop>,
    /// The best of them once more after the overload.
    pub after: Loop,
    /// The overload.
    pub overload: Posted,
    /// Processor time of the broker for it.
    pub overload_cpu: Duration,
    /// Acknowledgements over a connection that is kept.
    pub acks: Acked,
    /// Each over a new connection.
    pub acks_anew: Acked,
    /// The broker's resident memory before the overload, and the most during it.
    pub resident: (u64, u64),
    /// Whether client and broker had a processor each.
    pub apart: bool,
}

/// A closed loop.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Its connections.
    pub connections: usize,
    /// What came of it.
    pub posted: Posted,
    /// Processor time of the broker.
    pub cpu: Duration,
}

impl Figures {
    /// Requests a second that the broker can serve: what the best closed loop made before the overload
    /// and after it, on average. The queue grows by millions of messages in between, and what that costs
    /// is no matter of too many requests.
    pub fn capacity(&self) -> f64 {
        f64::midpoint(best(&self.loops).posted.rate(), self.after.posted.rate())
    }
}

fn best(loops: &[Loop]) -> &Loop {
    let mut best = &loops[0];
    for each in loops {
        if each.posted.rate() > best.posted.rate() {
            best = each;
        }
    }
    best
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
    let mut loops = Vec::new();
    for connections in CONNECTIONS {
        loops.push(closed_loop(options, broker, addr, connections).await?);
    }
    let best = best(&loops);
    let (connections, rate) = (best.connections, best.posted.rate() as u64);
    let rate = Some(rate.max(1) * options.times);
    let count = options.duration.as_millis() / ACK_EVERY.as_millis()
        + options.duration.as_millis() / ACK_ANEW_EVERY.as_millis();
    let leased = Arc::new(Mutex::new(lease(addr, count as usize + 2).await?));
    let before = broker.resident_bytes()?;
    let cpu = broker.cpu_time()?;
    let acks = acknowledge(addr, Arc::clone(&leased), ACK_EVERY, true, options.duration);
    let acks_anew = acknowledge(addr, leased, ACK_ANEW_EVERY, false, options.duration);
    let (acks, acks_anew) = (tokio::spawn(acks), tokio::spawn(acks_anew));
    let Options { sockets, duration, .. } = *options;
    let plan = Plan { addr, sockets, rate, warm_up: Duration::ZERO, duration };
    let mut posting = spawn_blocking(move || post(&plan));
    let mut most = before;
    let overload = loop {
        tokio::select! {
            overload = &mut posting => break overload??,
            () = tokio::time::sleep(SAMPLE) => most = most.max(broker.resident_bytes()?),
        }
    };
    let overload_cpu = broker.cpu_time()? - cpu;
    let after = closed_loop(options, broker, addr, connections).await?;
    Ok(Figures {
        loops,
        after,
        overload,
        overload_cpu,
        acks: acks.await?,
        acks_anew: acks_anew.await?,
        resident: (before, most.max(broker.resident_bytes()?)),
        apart,
    })
}

async fn closed_loop(
    options: &Options,
    broker: &Broker,
    addr: SocketAddr,
    connections: usize,
) -> Result<Loop, CrowdError> {
    let duration = options.duration / 6;
    let warm_up = duration / 8;
    let plan = Plan { addr, sockets: connections, rate: None, warm_up, duration };
    let cpu = broker.cpu_time()?;
    let posted = spawn_blocking(move || post(&plan)).await??;
    // That of the warm-up is in it.
    let cpu = (broker.cpu_time()? - cpu) * 8 / 9;
    Ok(Loop { connections, posted, cpu })
}
