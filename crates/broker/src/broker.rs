//! The handle that every door holds.

use std::future::poll_fn;
use std::sync::Arc;

use sluice_model::Client;

use crate::backend::{Backend, Capabilities};
use crate::session::Session;
use crate::{BrokerError, Stats};

/// The broker: a cheap handle on a [`Backend`].
#[derive(Clone)]
pub struct Broker {
    backend: Arc<dyn Backend>,
}

impl Broker {
    /// A broker on top of `backend`.
    pub fn new(backend: impl Backend) -> Self {
        Self { backend: Arc::new(backend) }
    }

    /// What the backend can do.
    pub fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// Opens a session for a client that has shown who it is.
    pub fn open(&self, client: Client) -> Session {
        Session::new(self.backend.open(client))
    }

    /// Counters and gauges as they stand.
    pub fn stats(&self) -> Stats {
        self.backend.stats()
    }

    /// Waits until the broker can serve no more, and says why. Cancel-safe.
    pub async fn failure(&self) -> BrokerError {
        poll_fn(|context| self.backend.poll_failure(context)).await
    }

    /// Makes durable what was accepted and marks a clean end. Blocks the thread.
    ///
    /// # Errors
    /// Says what could not be made durable.
    pub fn stop(&self) -> Result<(), BrokerError> {
        self.backend.stop()
    }
}
