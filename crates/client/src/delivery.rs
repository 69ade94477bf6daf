//! A message that was delivered, to be settled.

use std::time::Duration;

use bytes::Bytes;
use sluice_model::{Code, MessageId, Outcome, Qos, Timestamp};
use tokio::sync::oneshot;

use crate::client::{Client, millis};
use crate::core::delivered::{Delivered, Lease};
use crate::core::requests::{Answer, Ask, Leases, Reply};
use crate::core::settlements::How;
use crate::error::Error;
use sluice_protocol::Token;

/// A message that was delivered.
///
/// One at least once is under a lease, and comes again if it is not settled in time. Dropping it
/// settles nothing. One at most once needs no settlement, and settling it does nothing.
pub struct Delivery {
    client: Client,
    message: Delivered,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.message.fmt(f)
    }
}

impl Delivery {
    pub(crate) const fn new(client: Client, message: Delivered) -> Self {
        Self { client, message }
    }

    /// The message's bytes.
    pub const fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// The topic that it was published to, or the queue.
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    /// Who published it, as the broker knows.
    pub fn sender(&self) -> &str {
        &self.message.sender
    }

    /// Pairs of strings, in the order given.
    pub fn headers(&self) -> &[(String, String)] {
        self.message.extras.as_ref().map_or(&[], |extras| &extras.headers)
    }

    /// 0 to 9, 9 first.
    pub fn priority(&self) -> u8 {
        let priority = self.message.extras.as_ref().map(|extras| extras.lane.priority);
        priority.unwrap_or(sluice_model::PRIORITY_DEFAULT)
    }

    /// What order and fairness refer to.
    pub fn group(&self) -> Option<&str> {
        self.message.extras.as_ref().and_then(|extras| extras.lane.group.as_deref())
    }

    /// What limits refer to.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.message.extras.iter().flat_map(|extras| extras.lane.keys.iter().map(|key| &**key))
    }

    /// When the broker took it.
    pub const fn published_at(&self) -> Timestamp {
        self.message.published_at
    }

    /// At most or at least once.
    pub const fn qos(&self) -> Qos {
        self.message.qos
    }

    fn lease(&self) -> Option<&Lease> {
        self.message.lease.as_ref()
    }

    /// Its identity; none for one at most once.
    pub fn id(&self) -> Option<MessageId> {
        self.lease().map(|lease| lease.id)
    }

    /// When the lease ends by itself, by the broker's clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.lease().map(|lease| lease.deadline)
    }

    /// The how-manieth lease of the message this is, from 1; 0 at most once.
    pub fn attempt(&self) -> u32 {
        self.lease().map_or(0, |lease| lease.attempt)
    }

    /// How often an attempt failed.
    pub fn failures(&self) -> u32 {
        self.lease().map_or(0, |lease| lease.failures)
    }

    /// It may have been delivered before.
    pub fn is_redelivered(&self) -> bool {
        self.lease().is_some_and(|lease| lease.redelivered)
    }

    /// What settles it on any connection, where the lease is bound to none.
    pub fn token(&self) -> Option<Token> {
        self.lease().and_then(|lease| lease.token).map(Token)
    }

    /// It has been dealt with. Sent with other settlements as soon as the connection takes bytes;
    /// should the broker not hear of it, the message comes again.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]: the connection that it came by is gone, and the message comes again.
    pub fn ack(self) -> Result<(), Error> {
        self.settle(How::ack(), None)
    }

    /// It has been dealt with, and this is on the broker's disk before it is answered.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]: the message comes again. [`Error::Lost`]: the connection was lost
    /// before the answer, so it comes again or it does not. Or the broker's refusal.
    pub async fn ack_confirmed(self) -> Result<(), Error> {
        self.settle_confirmed(How::ack()).await
    }

    /// Gives it back.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], as with [`Delivery::ack`].
    pub fn nack(self, outcome: Outcome) -> Result<(), Error> {
        self.settle(outcome.into(), None)
    }

    /// Gives it back, and this is on the broker's disk before it is answered.
    ///
    /// # Errors
    /// As [`Delivery::ack_confirmed`].
    pub async fn nack_confirmed(self, outcome: Outcome) -> Result<(), Error> {
        self.settle_confirmed(outcome.into()).await
    }

    /// Takes more time, counted from now.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], or the broker's refusal.
    pub async fn extend(&mut self, by: Duration) -> Result<(), Error> {
        let Some(Lease { tag, token, .. }) = self.lease().copied() else { return Ok(()) };
        let leases = match token {
            Some(token) => Leases::Tokens(vec![token]),
            None => Leases::Tag { epoch: self.message.epoch, tag },
        };
        let ask = Ask::Extend { by_ms: millis(by), leases };
        match self.client.ask_for(ask, Duration::ZERO).await? {
            Answer::Settled { refused, deadline } => match refused.into_iter().next() {
                Some((_, refused)) => Err(refused.into()),
                None => {
                    if let Some(lease) = &mut self.message.lease {
                        lease.deadline = deadline;
                    }
                    Ok(())
                }
            },
            _ => Err(Error::protocol("no SETTLED for an EXTEND")),
        }
    }

    fn settle(
        self,
        how: How,
        told: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Result<(), Error> {
        let Some(Lease { tag, token, .. }) = self.lease().copied() else {
            told.map(|told| told.send(Ok(())));
            return Ok(());
        };
        let (epoch, consumer) = (self.message.epoch, self.message.consumer);
        let settled = self.client.shared().change(|core| match token {
            Some(token) => {
                let (tokens, again) = (vec![token], false);
                core.ask(Ask::Settle { how, tokens, again }, Reply(None));
                Ok(())
            }
            None => {
                core.owe(epoch, consumer, 1);
                core.settle(epoch, tag, how, told)
            }
        });
        self.forget();
        settled
    }

    async fn settle_confirmed(self, how: How) -> Result<(), Error> {
        if let Some(token) = self.token() {
            let client = self.client.clone();
            let ask = Ask::Settle { how, tokens: vec![token.0], again: false };
            return match client.ask_for(ask, Duration::ZERO).await? {
                Answer::Settled { refused, .. } => match refused.into_iter().next() {
                    Some((_, refused)) if refused.is(Code::Indeterminate) => Err(Error::Lost),
                    Some((_, refused)) => Err(refused.into()),
                    None => Ok(()),
                },
                _ => Err(Error::protocol("no SETTLED for a SETTLE")),
            };
        }
        let (told, heard) = oneshot::channel();
        self.settle(how, Some(told))?;
        heard.await.unwrap_or(Err(Error::Closed))
    }

    /// Drops it without giving credit back a second time.
    fn forget(mut self) {
        self.message.consumer = None;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Delivered { epoch, consumer, .. } = self.message;
        if consumer.is_some() && self.message.lease.is_some() {
            self.client.shared().change(|core| core.owe(epoch, consumer, 1));
        }
    }
}
