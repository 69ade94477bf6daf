//! The vocabulary that every crate of Sluice shares: plain data, checked once, when it is made.
//!
//! Nothing here reads a clock, a file or a random number. A value of one of these types is valid
//! wherever it turns up, because the only ways to make it check it.

mod block;
mod code;
mod command;
mod explain;
mod grants;
mod ids;
mod kv;
mod limit;
mod limit_request;
mod message;
mod names;
mod near;
mod queue_answer;
mod queue_request;
mod reply;
mod settings;
mod state;
mod survey;
mod text;
mod time;
pub mod var;

pub use block::{Block, BlockBuilder, BlockError, Payloads};
pub use code::Code;
pub use command::{
    Command, Confirm, Destination, NOTE_BYTES_MAX, Outcome, Publish, PublishBatch, PublishBlock,
    Receive, Request, SettleMany, Settlement, Source, Subscribe,
};
pub use explain::{Explained, Explanation, LimitedBy};
pub use grants::{Action, Grant, GrantError, Grants, Resource, Scope};
pub use ids::{
    Generation, LeaseId, MessageId, MessageIdError, QueueNo, Seq, SessionId, SubscriptionId,
};
pub use kv::{
    Condition, Entry, KV_KEY_BYTES_MAX, KV_LEVELS_MAX, KV_SCAN_MAX, Key, Keys, KvAnswer, KvRequest,
    Revision, Value, ValueError, ValueKind, WatchEvent, WatchId, entry_weight,
};
pub use limit::{
    Applied, KeyPattern, LIMIT_NAME_BYTES_MAX, LIMIT_WAIT_MAX, Limit, LimitError, LimitMatch,
    LimitMode, LimitScope, LimitSet, LimitTerms, MATCHES_MAX, QueueLimits, QueuePattern, RateTerm,
    WINDOW_STARTS_MAX, WindowTerm,
};
pub use limit_request::{
    KeyFigures, LimitAnswer, LimitRequest, Pausable, Paused, Throttled, WEIGHT_MAX,
};
pub use message::{
    COST_MAX, DELAY_MAX, Extras, HEADER_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, KEYS_MAX, Lane,
    Level, Message, MessageError, PRIORITY_DEFAULT, PRIORITY_MAX, Qos,
};
pub use names::{
    Client, NAME_BYTES_MAX, NameError, Principal, QueueName, SubscriptionName, TOKENS_MAX, Topic,
    TopicPattern,
};
pub use near::nearest;
pub use queue_answer::{MessageInfo, QueueStats, QueueSummary, StateCounts};
pub use queue_request::{Filter, Purge, QueueKind, QueueRequest, Redrive};
pub use reply::{
    Answer, BlockDelivery, Carried, Delivery, Peeked, Published, PublishedBlock, Refusal, Reply,
};
pub use settings::{Difference, QueueSettings, Setting, SettingError, SettingKind};
pub use state::{DeadReason, State, Transition};
pub use survey::{QueueFigures, SurveyPart};
pub use time::Timestamp;
