//! The limits of the configuration file as a running broker takes them, at its start and at SIGHUP.
//!
//! Which names the file had is written down beside the log, so that a limit that was taken out of the
//! file while the broker was down goes, too. Before names are taken they stand there, after others
//! were given up they don't: a crash in between costs nothing but looking again.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sluice_broker::{Broker, LimitsOwned};
use sluice_model::Limit;
use tokio::runtime::Handle;

use crate::failure::Failure;
use crate::settings::{FileLimit, Settings};

/// The file, in the data directory.
const FILE: &str = "limits-of-config";

/// Where limits of the file are put in force.
#[derive(Clone)]
pub(crate) struct OwnLimits {
    broker: Broker,
    runtime: Handle,
    /// None if everything is in memory.
    file: Option<PathBuf>,
    /// The names that the broker may have limits of from the file; none before the first look.
    names: Arc<Mutex<Option<Names>>>,
}

type Names = BTreeSet<Box<str>>;

impl OwnLimits {
    pub(crate) fn new(broker: Broker, runtime: Handle, settings: &Settings) -> Self {
        let file = (!settings.ephemeral).then(|| settings.data_dir.join(FILE));
        Self { broker, runtime, file, names: Arc::default() }
    }

    /// Has these limits, and none of others that stood in the file before, in force. Blocks the
    /// thread.
    pub(crate) fn apply(&self, limits: &[FileLimit]) -> Result<LimitsOwned, Failure> {
        let limits: Vec<Limit> = limits.iter().map(|limit| limit.limit.clone()).collect();
        let now: Names = limits.iter().map(|limit| limit.name().into()).collect();
        let mut names = self.names.lock();
        let before = match names.take() {
            Some(names) => names,
            None => self.read().map_err(|error| self.failed("read", &error))?,
        };
        let both: Names = before.union(&now).cloned().collect();
        *names = Some(both.clone());
        if now != before {
            self.write(&both)?;
        }
        let owned = self.runtime.block_on(self.broker.own_limits(&limits, &before));
        let owned = owned.map_err(|refusal| Failure::Other(refusal.message.into_owned()))?;
        if now != before {
            self.write(&now)?;
        }
        *names = Some(now);
        Ok(owned)
    }

    fn read(&self) -> io::Result<Names> {
        let Some(path) = &self.file else { return Ok(Names::new()) };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.lines().map(Box::from).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Names::new()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, names: &Names) -> Result<(), Failure> {
        let Some(path) = &self.file else { return Ok(()) };
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        replace(path, text.as_bytes()).map_err(|error| self.failed("write", &error))
    }

    fn failed(&self, action: &str, error: &io::Error) -> Failure {
        let path = self.file.as_deref().unwrap_or(Path::new(FILE));
        Failure::Other(format!("can't {action} {}: {error}", path.display()))
    }
}

/// Puts a file in the place of another, whole, and so that a crash of the machine finds it there: the
/// log, which tells of the limits, may be on disk long before the name of a file is.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
