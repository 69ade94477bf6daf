//! Replaces the keys while the doors are open.
//!
//! ```text
//! replace: keys for new connections -> directory for sessions -> notice to every connection
//! ```
//!
//! In this order no connection can slip through: one that found the old keys either sees the
//! notice or opens its session after the directory was replaced.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::info;

use super::keys::{ApiKey, Keys};
use crate::config::ConfigError;
use crate::doors::{Notice, Shared};

/// A handle on a server's keys.
#[derive(Clone)]
pub struct KeyRing {
    shared: Arc<Shared>,
    notices: watch::Sender<Notice>,
}

impl KeyRing {
    pub(crate) fn new(shared: Arc<Shared>, notices: watch::Sender<Notice>) -> Self {
        Self { shared, notices }
    }

    /// From now on `keys` are the key file's; those of the configuration stay. Connections of keys
    /// that are gone are closed, and so are those that listen to what their key no longer covers.
    ///
    /// # Errors
    /// The keys contradict each other; those before stay in force.
    pub fn replace(&self, keys: Vec<ApiKey>) -> Result<(), ConfigError> {
        let count = keys.len();
        let config = &self.shared.config;
        let config = crate::Config { keys: Some(keys), ..config.clone() };
        let keys = Keys::load(&config)?;
        let directory = keys.directory();
        self.shared.set_keys(keys);
        self.shared.broker.set_directory(directory);
        self.notices.send_modify(|notice| notice.keys += 1);
        self.shared.counters.key_reloads.one();
        info!(keys = count, "keys reloaded");
        Ok(())
    }
}
