//! `sluice backup`: a copy of the log that a broker serves, or of one that none does.
//!
//! A running broker makes it itself, asked through the admin socket in its data directory. Offline
//! this process takes the directory, starts on it as a broker would, without doors and with a clock
//! that stands where the log ends, and stops in order.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sluice_broker::local::{Entropy, LocalBackend, StartError};
use sluice_broker::{Backend as _, BackupDone, BackupState};
use sluice_model::Timestamp;
use sluice_server::SocketPath;
use sluice_wal::{FileDisk, WalError};

use crate::args::BackupArgs;
use crate::commands::place::{self, check_directory};
use crate::commands::print;
use crate::commands::repair::advice;
use crate::failure::Failure;
use crate::settings::Settings;

/// How often the broker is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Makes a backup and says what it is called.
pub(crate) fn run(args: &BackupArgs) -> Result<(), Failure> {
    let settings = place::settings(&args.place)?;
    if settings.ephemeral {
        return Err(Failure::usage("a broker that keeps everything in memory has no backups"));
    }
    let bar = progress_bar(args.json || args.no_progress, "backed up");
    let done = match args.offline {
        false => online(&settings, &bar)?,
        true => offline(&settings, &bar)?,
    };
    bar.finish_and_clear();
    print(&match args.json {
        true => format!("{done}\n"),
        false => told(&done),
    })
}

/// What people are told of a backup that is done.
fn told(done: &Value) -> String {
    let field = |name: &str| done[name].as_str().unwrap_or_default();
    let number = |name: &str| done[name].as_u64().unwrap_or_default();
    let path = Path::new(field("directory")).join(field("name"));
    let mut out = format!(
        "{}\n{} bytes, up to record {}, in {} ms\n",
        path.display(),
        number("bytes"),
        number("last_record"),
        number("took_ms")
    );
    for skipped in done["skipped"].as_array().into_iter().flatten() {
        let skipped = skipped.as_str().unwrap_or_default();
        out += &format!("not in it, damaged and needed by no message: {skipped}\n");
    }
    for removed in done["removed"].as_array().into_iter().flatten() {
        out += &format!("removed {}\n", removed.as_str().unwrap_or_default());
    }
    out
}

/// Asks the broker that serves the directory.
fn online(settings: &Settings, bar: &ProgressBar) -> Result<Value, Failure> {
    let mut admin = Admin::connect(&settings.data_dir)?;
    let mut status = admin.ask(&json!({ "backup": {} }))?;
    loop {
        match status["state"].as_str() {
            Some("done") => return Ok(status),
            Some("running") => {
                bar.set_length(status["total_bytes"].as_u64().unwrap_or_default());
                bar.set_position(status["done_bytes"].as_u64().unwrap_or_default());
            }
            _ => {
                let reason = status["reason"].as_str().unwrap_or("nobody knows why");
                return Err(unmade(status["code"].as_str().unwrap_or_default(), reason));
            }
        }
        std::thread::sleep(ASK_EVERY);
        status = admin.ask(&json!({ "backup_status": {} }))?;
    }
}

/// A connection to the admin socket of a broker.
struct Admin {
    stream: BufReader<UnixStream>,
}

impl Admin {
    fn connect(data_dir: &Path) -> Result<Self, Failure> {
        check_directory(data_dir)?;
        let path = data_dir.join("admin.sock");
        let connected = SocketPath::new(&path)
            .and_then(|short| UnixStream::connect(short.as_path()))
            .and_then(|stream| stream.set_read_timeout(Some(ANSWER_MAX)).map(|()| stream));
        match connected {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream) }),
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        "\nis the broker running? without one: sluice backup --offline"
                    }
                    _ => "",
                };
                let path = path.display();
                Err(Failure::Other(format!("no broker answers at {path}: {error}{hint}")))
            }
        }
    }

    /// What the broker says to a request.
    fn ask(&mut self, request: &Value) -> Result<Value, Failure> {
        let gone = |error: io::Error| Failure::Other(format!("the broker went away: {error}"));
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).map_err(gone)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(gone)? == 0 {
            return Err(Failure::Other("the broker went away; no backup was made".into()));
        }
        let mut answer: Value = serde_json::from_str(&line).map_err(Failure::other)?;
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => {
                let error = &answer["error"];
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                Err(Failure::Other(format!("{} ({})", text("message"), text("code"))))
            }
        }
    }
}

/// Backs up a log that no broker has open.
fn offline(settings: &Settings, bar: &ProgressBar) -> Result<Value, Failure> {
    check_directory(&settings.data_dir)?;
    let disk = FileDisk::new(&settings.data_dir);
    let files = sluice_wal::Disk::list(&disk, "").map_err(Failure::other)?;
    if !files.iter().any(|name| name.ends_with(".seg")) {
        let dir = settings.data_dir.display();
        return Err(Failure::Other(format!("there is no log in {dir}")));
    }
    let random = || getrandom::u64().map_err(Failure::other);
    let entropy = Entropy { log_id: random()?, seed: random()? };
    // The log's own last time: nothing may expire because somebody makes a copy.
    let wall = Timestamp::EPOCH;
    let opened = LocalBackend::open(disk, &settings.local, wall, entropy, true);
    let (backend, _) = opened.map_err(|error| refused(error, settings))?;
    backend.keep_backups(FileDisk::new(settings.backup_dir()), settings.backup_keep);
    let outcome = wait(&backend, bar);
    backend.stop()?;
    let BackupDone { name, bytes, last, took, skipped, removed } = outcome?;
    Ok(json!({
        "state": "done",
        "name": name,
        "directory": settings.backup_dir().to_string_lossy(),
        "bytes": bytes,
        "last_record": last,
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "skipped": skipped,
        "removed": removed,
    }))
}

fn refused(error: StartError, settings: &Settings) -> Failure {
    match error {
        StartError::Log(error @ WalError::Locked { .. }) => {
            Failure::Other(format!("{error}; leave out --offline to have it make the backup"))
        }
        StartError::Log(error @ WalError::Corrupt(_)) => {
            Failure::Corrupt(format!("{error}\n{}", advice(&settings.data_dir)))
        }
        error => error.into(),
    }
}

fn wait(backend: &LocalBackend<FileDisk>, bar: &ProgressBar) -> Result<BackupDone, Failure> {
    backend.backup().map_err(|refusal| Failure::Other(refusal.message.into_owned()))?;
    loop {
        match backend.backup_status().state {
            BackupState::Done(done) => return Ok(done),
            BackupState::Running { done, total } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            BackupState::Failed { code, reason } => return Err(unmade(code.name(), &reason)),
            BackupState::Never => return Err(Failure::Other("no backup was begun".into())),
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn unmade(code: &str, reason: &str) -> Failure {
    Failure::Other(format!("no backup was made ({code}): {reason}"))
}

/// A bar of bytes on a terminal.
pub(crate) fn progress_bar(hidden: bool, what: &str) -> ProgressBar {
    if hidden || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = format!("{{wide_bar}} {{bytes}} of {{total_bytes}} {what}, {{bytes_per_sec}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
