//! SIGHUP: the settings are read again, and what can change while the broker runs does.

use sluice_broker::LimitsOwned;
use sluice_server::{AdmissionConfig, ServerError};

use crate::failure::Failure;
use crate::live_limits::LiveLimits;
use crate::logging::LogLevel;
use crate::own_limits::OwnLimits;
use crate::settings::{Loaded, Settings, Sources};

/// What it takes to read settings again and to apply them.
pub(crate) struct Reload {
    sources: Sources,
    /// What the broker goes by: what waits for a restart is not in it.
    running: Settings,
    log_level: LogLevel,
    limits: LiveLimits,
}

impl Reload {
    pub(crate) fn new(mut sources: Sources, loaded: &Loaded, log_level: LogLevel) -> Self {
        // A file that was read and is gone is a mistake, not a wish for the defaults.
        sources.config = sources.config.or_else(|| loaded.file.clone());
        let limits = LiveLimits::new(loaded.settings.server.admission);
        Self { sources, running: loaded.settings.clone(), log_level, limits }
    }

    /// Where the limits of requests are put in force.
    pub(crate) fn limits(&self) -> LiveLimits {
        self.limits.clone()
    }

    /// Reads and applies. Settings that are wrong change nothing.
    pub(crate) fn run(&mut self, own_limits: Option<&OwnLimits>) {
        let loaded = Loaded::read(&self.sources);
        if !loaded.problems.is_empty() {
            for problem in &loaded.problems {
                tracing::error!("{}", problem.line());
            }
            tracing::error!("the settings were not reloaded");
            return;
        }
        let difference = self.running.difference(&loaded.settings);
        for change in &difference.restart {
            tracing::warn!("{change} waits for a restart");
        }
        // Before it is done: the new level may let less through.
        for change in &difference.live {
            tracing::warn!("changes {change}");
        }
        if let Err(failure) = self.apply(&loaded.settings) {
            tracing::error!("the settings were not reloaded: {failure}");
            return;
        }
        let (applied, waiting) = (difference.live.len(), difference.restart.len());
        tracing::info!(applied, waiting, "settings reloaded");
        if let Some(own_limits) = own_limits {
            match own_limits.apply(&loaded.settings.limits) {
                Ok(LimitsOwned { set, deleted }) => {
                    let limits = loaded.settings.limits.len();
                    tracing::info!(limits, set, deleted, "limits of the file are in force");
                }
                Err(error) => tracing::error!(%error, "limits of the file are not all in force"),
            }
        }
    }

    /// Takes over what is declared as live in the table of keys.
    fn apply(&mut self, new: &Settings) -> Result<(), Failure> {
        if self.running.log_level != new.log_level {
            self.log_level.set(&new.log_level)?;
            self.running.log_level.clone_from(&new.log_level);
        }
        // What waits for a restart stays as it is.
        let clients_max = self.running.server.admission.clients_max;
        let limits = AdmissionConfig { clients_max, ..new.server.admission };
        if self.running.server.admission != limits {
            self.limits.change(limits).map_err(ServerError::from)?;
            self.running.server.admission = limits;
        }
        debug_assert!(self.running.difference(new).live.is_empty(), "a live key is not applied");
        Ok(())
    }
}
