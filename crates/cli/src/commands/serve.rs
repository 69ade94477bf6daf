//! `sluice serve`: the broker.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sluice_broker::local::{Entropy, LocalBackend, StartError};
use sluice_broker::{Broker, Stats};
use sluice_model::Timestamp;
use sluice_server::Server;
use sluice_wal::{Disk, FileDisk, RecoveryReport, WalError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, ServeArgs};
use crate::commands::repair::advice;
use crate::failure::Failure;
use crate::settings::Settings;

/// How long a data directory that somebody has is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    start_log(args)?;
    let settings = Settings::load(args)?;
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    // Refused before anything is touched on disk.
    settings
        .server
        .validate()
        .map_err(|error| Failure::from(sluice_server::ServerError::from(error)))?;
    let broker = match &settings.data_dir {
        Some(path) => open(FileDisk::new(path), &settings, true)?,
        None => open(sluice_wal::MemoryDisk::new(), &settings, false)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .build()
        .map_err(Failure::other)?;
    let served = runtime.block_on(serve(&settings, broker.clone()));
    tell_stats(&broker.stats());
    // Connections are gone by now; what they were told is made safe and the log closed.
    let stopped = if served.is_ok() { broker.stop().map_err(Failure::from) } else { Ok(()) };
    runtime.shutdown_background();
    served.and(stopped)
}

fn open<D: Disk>(disk: D, settings: &Settings, durable: bool) -> Result<Broker, Failure> {
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
                return Ok(Broker::new(backend));
            }
        }
    }
}

/// Says of damage what it costs and what can be done.
fn refused(error: StartError, settings: &Settings) -> Failure {
    match (error, &settings.data_dir) {
        (StartError::Log(error @ WalError::Corrupt(_)), Some(path)) => {
            Failure::Corrupt(format!("{error}\n{}", advice(path)))
        }
        (error, _) => error.into(),
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
    let Stats { subscriptions, queued, commits, records, .. } = stats;
    tracing::info!(
        published,
        delivered,
        acked,
        unroutable,
        dropped,
        expired,
        dead,
        refused,
        subscriptions,
        queued,
        commits,
        records,
        "broker stops"
    );
}

async fn serve(settings: &Settings, broker: Broker) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    let server = Server::bind(settings.server.clone(), broker).await?;
    say_ready(&server).map_err(Failure::other)?;
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
        outcome = &mut running => return Ok(outcome?),
        () = asked() => {}
    }
    tracing::info!("asked to stop, draining");
    drop(drain);
    tokio::select! {
        outcome = running => Ok(outcome?),
        () = asked() => Err(Failure::Other("asked twice, stopped without draining".into())),
    }
}

#[expect(clippy::print_stdout, reason = "scripts wait for this line")]
fn say_ready(server: &Server) -> std::io::Result<()> {
    println!("sluice ready tcp={}", server.tcp_addr());
    std::io::stdout().flush()
}

fn start_log(args: &ServeArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log_level).map_err(Failure::settings)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
