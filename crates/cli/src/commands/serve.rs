//! `sluice serve`: the broker.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sluice_broker::local::{Entropy, LocalBackend, StartError};
use sluice_broker::{Broker, Memory, Stats};
use sluice_model::Timestamp;
use sluice_server::{Admin, ApiKey, Server, ServerError};
use sluice_wal::{Disk, FileDisk, RecoveryReport, WalError};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ServeArgs;
use crate::commands::repair::advice;
use crate::failure::Failure;
use crate::hangup::{Doors, Hangup};
use crate::key_store::FileKeys;
use crate::live_limits::LiveLimits;
use crate::notify::Notifier;
use crate::own_limits::OwnLimits;
use crate::reload::Reload;
use crate::settings::{Loaded, Settings};
use crate::{heap, keys, logging, watchdog};

/// How long a data directory that somebody has is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Connections that a worker learns of at once to be ready, and polls of tasks before it asks again, some for
/// each of these. Others that are ready wait in the kernel, in turn and at no cost: thousands that are at
/// work at once each find what they need in memory that no cache holds any more.
const READY_AT_ONCE: usize = 32;
const POLLS_BETWEEN: u32 = 256;

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let sources = args.settings.sources();
    let loaded = Loaded::read(&sources).with_certificate()?;
    let log_level = logging::start(&loaded.settings)?;
    if let Some(path) = &loaded.file {
        tracing::info!("configuration from {}", path.display());
    }
    for note in loaded.notes() {
        tracing::warn!("{note}");
    }
    let mut settings = loaded.settings.clone();
    settings.local.accept_clock = args.accept_clock;
    settings.server.keys = keys_at_start(&settings)?;
    settings.server.http.key_store = settings.keys_path().map(FileKeys::shared);
    if !settings.ephemeral {
        settings.server.http.snapshots = Some(settings.data_dir.join("snapshots"));
    }
    // Refused before anything is touched on disk.
    settings
        .server
        .validate()
        .map_err(|error| Failure::from(sluice_server::ServerError::from(error)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_io_events_per_tick(READY_AT_ONCE)
        .event_interval(POLLS_BETWEEN)
        .thread_name("worker")
        .build()
        .map_err(Failure::other)?;
    let notifier = Arc::new(Notifier::from_environment());
    let reload = Reload::new(sources, &loaded, log_level);
    let limits = reload.limits();
    let hangup = Hangup::listen(&runtime, reload, Arc::clone(&notifier))?;
    let broker = match settings.ephemeral {
        false => {
            let (socket, backups) = (settings.data_dir.join("admin.sock"), settings.backup_dir());
            let shelf = Some(FileDisk::new(&backups));
            settings.server.admin = Some(Admin { socket, backups });
            open(FileDisk::new(&settings.data_dir), shelf, &settings, true)?
        }
        true => open(sluice_wal::MemoryDisk::new(), None, &settings, false)?,
    };
    let memory_max = settings.memory_budget();
    let broker = broker.with_memory(Memory::new(memory_max, heap::used));
    tracing::info!(memory_max, used = heap::used(), "memory budget");
    let own_limits = OwnLimits::new(broker.clone(), runtime.handle().clone(), &settings);
    // Before anybody can ask for a message.
    own_limits.apply(&settings.limits)?;
    let live = Live { hangup: &hangup, limits: &limits, own_limits };
    let served = runtime.block_on(serve(&settings, broker.clone(), live, &notifier));
    tell_stats(&broker.stats());
    // Connections are gone by now; what they were told is made safe and the log closed.
    let stopped = if served.is_ok() { broker.stop().map_err(Failure::from) } else { Ok(()) };
    runtime.shutdown_background();
    served.and(stopped)
}

fn open<D: Disk>(
    disk: D,
    shelf: Option<D>,
    settings: &Settings,
    durable: bool,
) -> Result<Broker, Failure> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    let random = || getrandom::u64().map_err(Failure::other);
    let entropy = Entropy { log_id: random()?, seed: random()? };
    let given_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match LocalBackend::open(disk.clone(), &settings.local, wall, entropy, durable) {
            // A broker that was killed may take a moment to be gone.
            Err(StartError::Log(WalError::Locked { .. })) if Instant::now() < given_up => {
                std::thread::sleep(LOCK_PATIENCE / 20);
            }
            outcome => {
                let (backend, report) = outcome.map_err(|error| refused(error, settings))?;
                tell(&report);
                if let Some(shelf) = shelf {
                    backend.keep_backups(shelf, settings.backup_keep);
                }
                return Ok(Broker::new(backend));
            }
        }
    }
}

/// Says of damage what it costs and what can be done.
fn refused(error: StartError, settings: &Settings) -> Failure {
    match error {
        StartError::Log(error @ WalError::Corrupt(_)) if !settings.ephemeral => {
            Failure::Corrupt(format!("{error}\n{}", advice(&settings.data_dir)))
        }
        error => error.into(),
    }
}

fn tell(report: &RecoveryReport) {
    let RecoveryReport { clean, torn_bytes, rewritten, damaged_checkpoints, recovery, .. } = report;
    let quarantined = report.quarantined.join(", ");
    if *torn_bytes > 0 || *damaged_checkpoints > 0 {
        tracing::warn!(torn_bytes, %quarantined, damaged_checkpoints, "a tail was set aside");
    }
    tracing::info!(clean, rewritten, recovery, "log recovered");
}

fn tell_stats(stats: &Stats) {
    let Stats { published, delivered, acked, unroutable, dropped, expired, dead, refused, .. } =
        stats;
    let Stats { forbidden, refused_memory, refused_dedupe, subscriptions, .. } = stats;
    let Stats { queued, commits, records, .. } = stats;
    tracing::info!(
        published,
        delivered,
        acked,
        unroutable,
        dropped,
        expired,
        dead,
        refused,
        forbidden,
        refused_memory,
        refused_dedupe,
        subscriptions,
        queued,
        commits,
        records,
        "broker stops"
    );
}

/// The keys in the key file; none where nobody has made one.
fn keys_at_start(settings: &Settings) -> Result<Option<Vec<ApiKey>>, Failure> {
    let Some(path) = settings.keys_path() else { return Ok(None) };
    let keys = keys::load(&path)?;
    if keys.is_none() && settings.names_keys_file() {
        let (path, hint) = (path.display(), "sluice key create makes one");
        return Err(Failure::settings(format!("there is no keys_file {path}; {hint}")));
    }
    Ok(keys)
}

/// What changes while the server runs.
struct Live<'a> {
    hangup: &'a Hangup,
    limits: &'a LiveLimits,
    own_limits: OwnLimits,
}

async fn serve(
    settings: &Settings,
    broker: Broker,
    live: Live<'_>,
    notifier: &Arc<Notifier>,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    let server = Server::bind(settings.server.clone(), broker.clone()).await?;
    live.limits.open(server.intake()).map_err(ServerError::from)?;
    live.hangup.open(Doors {
        ring: server.key_ring(),
        keys_path: settings.keys_path(),
        certificates: server.certificates(),
        own_limits: live.own_limits,
    });
    if let Some(period) = watchdog::period() {
        let notifier = Arc::clone(notifier);
        tokio::spawn(watchdog::watch(broker, period, move || notifier.alive()));
    }
    say_ready(&server).map_err(Failure::other)?;
    notifier.ready();
    let mut asked = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let (drain, draining) = tokio::sync::oneshot::channel::<()>();
    let mut running = std::pin::pin!(server.run(async {
        // A sender that is gone asks for the drain as well.
        let _ = draining.await;
    }));
    tokio::select! {
        outcome = &mut running => {
            notifier.stopping();
            return Ok(outcome?);
        }
        () = asked() => {}
    }
    notifier.stopping();
    tracing::info!("asked to stop, draining");
    drop(drain);
    tokio::select! {
        outcome = running => Ok(outcome?),
        () = asked() => Err(Failure::Other("asked twice, stopped without draining".into())),
    }
}

#[expect(clippy::print_stdout, reason = "scripts wait for this line")]
fn say_ready(server: &Server) -> std::io::Result<()> {
    let http = server.http_addr().map(|addr| format!(" http={addr}")).unwrap_or_default();
    let metrics = server.metrics_addr().map(|addr| format!(" metrics={addr}")).unwrap_or_default();
    println!("sluice ready tcp={}{http}{metrics}", server.tcp_addr());
    std::io::stdout().flush()
}
