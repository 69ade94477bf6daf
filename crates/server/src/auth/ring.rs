//! Replaces the keys while the doors are open.
//!
//! ```text
//! replace: directory for sessions -> keys for new connections -> notice to every connection
//! ```
//!
//! In this order who is found among the new keys is in the directory as well, and who was found
//! among the old ones gets nothing any more and sees the notice.

use std::sync::Arc;

use tracing::{info, warn};

use super::keys::{ApiKey, Keys};
use crate::config::ConfigError;
use crate::doors::{Board, Shared};

/// A handle on a server's keys.
#[derive(Clone)]
pub struct KeyRing {
    shared: Arc<Shared>,
    board: Arc<Board>,
}

impl KeyRing {
    pub(crate) fn new(shared: Arc<Shared>, board: Arc<Board>) -> Self {
        Self { shared, board }
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
        self.shared.broker.set_directory(directory);
        self.shared.set_keys(keys);
        self.board.tell_keys();
        self.shared.counters.key_reloads.one();
        info!(keys = count, "keys reloaded");
        if config.is_exposed() {
            warn!("INSECURE: keys and messages cross the network in the clear");
        }
        Ok(())
    }
}
