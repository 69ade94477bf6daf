//! What comes back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sluice_model::{Answer, Code, Difference, Refusal, Timestamp};

use super::message::{Browsed, Message, Peeked};
use super::queue::{Queues, Stats};
use super::setting::Value;
use super::written::millis;

/// The answer to `queue.declare` and `queue.update`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Declared {
    /// It was not there before.
    pub created: bool,
    /// How it is otherwise than asked; then nothing was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<Differs>,
}

/// A setting that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Differs {
    /// Its name.
    pub setting: Cow<'static, str>,
    /// What it is.
    pub is: Value,
    /// What was asked for.
    pub asked: Value,
}

/// The answer to `queue.purge`, `queue.delete`, `queue.remove`, `queue.cancel` and
/// `subscription.delete`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Removed {
    /// So many messages are gone.
    pub messages: u64,
}

/// The answer to `queue.reschedule`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Rescheduled {
    /// When the message comes; not there for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<u64>,
}

/// The answer to `queue.redrive`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Redriven {
    /// So many messages were put back.
    pub messages: u64,
    /// The work goes on at the pace that was asked for.
    pub goes_on: bool,
}

/// The answer to a request that had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Why.
    pub error: Refused,
}

/// Why a request had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Refused {
    /// The kind of reason, as [`Code`] is written.
    pub code: Cow<'static, str>,
    /// The number that goes with it, after HTTP's.
    pub status: u16,
    /// The reason, for people.
    pub message: Cow<'static, str>,
    /// When trying again may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        let Refusal { code, message, retry_after } = refusal;
        let error = Refused {
            code: code.name().into(),
            status: code.status(),
            message: message.clone(),
            retry_after_ms: retry_after.map(millis),
        };
        Self { error }
    }
}

impl From<&Difference> for Differs {
    fn from(difference: &Difference) -> Self {
        let Difference { setting, is, asked } = *difference;
        let (is, asked) = (Value::of(setting, is), Value::of(setting, asked));
        Self { setting: setting.name().into(), is, asked }
    }
}

/// The answer as it is sent, on one line. One that no request about queues or keys has is an error.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Declared { created } => text(&Declared { created: *created, differs: vec![] }),
        Answer::Differs(differences) => {
            let differs = differences.iter().map(Differs::from).collect();
            text(&Declared { created: false, differs })
        }
        Answer::Queues { queues, next } => text(&Queues::new(queues, next.as_ref())),
        Answer::Stats(stats) => text(&Stats::from(&**stats)),
        Answer::Removed { messages } => text(&Removed { messages: *messages }),
        Answer::Browsed { messages, next } => {
            let messages = messages.iter().map(Message::from).collect();
            text(&Browsed { messages, next: *next })
        }
        Answer::Peeked(peeked) => text(&Peeked::from(&**peeked)),
        Answer::Rescheduled { at } => text(&Rescheduled { ready_at: at.map(Timestamp::as_millis) }),
        Answer::Redriven { messages, goes_on } => {
            text(&Redriven { messages: *messages, goes_on: *goes_on })
        }
        Answer::Limit(answer) => super::limit::limit_answer(answer),
        Answer::Kv(answer) => super::kv::kv_answer(answer),
        Answer::Refused(refusal) => refused(refusal),
        Answer::Published(_)
        | Answer::PublishedBatch(_)
        | Answer::PublishedBlock(_)
        | Answer::PublishedEach(_)
        | Answer::DeliveredBlock(_)
        | Answer::Lost { .. }
        | Answer::SettledMany { .. }
        | Answer::Subscribed { .. }
        | Answer::Unsubscribed
        | Answer::Delivered(_)
        | Answer::Unreadable { .. }
        | Answer::Empty { .. }
        | Answer::Settled { .. }
        | Answer::Extended { .. }
        | Answer::Changes { .. }
        | Answer::Fenced => {
            debug_assert!(false, "an answer to no request about queues");
            refused(&Refusal::new(Code::Internal, "the answer is to another kind of request"))
        }
    }
}

/// The answer to what was refused, as it is sent.
pub fn refused(refusal: &Refusal) -> String {
    text(&Failure::from(refusal))
}

pub(crate) fn text(shape: &impl Serialize) -> String {
    serde_json::to_string(shape).expect("the shapes have string keys and nothing that can fail")
}
