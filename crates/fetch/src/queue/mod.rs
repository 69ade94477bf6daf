//! The desk of the modes with a broker: each URL is a message whose key is its host, and the
//! broker's limits say when it is handed out. Nothing here does.
//!
//! ```text
//! feed --publish--> queue --receive--> line of workers --ack--------------> gone
//!                     ^                       |--nack failed, a delay-----> later
//!                     |                       |--nack throttled-----------> the key pauses
//!                     '--publish, then ack----'  (a redirect)
//! ```

mod desk;
mod embedded;
mod line;
mod message;
mod remote;
mod session;
#[cfg(test)]
mod tests;

use std::future::Future;

use sluice_model::{
    KeyPattern, Limit, LimitError, LimitMatch, LimitScope, LimitTerms, Message, MessageId,
    QueueName, QueuePattern, QueueSettings, RateTerm, Setting, SettingError, Settlement,
};

use crate::desk::DeskError;
use crate::host::Host;
use crate::job::Job;
#[cfg(test)]
pub(crate) use desk::Ticket;
pub(crate) use desk::{QueueDesk, Terms};
pub(crate) use embedded::{Embedded, Home};
pub(crate) use remote::Remote;

/// The name of limits that are set here.
const LIMIT: &str = "fetch";

/// A message that came.
pub(crate) struct Taken<L> {
    /// What settles it.
    pub(crate) lease: L,
    /// Its identity.
    pub(crate) id: MessageId,
    /// What it asks for, or why that can't be.
    pub(crate) job: Result<Job, String>,
    /// The limits of its host hold for it.
    pub(crate) is_keyed: bool,
}

/// A queue of a broker, wherever that is.
pub(crate) trait Queue: Send + Sync + 'static {
    /// What settles a message. Dropped without that, it gives the message back.
    type Lease: Send + 'static;

    /// The next messages, or none after a while. Cancel-safe: what comes then is given back.
    fn receive(
        &self,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Taken<Self::Lease>>, DeskError>> + Send;

    /// Hands in messages: all of them are there when it is done.
    fn publish(&self, messages: Vec<Message>)
    -> impl Future<Output = Result<(), DeskError>> + Send;

    /// Settles a message. That a lease was lost is no error: the message comes again.
    fn settle(
        &self,
        lease: Self::Lease,
        how: Settlement,
    ) -> impl Future<Output = Result<(), DeskError>> + Send;

    /// How many messages there are, those that somebody holds included.
    fn left(&self) -> impl Future<Output = Result<u64, DeskError>> + Send;

    /// This process asks a host no more: its limits need not hold for what is left.
    fn lift(&self, host: &Host) -> impl Future<Output = Result<(), DeskError>> + Send;
}

/// What the queue must be like. Failures are counted here, and judged by the options.
fn settings(more: &[(Setting, u64)]) -> Result<QueueSettings, SettingError> {
    let mut settings = QueueSettings::default();
    settings.set(Setting::MaxFailures, 0)?;
    for (setting, value) in more {
        settings.set(*setting, *value)?;
    }
    Ok(settings)
}

/// A limit for hosts of a queue: all of them, or one.
fn limit(
    queue: &QueueName,
    host: Option<&Host>,
    concurrency: u32,
    rate: Option<RateTerm>,
) -> Result<Limit, LimitError> {
    let key = KeyPattern::new(host.map_or("*", Host::as_str))?;
    let queue = QueuePattern::new(queue.as_str())?;
    let terms = LimitTerms { rate, concurrency: Some(concurrency), ..LimitTerms::default() };
    Limit::new(LIMIT, LimitScope::Key, LimitMatch { queue, key: Some(key) }, terms)
}
