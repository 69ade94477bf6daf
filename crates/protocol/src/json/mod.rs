//! Everything that can be asked of queues, and what comes back, as JSON.
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

mod answer;
mod fields;
mod message;
mod queue;
mod request;
mod setting;
mod value;
mod written;

pub use answer::{
    Declared, Differs, Failure, Redriven, Refused, Removed, Rescheduled, answer, refused,
};
pub use message::{Browsed, Message, PAYLOAD_SHOWN_MAX, Peeked};
pub use queue::{Counts, Queue, Queues, Stats};
pub use request::{BODY_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX, request, verbs};
pub use setting::{Settings, Value};
pub use value::DEPTH_MAX;
pub use written::written;
