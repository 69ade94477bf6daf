//! Limits, pauses and weights, and why something is not delivered.

use std::time::Duration;

use serde::de::DeserializeOwned;
use sluice_model::{Explained, Limit, LimitMatch, LimitRequest, Pausable, QueueName, Throttled};
use sluice_protocol::json::{
    LimitPut, Limits, LimitsDeleted, PauseShown, Resumed, TopKeys, WhyNot, limit_written,
};

use crate::client::Client;
use crate::delivery::Delivery;
use crate::error::Error;

/// All fail as [`Client::control`] does.
impl Client {
    /// Asks anything that can be asked about limits; `T` is the answer's shape.
    ///
    /// # Errors
    /// As [`Client::control`], or the answer has another shape.
    pub async fn ask_limits<T: DeserializeOwned>(
        &self,
        request: &LimitRequest,
    ) -> Result<T, Error> {
        let (verb, json) = limit_written(request);
        let answer = self.control(verb, json).await?;
        serde_json::from_str(&answer)
            .map_err(|error| Error::protocol(format_args!("{verb}: {error}")))
    }

    /// Sets a limit, in place of the one of that name and match.
    ///
    /// ```no_run
    /// # async fn example(client: sluice_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use sluice_client::{Limit, LimitMatch, LimitScope, QueuePattern};
    ///
    /// let matches = LimitMatch { queue: QueuePattern::all(), key: Some("tenant:*".parse()?) };
    /// let terms = "5/s burst 2 concurrency 4".parse()?;
    /// client.put_limit(Limit::new("tenants", LimitScope::Key, matches, terms)?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn put_limit(&self, limit: Limit) -> Result<LimitPut, Error> {
        self.ask_limits(&LimitRequest::Put(Box::new(limit))).await
    }

    /// A page of limits, in the order of their names: behind the first page each page's `next` is
    /// the `after` of the one behind it, until one has none.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn limits(&self, after: Option<&str>, limit: u16) -> Result<Limits, Error> {
        let mut body = serde_json::json!({ "limit": limit });
        if let Some(after) = after {
            body["after"] = after.into();
        }
        let answer = self.control("limit.list", body.to_string()).await?;
        serde_json::from_str(&answer)
            .map_err(|error| Error::protocol(format_args!("limit.list: {error}")))
    }

    /// Takes limits away: all of a name, or that of a match.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn delete_limits(
        &self,
        name: &str,
        matches: Option<LimitMatch>,
    ) -> Result<LimitsDeleted, Error> {
        self.ask_limits(&LimitRequest::Delete { name: name.into(), matches }).await
    }

    /// Hands out nothing of a queue or a key, for so long or until it is resumed.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn pause(
        &self,
        what: Pausable,
        period: Option<Duration>,
        reason: Option<&str>,
    ) -> Result<PauseShown, Error> {
        let reason = reason.map(Into::into);
        self.ask_limits(&LimitRequest::Pause { what, period, reason }).await
    }

    /// Ends a pause, whoever made it.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn resume(&self, what: Pausable) -> Result<Resumed, Error> {
        self.ask_limits(&LimitRequest::Resume { what }).await
    }

    /// The keys of the limits of a name for which most waits.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn top_keys(&self, name: &str, limit: u16) -> Result<TopKeys, Error> {
        self.ask_limits(&LimitRequest::TopKeys { name: name.into(), limit }).await
    }

    /// Gives a group of a queue so many turns for one of others.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn weigh(&self, queue: &QueueName, group: &str, weight: u16) -> Result<(), Error> {
        let request = LimitRequest::Weigh { queue: queue.clone(), group: group.into(), weight };
        self.ask_limits::<serde::de::IgnoredAny>(&request).await.map(|_| ())
    }

    /// Every reason why a message is not delivered now.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn explain(&self, queue: &QueueName, what: Explained) -> Result<WhyNot, Error> {
        self.ask_limits(&LimitRequest::Explain { queue: queue.clone(), what }).await
    }
}

impl Delivery {
    /// Gives it back because whoever is behind its first key wants a pause: nothing is counted, and
    /// nobody gets a message under that key for so long. Without a time the broker finds one that
    /// grows, until something under the key is acked.
    ///
    /// # Errors
    /// As [`Delivery::nack`].
    pub fn throttled(self, retry_after: Option<Duration>) -> Result<(), Error> {
        self.nack(sluice_model::Outcome::Throttled(Throttled { retry_after, key: None }))
    }
}
