//! The handle that every door holds.

use std::future::poll_fn;
use std::sync::Arc;

use sluice_model::{
    Action, Client, LimitWaits, Principal, QueueKind, QueueName, Refusal, Resource, SurveyPart,
    Timestamp,
};

use crate::access::{Access, Directory, Guard};
use crate::backend::{Backend, Capabilities};
use crate::memory::Memory;
use crate::session::Session;
use crate::{BackupStatus, BrokerError, RequestLimits, Stats};

/// The broker: a cheap handle on a [`Backend`].
#[derive(Clone)]
pub struct Broker {
    backend: Arc<dyn Backend>,
    access: Arc<Access>,
    memory: Arc<Memory>,
}

impl Broker {
    /// A broker on top of `backend`, open to everyone until [`Broker::set_directory`].
    pub fn new(backend: impl Backend) -> Self {
        let memory = Arc::new(Memory::unlimited());
        Self { backend: Arc::new(backend), access: Arc::default(), memory }
    }

    /// The same broker, which keeps to a memory budget.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        Self { memory: Arc::new(memory), ..self }
    }

    /// The memory budget.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// From now on these are let in, with these grants. Sessions of others, and those that listen
    /// to what they no longer may, get nothing more: see [`Session::is_revoked`].
    pub fn set_directory(&self, directory: Directory) {
        self.access.replace(directory);
    }

    /// Whether `principal` may do this. Requests of a session are asked for by the session itself;
    /// this is for what doors offer beside them.
    ///
    /// # Errors
    /// It may not; the refusal is counted.
    pub fn authorize(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Refusal> {
        self.access.authorize(principal, action, resource)
    }

    /// Who may do what.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// What does the work.
    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// What the backend can do.
    pub fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// Opens a session for a client that has shown who it is.
    pub fn open(&self, client: Client) -> Session {
        let guard = Guard::new(Arc::clone(&self.access), client.principal.clone());
        Session::new(self.backend.open(client), guard, Arc::clone(&self.memory))
    }

    /// What time it is: that of messages and deadlines.
    pub fn now(&self) -> Timestamp {
        self.backend.now()
    }

    /// Counters and gauges as they stand.
    pub fn stats(&self) -> Stats {
        let (forbidden, refused_memory) = (self.access.forbidden(), self.memory.refused());
        Stats { forbidden, refused_memory, ..self.backend.stats() }
    }

    /// What waits for the limits of the first `max` names, by name, and for all others together.
    /// Whoever calls this has made sure that the caller may observe the broker.
    pub fn limit_waits(&self, max: usize) -> (Vec<LimitWaits>, LimitWaits) {
        self.backend.limit_waits(max)
    }

    /// The limits of requests, which the doors ask.
    pub fn request_limits(&self) -> Arc<RequestLimits> {
        self.backend.request_limits().unwrap_or_default()
    }

    /// A part of the figures of all queues of one kind, those behind `after`, in the order of their
    /// names. Whoever calls this has made sure that the caller may observe the broker, and asks
    /// again, if there may be more, with the last name that it got so far.
    pub fn survey(&self, kind: QueueKind, after: Option<&QueueName>) -> SurveyPart {
        self.backend.survey(kind, after)
    }

    /// Begins a backup: at least everything that was confirmed before the call is in it. Where it
    /// goes and what it is called is the broker's to say. Whoever calls this has made sure that the
    /// caller may administer the broker.
    ///
    /// # Errors
    /// This broker makes none, another is being made, or the broker stops.
    pub fn backup(&self) -> Result<BackupStatus, Refusal> {
        self.backend.backup()
    }

    /// How the newest backup stands.
    pub fn backup_status(&self) -> BackupStatus {
        self.backend.backup_status()
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
