//! The vocabulary that every crate of Sluice shares: plain data, checked once, when it is made.
//!
//! Nothing here reads a clock, a file or a random number. A value of one of these types is valid
//! wherever it turns up, because the only ways to make it check it.

mod code;
mod command;
mod grants;
mod ids;
mod message;
mod names;
mod reply;
mod time;

pub use code::Code;
pub use command::{Command, Confirm, Outcome, Publish, Request, Subscribe};
pub use grants::{Action, Grant, GrantError, Grants, Resource, Scope};
pub use ids::{Generation, LeaseId, MessageId, QueueNo, Seq, SessionId, SubscriptionId};
pub use message::{Extras, Message, Qos};
pub use names::{
    Client, NAME_BYTES_MAX, NameError, Principal, SubscriptionName, TOKENS_MAX, Topic, TopicPattern,
};
pub use reply::{Answer, Delivery, Refusal, Reply};
pub use time::Timestamp;
