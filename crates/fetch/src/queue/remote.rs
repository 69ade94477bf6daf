//! A queue of a running broker, worked by this process and any others.
//!
//! Leases are bound to no connection: while a request is under way its host's slot is taken, also
//! where the broker can't be reached for a while or is started again. A process that is killed
//! holds its slots until the time for its requests is over.

use std::time::Duration;

use parking_lot::Mutex;
use sluice_client::{Client, Delivery, Error, Publisher, Receive};
use sluice_model::{
    Limit, LimitRequest, Message, Outcome, QueueName, QueuePattern, Setting, Settlement,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::message::read;
use super::{LIMIT, Queue, Taken, limit, settings};
use crate::desk::DeskError;
use crate::host::Host;
use crate::options::Options;
use crate::shared::{SharedError, SharedQueue};
use crate::work::Watch;

/// What a lease has on top of the time for a request.
const LEASE_MARGIN: Duration = Duration::from_secs(10);
/// How long a receive waits. When nothing comes, others may be done by then.
const WAIT: Duration = Duration::from_millis(500);
/// Bounds of a queue that is made here.
const MESSAGES_MAX: u64 = 10_000_000;
/// Limits of one name that are looked at; with more of them ours is thought to be there.
const LIMITS_SEEN: u16 = 1_000;

/// A queue of a running broker.
pub(crate) struct Remote {
    client: Client,
    publisher: Publisher,
    queue: QueueName,
    lease: Duration,
    /// The receive that has not ended, also where nobody waits for it any more.
    receiving: Mutex<Option<JoinHandle<()>>>,
}

/// A message; it is given back when it is dropped.
pub(crate) struct Lease(Option<Delivery>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(delivery) = self.0.take() {
            // If it can't be said the lease ends by itself.
            let _ = delivery.nack(Outcome::Released { delay: None });
        }
    }
}

impl Remote {
    /// Connects, and makes the queue and its limits as far as that is wanted and allowed.
    pub(crate) async fn open(
        shared: &SharedQueue,
        options: &Options,
        feeds: bool,
        watch: &dyn Watch,
    ) -> Result<Self, SharedError> {
        let client = Client::connect(&shared.server, shared.client.clone()).await?;
        let queue = shared.name.clone();
        declare(&client, &queue).await?;
        let limit = limit(&queue, None, options.per_host, options.rate)?;
        if shared.sets_limits {
            client.put_limit(limit).await?;
        } else if feeds && !set_if_none(&client, &queue, limit).await? {
            watch.told("the key may not set limits: those that the broker has count");
        }
        let publisher = client.to_queue(queue.as_str());
        let lease = options.timeout + LEASE_MARGIN;
        Ok(Self { client, publisher, queue, lease, receiving: Mutex::new(None) })
    }

    /// Waits until all that was said has been heard, and what nobody waits for is given back.
    pub(crate) async fn close(&self) {
        let receiving = self.receiving.lock().take();
        if let Some(receiving) = receiving {
            // It only panics where this does.
            let _ = receiving.await;
        }
        // What was not heard ends with its lease.
        let _ = self.client.clone().close().await;
    }
}

/// Makes the queue, unless only others may.
async fn declare(client: &Client, queue: &QueueName) -> Result<(), SharedError> {
    let bounds = [(Setting::MaxMessages, MESSAGES_MAX), (Setting::DedupeMax, MESSAGES_MAX)];
    match client.declare(queue, settings(&bounds)?).await {
        Ok(declared) => {
            let failures = Setting::MaxFailures.name();
            match declared.differs.iter().any(|differs| differs.setting == failures) {
                true => Err(SharedError::Failures { queue: queue.clone() }),
                false => Ok(()),
            }
        }
        Err(error) if is_forbidden(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sets a limit of hosts where the queue has none; false where that may not be.
async fn set_if_none(
    client: &Client,
    queue: &QueueName,
    limit: Limit,
) -> Result<bool, SharedError> {
    let list = LimitRequest::List { name: Some(LIMIT.into()), after: None, limit: LIMITS_SEEN };
    let listed = client.ask_limits::<sluice_client::json::Limits>(&list).await;
    let put = match listed {
        Ok(listed) => {
            let covers = |pattern: &str| {
                QueuePattern::new(pattern).is_ok_and(|pattern| pattern.matches(queue.as_str()))
            };
            if listed.next.is_some() || listed.limits.iter().any(|limit| covers(&limit.queue)) {
                return Ok(true);
            }
            client.put_limit(limit).await
        }
        Err(error) => Err(error),
    };
    match put {
        Ok(_) => Ok(true),
        Err(error) if is_forbidden(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Refused(refused) if refused.status == 403)
}

impl Queue for Remote {
    type Lease = Lease;

    async fn receive(&self, max: usize) -> Result<Vec<Taken<Lease>>, DeskError> {
        let max = u16::try_from(max).unwrap_or(u16::MAX);
        let receive = Receive { max, wait: WAIT, lease: Some(self.lease), unbound: true };
        let (client, queue) = (self.client.clone(), self.queue.clone());
        let (tell, told) = oneshot::channel();
        // It goes on where nobody waits for it any more: what it brings has to go back.
        let task = tokio::spawn(async move {
            let came = client.receive(queue.as_str(), receive).await;
            let came = came.map(|came| came.into_iter().map(taken).collect());
            let _ = tell.send(came);
        });
        *self.receiving.lock() = Some(task);
        match told.await {
            Ok(Ok(came)) => Ok(came),
            // It is asked anew.
            Ok(Err(Error::Lost)) => Ok(Vec::new()),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(DeskError("the broker could not be asked".to_owned())),
        }
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), DeskError> {
        self.publisher.publish_batch(messages).await.await.map(|_| ()).map_err(failed)
    }

    async fn settle(&self, mut lease: Lease, how: Settlement) -> Result<(), DeskError> {
        let Some(mut delivery) = lease.0.take() else { return Ok(()) };
        let settled = match how {
            Settlement::Ack => delivery.ack_confirmed().await,
            Settlement::Nack(outcome) => delivery.nack_confirmed(outcome).await,
            Settlement::Extend(by) => delivery.extend(by).await,
        };
        match settled {
            // It comes again, or does not.
            Ok(()) | Err(Error::LeaseLost | Error::Lost) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn left(&self) -> Result<u64, DeskError> {
        match self.client.stats(&self.queue).await {
            Ok(stats) => Ok(stats.counts.ready + stats.counts.delayed + stats.counts.leased),
            Err(error) if is_forbidden(&error) => Err(DeskError(format!(
                "{error}\nto see when nothing is left takes the grant observe; --stay goes without"
            ))),
            Err(error) => Err(failed(error)),
        }
    }

    async fn lift(&self, _: &Host) -> Result<(), DeskError> {
        // Others may go on to ask it.
        Ok(())
    }
}

fn taken(delivery: Delivery) -> Taken<Lease> {
    let headers = delivery.headers().iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let job = read(delivery.payload(), headers, delivery.attempt(), delivery.failures());
    let is_keyed = job.as_ref().is_ok_and(|job| {
        let host = job.target.host.as_str();
        delivery.keys().any(|key| key == host)
    });
    let id = delivery.id().unwrap_or_default();
    Taken { lease: Lease(Some(delivery)), id, job, is_keyed }
}

fn failed(error: impl std::fmt::Display) -> DeskError {
    DeskError(format!("the broker: {error}"))
}
