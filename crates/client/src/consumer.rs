//! Consumers: messages that the broker pushes, as many as there is credit for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::client::{Client, millis};
use crate::core::Core;
use crate::core::consumers::{Spec, Wanted};
use crate::core::delivered::Delivered;
use crate::core::sink::Sink;
use crate::delivery::Delivery;
use crate::error::Error;
use crate::inbox::Inbox;

/// How messages are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consume {
    /// Most messages that are on their way or not settled; 1 to 1 000 000.
    pub prefetch: u32,
    /// Time to settle each; none for the queue's.
    pub lease: Option<Duration>,
}

impl Default for Consume {
    fn default() -> Self {
        Self { prefetch: 256, lease: None }
    }
}

/// Which subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// The durable subscription of that name, made if it is not there and shared with whoever has
    /// it. Empty for one at most once, which goes with its connection.
    pub name: String,
    /// What its queue is to be like, by the names of settings.
    pub settings: Vec<(String, String)>,
    /// How messages are pushed.
    pub consume: Consume,
}

impl Subscribe {
    /// At least once, under a name.
    pub fn durable(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Messages of a queue or a subscription, as they are pushed.
///
/// After a lost connection it goes on by itself on the next one. Dropped, it gives back what it
/// holds and has not handed out.
pub struct Consumer {
    inbox: Inbox<Delivered>,
    gaps: Arc<AtomicU64>,
    /// Which connection is the present one.
    epoch: Arc<AtomicU64>,
}

impl Client {
    /// Has the messages of a queue pushed.
    ///
    /// # Errors
    /// The broker refuses, or does not answer within the time for requests.
    pub async fn consume(&self, queue: &str, consume: Consume) -> Result<Consumer, Error> {
        let wanted = Wanted::Queue(queue.into());
        self.retried(Duration::ZERO, || self.consumer(wanted.clone(), consume)).await
    }

    /// Has pushed what is published to a topic or pattern: `*` is one token, a last `>` the rest.
    ///
    /// # Errors
    /// The broker refuses, or does not answer within the time for requests.
    pub async fn subscribe(&self, pattern: &str, subscribe: Subscribe) -> Result<Consumer, Error> {
        let Subscribe { name, settings, consume } = subscribe;
        let wanted = Wanted::Pattern { pattern: pattern.into(), name: name.into(), settings };
        self.retried(Duration::ZERO, || self.consumer(wanted.clone(), consume)).await
    }

    async fn consumer(&self, wanted: Wanted, consume: Consume) -> Result<Consumer, Error> {
        let (to, from) = mpsc::unbounded_channel();
        let (ready, heard) = oneshot::channel();
        let gaps = Arc::<AtomicU64>::default();
        let Consume { prefetch, lease } = consume;
        let lease_ms = lease.map_or(0, millis);
        let to = Sink::Messages { to, gaps: Arc::clone(&gaps) };
        let spec = Spec { wanted, prefetch, lease_ms, to, ready };
        let key = self.shared().change(|core| core.consume(spec))?;
        let epoch = Arc::clone(self.shared().core().epoch_seen());
        // Dropped on the way, it is taken back.
        let consumer = Consumer { inbox: Inbox::new(self.clone(), key, from), gaps, epoch };
        heard.await.unwrap_or(Err(Error::Closed))?;
        Ok(consumer)
    }
}

impl Consumer {
    /// The next message. None when the client was closed.
    ///
    /// # Errors
    /// The broker took the consumer away, or the connection was lost for good; nothing comes after
    /// that.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Error> {
        while let Some(message) = self.inbox.next().await? {
            if !self.is_void(&message) {
                return Ok(Some(self.handed_out(message)));
            }
        }
        Ok(None)
    }

    /// The next message, if it has come already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        while let Some(message) = self.inbox.try_next() {
            if !self.is_void(&message) {
                return Some(self.handed_out(message));
            }
        }
        None
    }

    /// How many messages at most once the broker could not push, because this consumer was slow.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    fn handed_out(&self, message: Delivered) -> Delivery {
        Delivery::new(self.inbox.client().clone(), message)
    }

    /// Its lease went with its connection: it comes again by another one.
    fn is_void(&self, message: &Delivered) -> bool {
        message.lease.is_some() && message.epoch != self.epoch.load(Ordering::Relaxed)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.inbox.end(Core::give_back);
    }
}
