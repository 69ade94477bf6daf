//! Everything that can be asked of queues, and what comes back, as JSON.
//!
//! Messages on their way in and out, and what ends their leases, have shapes of their own beside
//! the verbs ([`messages`], [`receive`], [`settle`]).
//!
//! One mapping for all that speak JSON: the binary door from version 2 on, the HTTP door, the
//! command line. `docs/protocol/json.md` describes it, verb by verb. The broker reads with
//! [`request`] and writes with [`answer`]; a client writes with [`written`] and reads the shapes
//! with serde.
//!
//! ```
//! use sluice_protocol::json;
//!
//! let request = json::request("queue.stats", br#"{"name": "mail"}"#).unwrap();
//! assert_eq!(json::written(&request), ("queue.stats", r#"{"name":"mail"}"#.to_owned()));
//!
//! let typo = json::request("queue.stats", br#"{"nmae": "mail"}"#).unwrap_err();
//! assert_eq!(typo.message, "there is no field \"nmae\"; did you mean name?");
//! ```

pub(crate) mod answer;
pub(crate) mod explain;
pub(crate) mod fields;
pub(crate) mod kv;
pub(crate) mod limit;
mod message;
mod publish;
mod queue;
mod reason_text;
mod receive;
mod request;
mod setting;
mod settle;
pub(crate) mod value;
mod written;

pub use answer::{
    Declared, Differs, Failure, Redriven, Refused, Removed, Rescheduled, answer, refused,
};
pub use explain::{Reason, WhyNot};
pub use kv::{
    CHANGES_FIELDS, ChangesWanted, Incremented, KV_CHANGES, KV_VERBS, KeyChange, KeyChanges,
    KeyEntry, KeyPage, KeyThere, KeyWritten, WATCH_FIELDS, check, kv_answer, kv_changes,
    kv_request, kv_set, kv_watch,
};
pub use limit::{
    LIMIT_VERBS, LimitPut, LimitShown, Limits, LimitsDeleted, PauseShown, Resumed, TopKey, TopKeys,
    limit_answer, limit_request, limit_written,
};
pub use message::{Browsed, Message, PAYLOAD_SHOWN_MAX, Peeked};
pub use publish::{MESSAGE_FIELDS, Messages, Taken, TakenAll, add_keys, message, messages, taken};
pub(crate) use publish::{level, with_payload};
pub use queue::{Counts, Queue, Queues, Stats};
pub use reason_text::in_time;
pub use receive::{Delivered, Payload, RECEIVE_FIELDS, Received, Wanted, receive};
pub use request::{BODY_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX, command, request, request_with, verbs};
pub use setting::{Settings, Value};
pub(crate) use settle::outcome;
pub use settle::{SETTLE_FIELDS, Settled, SettledEach, settle, settled, subscribe};
pub use value::DEPTH_MAX;
pub use written::written;
