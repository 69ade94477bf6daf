//! A queue of a broker of its own, in this process: what it writes goes with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_broker::Broker;
use sluice_broker::local::{Entropy, LocalBackend, LocalConfig};
use sluice_model::{
    Answer, Client, Command, Destination, LimitRequest, Message, Pausable, Principal, PublishBatch,
    QueueName, QueueRequest, Receive, Setting, Settlement, Source, Timestamp,
};
use sluice_wal::FileDisk;
use tempfile::TempDir;

use super::message::read;
use super::session::{Asker, Lease, pump};
use super::{Queue, Taken, limit, settings};
use crate::desk::DeskError;
use crate::host::Host;
use crate::options::{CONCURRENCY_MAX, Options};

/// What a lease has on top of the time for a request.
const LEASE_MARGIN: Duration = Duration::from_secs(60);
/// How long a receive waits before it is asked anew.
const WAIT: Duration = Duration::from_secs(60);
/// Pauses without a time grow so long, and no broker knows longer ones than that.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// One for each host that is given up, as many as a broker may have.
const LIMITS_MAX: usize = 100_000;
const SEGMENT_BYTES: u64 = 4 << 20;
/// The number of the level `os`: nothing of it has to outlive the machine.
const LEVEL_OS: u64 = 1;

/// A broker of its own, in a directory of its own. Both go when it is dropped.
pub(crate) struct Home {
    broker: Broker,
    _dir: TempDir,
}

/// A queue in a [`Home`].
pub(crate) struct Embedded {
    asker: Asker,
    queue: QueueName,
    lease: Duration,
}

impl Home {
    /// Starts one.
    pub(crate) fn start(options: &Options, entropy: Entropy) -> Result<Self, DeskError> {
        let failed = |error: String| DeskError(format!("no broker can be started: {error}"));
        let dir = tempfile::Builder::new().prefix("sluice-fetch-").tempdir();
        let dir = dir.map_err(|error| failed(error.to_string()))?;
        let mut config = LocalConfig::default();
        config.engine.pause_max = options.pause_max.clamp(PAUSE_MIN, PAUSE_MAX);
        config.engine.limits_max = LIMITS_MAX;
        config.wal.segment_bytes = SEGMENT_BYTES;
        config.wal.record_max = SEGMENT_BYTES as usize / 2;
        config.wal.settlements_reserve = SEGMENT_BYTES;
        config.wal.allow_unsafe_fs = true;
        config.disk_low = 16 * SEGMENT_BYTES;
        // Nothing has to reach the disk.
        config.pace.sync_lazy = Duration::from_secs(1);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::EPOCH.after(wall);
        let disk = FileDisk::new(dir.path().join("log"));
        let (backend, _) = LocalBackend::open(disk, &config, wall, entropy, false)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { broker: Broker::new(backend), _dir: dir })
    }

    /// Where it is.
    #[cfg(test)]
    pub(crate) fn dir(&self) -> &std::path::Path {
        self._dir.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What it could not make safe nobody needs any more.
        let _ = self.broker.stop();
    }
}

impl Embedded {
    /// Makes the queue and its limits. A task of this runtime works for it until it is dropped.
    pub(crate) async fn open(home: &Home, options: &Options) -> Result<Self, DeskError> {
        let peer = std::net::Ipv4Addr::LOCALHOST.into();
        let session = home.broker.open(Client { principal: Principal::Anonymous, peer });
        let (asker, pump) = pump(session);
        tokio::spawn(pump.run(home.broker.clone()));
        let queue = QueueName::new("fetch").map_err(told)?;
        let settings = settings(&[
            (Setting::Durability, LEVEL_OS),
            (Setting::MaxReleases, u32::MAX.into()),
            (Setting::MaxMessages, u32::MAX.into()),
            (Setting::MaxBytes, 1 << 40),
            (Setting::DedupeMax, 100_000_000),
        ])
        .map_err(told)?;
        let declare = QueueRequest::Declare { name: queue.clone(), settings, update: false };
        asker.ask(Command::Queue(Box::new(declare))).await?;
        let embedded = Self { asker, queue, lease: options.timeout + LEASE_MARGIN };
        let limit = limit(&embedded.queue, None, options.per_host, options.rate).map_err(told)?;
        embedded.limit(LimitRequest::Put(Box::new(limit))).await?;
        Ok(embedded)
    }

    async fn limit(&self, request: LimitRequest) -> Result<(), DeskError> {
        self.asker.ask(Command::Limit(Box::new(request))).await.map(|_| ())
    }
}

impl Queue for Embedded {
    type Lease = Lease;

    async fn receive(&self, max: usize) -> Result<Vec<Taken<Lease>>, DeskError> {
        let receive = Receive {
            max: u32::try_from(max).unwrap_or(u32::MAX),
            lease: Some(self.lease),
            wait: Some(WAIT),
            ..Receive::one(Source::Queue(self.queue.clone()))
        };
        let came = self.asker.receive(receive).await?;
        let taken = came.into_iter().map(|(lease, delivery)| {
            let headers = delivery.carried.headers.iter();
            let headers = headers.filter_map(|(name, value)| {
                Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
            });
            let carried = &delivery.carried;
            let job = read(&carried.payload, headers, delivery.attempt, delivery.failures);
            Taken { lease, id: carried.id, job, is_keyed: true }
        });
        Ok(taken.collect())
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), DeskError> {
        let to = || Destination::Queue(self.queue.clone());
        let messages = messages.into_iter().map(|message| (to(), message)).collect();
        let batch = PublishBatch { messages, level: None };
        self.asker.ask(Command::PublishBatch(Box::new(batch))).await.map(|_| ())
    }

    async fn settle(&self, lease: Lease, how: Settlement) -> Result<(), DeskError> {
        self.asker.settle(lease, how).await
    }

    async fn left(&self) -> Result<u64, DeskError> {
        let stats = QueueRequest::Stats { name: self.queue.clone() };
        match self.asker.ask(Command::Queue(Box::new(stats))).await? {
            Answer::Stats(stats) => {
                Ok(stats.counts.ready + stats.counts.delayed + stats.counts.leased)
            }
            other => Err(DeskError(format!("its broker answered {other:?}"))),
        }
    }

    async fn lift(&self, host: &Host) -> Result<(), DeskError> {
        // The limit of one host is more specific than that of all.
        let lifted = limit(&self.queue, Some(host), CONCURRENCY_MAX, None).map_err(told)?;
        let (queue, key) = (self.queue.clone(), host.as_str().into());
        // There may be too many limits; then what is left waits for its turn.
        let _ = self.limit(LimitRequest::Put(Box::new(lifted))).await;
        self.limit(LimitRequest::Resume { what: Pausable::Key { queue, key } }).await
    }
}

fn told(error: impl std::fmt::Display) -> DeskError {
    DeskError(error.to_string())
}
