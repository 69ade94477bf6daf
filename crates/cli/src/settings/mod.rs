//! The broker's settings: defaults < file < environment < flags.
//!
//! This is the only place that knows files, environment and flags; the crates below get plain
//! configs. [`keys`] is the table of all that can be set.
//!
//! ```text
//! file ----------> tree --.
//! environment ------------+--> given --merge--> settings --check--> problems
//! flags ------------------'                        |
//!                                                  '--difference--> live, restart
//! ```

mod check;
mod default_file;
mod difference;
mod environment;
mod file;
mod flags;
mod given;
mod key;
mod keys;
mod kind;
mod limits;
mod merge;
mod origin;
mod problem;
#[cfg(test)]
mod reference;
mod show;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod value;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use sluice_broker::local::LocalConfig;
use sluice_server::{Config as ServerConfig, HttpAddr};
use sluice_wal::SyncPolicy;

pub(crate) use self::default_file::default_file;
use self::file::InFile;
pub(crate) use self::flags::Flags;
pub(crate) use self::limits::FileLimit;
pub(crate) use self::merge::Origins;
pub(crate) use self::problem::Problem;
pub(crate) use self::show::{json, text};
pub(crate) use self::units::{read_bytes, read_time, show_time};
pub(crate) use self::value::LogFormat;
use crate::failure::Failure;
use crate::machine::half_of_memory;

/// Everything that `sluice serve` goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server: ServerConfig,
    pub(crate) local: LocalConfig,
    pub(crate) data_dir: PathBuf,
    /// Where keys with grants are; empty for the usual place in `data_dir`.
    keys_file: PathBuf,
    /// Where backups go; empty for the usual place in `data_dir`.
    backup_dir: PathBuf,
    /// How many backups are kept; 0 for all.
    pub(crate) backup_keep: usize,
    /// Bytes of memory in use near which the broker refuses; 0 for half of what there is.
    memory_max: u64,
    /// Keeps everything in memory, whatever `data_dir` says.
    pub(crate) ephemeral: bool,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) enable_tokio_console: bool,
    /// Those that the file sets, which nobody else may change.
    pub(crate) limits: Vec<FileLimit>,
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self {
            server: ServerConfig::default(),
            local: LocalConfig::default(),
            data_dir: "./sluice-data".into(),
            keys_file: PathBuf::new(),
            backup_dir: PathBuf::new(),
            backup_keep: 7,
            memory_max: 0,
            ephemeral: false,
            log_level: "info".into(),
            log_format: LogFormat::default(),
            enable_tokio_console: false,
            limits: Vec::new(),
        };
        settings.server.http.addr = HttpAddr::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
        settings.server.metrics.listens = true;
        settings.derive(&Origins::default());
        settings
    }
}

impl Settings {
    /// The file of keys with grants; none if everything is in memory and no file is named.
    pub(crate) fn keys_path(&self) -> Option<PathBuf> {
        match self.names_keys_file() {
            true => Some(self.keys_file.clone()),
            false if self.ephemeral => None,
            false => Some(self.data_dir.join("keys.toml")),
        }
    }

    /// Whether somebody named the key file, so that it has to be there.
    pub(crate) fn names_keys_file(&self) -> bool {
        !self.keys_file.as_os_str().is_empty()
    }

    /// Where backups go.
    pub(crate) fn backup_dir(&self) -> PathBuf {
        let chosen = !self.backup_dir.as_os_str().is_empty();
        let dir = if chosen { self.backup_dir.clone() } else { self.data_dir.join("backups") };
        // Told to people and programs that may be in another directory.
        std::path::absolute(&dir).unwrap_or(dir)
    }

    /// Bytes of memory in use near which the broker refuses.
    pub(crate) fn memory_budget(&self) -> u64 {
        if self.memory_max == 0 { half_of_memory() } else { self.memory_max }
    }

    /// Sets what follows from other settings.
    fn derive(&mut self, origins: &Origins) {
        // A record is a message with its names around it; queues may declare larger ones, as far
        // as segments and what may wait allow.
        let largest = self.local.engine.queue.max_message_bytes;
        let largest = usize::try_from(largest).unwrap_or(usize::MAX).saturating_add(64 << 10);
        let room = (self.local.wal.segment_bytes / 2).min(self.local.pace.waiting_max);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(16 << 20);
        self.local.wal.record_max = largest.max(room);
        if !origins.has("retry_backoff_max") {
            for queue in [&mut self.local.engine.queue, &mut self.local.engine.unnamed] {
                queue.backoff.max = queue.backoff.max.max(queue.backoff.min);
            }
        }
        // Who names a directory in a stronger layer means to keep what is in it.
        if let (Some((dir, _)), Some((ephemeral, _))) =
            (key::find("data_dir"), key::find("ephemeral"))
            && origins.layer(dir) > origins.layer(ephemeral)
        {
            self.ephemeral = false;
        }
    }
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The file that was named.
    pub(crate) config: Option<PathBuf>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) flags: Flags,
}

impl Sources {
    /// What was typed, and the process's environment.
    pub(crate) fn new(config: Option<PathBuf>, flags: Flags) -> Self {
        let named = std::env::var_os("SLUICE_CONFIG").filter(|path| !path.is_empty());
        // A variable that is no text can be no setting.
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        Self { config: config.or_else(|| named.map(PathBuf::from)), environment, flags }
    }
}

/// Settings with all that is known about them.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    pub(crate) origins: Origins,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// What the operator should look at, and can serve with.
    pub(crate) warnings: Vec<Problem>,
    /// What there is no serving with.
    pub(crate) problems: Vec<Problem>,
}

impl Loaded {
    /// Puts the layers together and looks at the whole.
    pub(crate) fn read(sources: &Sources) -> Self {
        let file = file::choose(sources.config.as_deref());
        let in_file = file.as_deref().map(file::read).unwrap_or_default();
        let mut loaded = Self::put_together(in_file, sources);
        loaded.file = file;
        loaded
    }

    fn put_together(in_file: InFile, sources: &Sources) -> Self {
        let InFile { given: in_file, limits, mut problems } = in_file;
        let found = environment::read(sources.environment.iter().cloned());
        problems.extend(found.problems);
        let layers = [in_file, found.given, sources.flags.given.clone()];
        let (mut settings, origins, contradictions) = merge::merge(layers);
        settings.limits = limits;
        problems.extend(contradictions);
        problems.extend(check::out_of_range(&settings, &origins));
        Self { settings, origins, file: None, warnings: found.warnings, problems }
    }

    /// Itself, if it can be served with.
    pub(crate) fn accept(self) -> Result<Self, Failure> {
        match self.problems.is_empty() {
            true => Ok(self),
            false => Err(Failure::all_settings(self.problems)),
        }
    }

    /// Itself, if the certificate that is named can be served with, and nothing else is wrong.
    pub(crate) fn with_certificate(mut self) -> Result<Self, Failure> {
        self.problems.extend(check::certificate(&self.settings, &self.origins));
        self.accept()
    }

    /// Itself, if there is nothing that anybody could complain of.
    pub(crate) fn check(mut self) -> Result<Self, Failure> {
        self.problems.append(&mut self.warnings);
        self.problems.extend(check::unsafe_as_it_is(&self.settings, &self.origins));
        self.with_certificate()
    }

    /// What the operator should know about how the settings came about.
    pub(crate) fn notes(&self) -> Vec<String> {
        let Settings { local, data_dir, ephemeral, .. } = &self.settings;
        let mut notes: Vec<String> = self.warnings.iter().map(ToString::to_string).collect();
        let policy = local.pace.policy;
        if policy != SyncPolicy::Always {
            notes.push(format!(
                "fsync_policy {policy} confirms messages before they are on disk; only `always` waits"
            ));
        }
        if self.settings.enable_tokio_console && !crate::logging::HAS_CONSOLE {
            notes.push("enable_tokio_console is set, this build has no console".into());
        }
        let wal_path = key::find("data_dir").is_some_and(|(key, _)| {
            let names =
                self.origins.of(key).iter().map(|origin| origin.name().to_ascii_lowercase());
            names.into_iter().any(|name| name.ends_with("wal_path"))
        });
        if *ephemeral {
            notes.push("everything is kept in memory and lost at the end".into());
        } else if wal_path {
            let dir = data_dir.display();
            notes.push(format!("wal_path names a file of old, messages are in {dir}"));
        }
        notes
    }
}
