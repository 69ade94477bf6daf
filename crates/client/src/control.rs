//! What can be asked of queues, with types.

use serde::de::DeserializeOwned;
use sluice_model::{
    Filter, MessageId, Purge, QueueKind, QueueName, QueueRequest, QueueSettings, Redrive,
    SubscriptionName, Timestamp,
};
use sluice_protocol::json::{
    Browsed, Declared, Peeked, Queues, Redriven, Removed, Rescheduled, Stats, written,
};

use crate::client::Client;
use crate::error::Error;

/// All fail as [`Client::control`] does.
impl Client {
    /// Asks anything that can be asked of a queue; `T` is the answer's shape.
    ///
    /// # Errors
    /// As [`Client::control`], or the answer has another shape.
    pub async fn ask<T: DeserializeOwned>(&self, request: &QueueRequest) -> Result<T, Error> {
        let (verb, json) = written(request);
        let answer = self.control(verb, json).await?;
        serde_json::from_str(&answer)
            .map_err(|error| Error::protocol(format_args!("{verb}: {error}")))
    }

    /// Makes a queue, or sees that it is as asked; a difference is told and changes nothing.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn declare(
        &self,
        name: &QueueName,
        settings: QueueSettings,
    ) -> Result<Declared, Error> {
        let (name, update) = (name.clone(), false);
        self.ask(&QueueRequest::Declare { name, settings, update }).await
    }

    /// Makes a queue, or makes it be as asked.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn update(
        &self,
        name: &QueueName,
        settings: QueueSettings,
    ) -> Result<Declared, Error> {
        let (name, update) = (name.clone(), true);
        self.ask(&QueueRequest::Declare { name, settings, update }).await
    }

    /// A page of the queues that are no subscription's, behind the name `after`.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn queues(&self, after: Option<QueueName>, limit: u16) -> Result<Queues, Error> {
        self.ask(&QueueRequest::List { kind: QueueKind::Plain, after, limit }).await
    }

    /// A page of the queues of durable subscriptions, behind the name `after`.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn subscriptions(
        &self,
        after: Option<QueueName>,
        limit: u16,
    ) -> Result<Queues, Error> {
        self.ask(&QueueRequest::List { kind: QueueKind::Subscription, after, limit }).await
    }

    /// Settings, counters and gauges of a queue.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn stats(&self, name: &QueueName) -> Result<Stats, Error> {
        self.ask(&QueueRequest::Stats { name: name.clone() }).await
    }

    /// Deletes a queue's messages by state.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn purge(&self, name: &QueueName, what: Purge) -> Result<Removed, Error> {
        self.ask(&QueueRequest::Purge { name: name.clone(), what }).await
    }

    /// Ends a queue; `force` even while messages are leased or consumers are there.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn delete(&self, name: &QueueName, force: bool) -> Result<Removed, Error> {
        self.ask(&QueueRequest::Delete { name: name.clone(), force }).await
    }

    /// Ends a durable subscription and its queue.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn delete_subscription(
        &self,
        name: &SubscriptionName,
        force: bool,
    ) -> Result<Removed, Error> {
        self.delete(&QueueName::of_subscription(name), force).await
    }

    /// A page of a queue's messages, behind the place `after`, without touching them.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn browse(
        &self,
        name: &QueueName,
        filter: Filter,
        after: Option<u64>,
        limit: u16,
    ) -> Result<Browsed, Error> {
        self.ask(&QueueRequest::Browse { name: name.clone(), filter, after, limit }).await
    }

    /// One message and what it carries, without touching it.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn peek(&self, name: &QueueName, id: MessageId) -> Result<Peeked, Error> {
        self.ask(&QueueRequest::Peek { name: name.clone(), id }).await
    }

    /// Deletes one message; `force` even while it is leased.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn remove(
        &self,
        name: &QueueName,
        id: MessageId,
        force: bool,
    ) -> Result<Removed, Error> {
        self.ask(&QueueRequest::Remove { name: name.clone(), id, force }).await
    }

    /// Deletes one message that is delayed.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn cancel(&self, name: &QueueName, id: MessageId) -> Result<Removed, Error> {
        self.ask(&QueueRequest::Cancel { name: name.clone(), id }).await
    }

    /// Lets a delayed message come at another time.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn reschedule(
        &self,
        name: &QueueName,
        id: MessageId,
        at: Timestamp,
    ) -> Result<Rescheduled, Error> {
        self.ask(&QueueRequest::Reschedule { name: name.clone(), id, at }).await
    }

    /// Puts messages of the dead set back, at most `per_second`.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn redrive(
        &self,
        name: &QueueName,
        which: Redrive,
        per_second: Option<u32>,
    ) -> Result<Redriven, Error> {
        self.ask(&QueueRequest::Redrive { name: name.clone(), which, per_second }).await
    }
}
