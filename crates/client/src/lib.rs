//! An async client for version 2 of Sluice's binary protocol.
//!
//! One connection, many handles, made again when it is lost. Publishes are pipelined and packed
//! into frames; each ends as taken, rejected or indeterminate, never silently. Messages are pushed
//! under credit to consumers or fetched, and settled in ranges.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use sluice_client::{Client, Consume, Options};
//!
//! let client = Client::connect("127.0.0.1:5555", Options::default()).await?;
//! client.to_queue("mail").publish("to: you").await.await?;
//!
//! let mut mail = client.consume("mail", Consume::default()).await?;
//! while let Some(delivery) = mail.next().await? {
//!     println!("{:?}", delivery.payload());
//!     delivery.ack()?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is refused with 429 or 503 is tried again after the time that the broker names, as
//! [`Retry`] says. After a lost connection, publishes with a dedupe id are sent again by
//! themselves; see [`Options::resend_unconfirmed`] for the others. Consumers go on, and leases of
//! the lost connection are void.

mod client;
mod consumer;
mod control;
mod core;
mod delivery;
mod driver;
mod error;
mod inbox;
mod kv;
mod limits;
mod options;
mod publisher;
mod shared;
mod tls;
mod watch;

pub use client::{Client, Counters, Receive, Received, Settle};
pub use consumer::{Consume, Consumer, Subscribe};
pub use core::fate::Receipt;
pub use delivery::Delivery;
pub use error::{Error, PublishError, Refused};
pub use kv::SetKey;
pub use options::{Options, OptionsError, Retry};
pub use publisher::{Confirm, ConfirmBatch, Publish, Publisher};
pub use sluice_model::{
    Condition, Explained, Extras, Filter, Key, KeyPattern, Keys, Lane, Level, Limit, LimitError,
    LimitMatch, LimitMode, LimitScope, LimitTerms, Message, MessageId, Outcome, Pausable, Purge,
    Qos, QueueName, QueuePattern, QueueSettings, RateTerm, Redrive, Revision, SubscriptionName,
    Throttled, Timestamp, Value, ValueKind, WatchEvent, WindowTerm,
};
pub use sluice_protocol::json;
pub use sluice_protocol::{Token, TokenError};
pub use tls::Tls;
pub use watch::{Watch, WatchKeys};
