//! What a client asks, as it sends it.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sluice_model::{Filter, MessageId, QueueKind, QueueName, QueueRequest, Redrive};

use super::setting;

/// The verb and the body that [`super::request`] reads as the same request. Durations lose what is
/// below a millisecond. A purge of nothing, a page of no or more than [`super::PAGE_MAX`] entries,
/// and the like are written and then refused.
pub fn written(request: &QueueRequest) -> (&'static str, String) {
    let (verb, body) = match request {
        QueueRequest::Declare { name, settings, update } => {
            let verb = if *update { "queue.update" } else { "queue.declare" };
            let body = Body::of(name);
            (
                verb,
                if settings.is_empty() {
                    body
                } else {
                    body.with("settings", setting::told(settings))
                },
            )
        }
        QueueRequest::Delete { name, force } => match name.subscription() {
            Some(name) => {
                ("subscription.delete", Body::default().with("name", name).flag("force", *force))
            }
            None => ("queue.delete", Body::of(name).flag("force", *force)),
        },
        QueueRequest::List { kind, after, limit } => {
            let verb = match kind {
                QueueKind::Plain => "queue.list",
                QueueKind::Subscription => "subscription.list",
            };
            let after = after.as_ref().map(QueueName::as_str);
            (verb, Body::default().maybe("after", after).with("limit", limit))
        }
        QueueRequest::Stats { name } => ("queue.stats", Body::of(name)),
        QueueRequest::Purge { name, what } => {
            let body = Body::of(name).with("waiting", what.waiting);
            ("queue.purge", body.flag("leased", what.leased).flag("dead", what.dead))
        }
        QueueRequest::Browse { name, filter, after, limit } => {
            let body = Body::of(name).filter(filter).maybe("after", *after);
            ("queue.browse", body.with("limit", limit))
        }
        QueueRequest::Peek { name, id } => ("queue.peek", Body::of(name).id(*id)),
        QueueRequest::Remove { name, id, force } => {
            ("queue.remove", Body::of(name).id(*id).flag("force", *force))
        }
        QueueRequest::Cancel { name, id } => ("queue.cancel", Body::of(name).id(*id)),
        QueueRequest::Reschedule { name, id, at } => {
            ("queue.reschedule", Body::of(name).id(*id).with("at_ms", at.as_millis()))
        }
        QueueRequest::Redrive { name, which, per_second } => {
            ("queue.redrive", Body::of(name).which(which).maybe("per_second", *per_second))
        }
    };
    (verb, body.text())
}

/// The body of a request in the making.
#[derive(Default)]
pub(super) struct Body(Map<String, Value>);

impl Body {
    fn of(name: &QueueName) -> Self {
        Self::default().with("name", name.as_str())
    }

    /// All that a shape has.
    pub(super) fn of_shape(shape: &impl Serialize) -> Self {
        match json!(shape) {
            Value::Object(fields) => Self(fields),
            _ => Self::default(),
        }
    }

    /// The body as it is sent.
    pub(super) fn text(self) -> String {
        Value::Object(self.0).to_string()
    }

    pub(super) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.0.insert(name.to_owned(), json!(value));
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn flag(self, name: &str, flag: bool) -> Self {
        if flag { self.with(name, true) } else { self }
    }

    fn id(self, id: MessageId) -> Self {
        self.with("id", id.to_string())
    }

    fn filter(self, filter: &Filter) -> Self {
        let Filter { state, group, key, age_min, reason } = filter;
        self.maybe("state", state.map(sluice_model::State::name))
            .maybe("group", group.as_deref())
            .maybe("key", key.as_deref())
            .maybe("age_min_ms", age_min.map(millis))
            .maybe("reason", reason.map(sluice_model::DeadReason::name))
    }

    fn which(self, which: &Redrive) -> Self {
        match which {
            Redrive::Ids(ids) => {
                self.with("ids", ids.iter().map(MessageId::to_string).collect::<Vec<_>>())
            }
            Redrive::Matching { reason, age_min } => self
                .maybe("reason", reason.map(sluice_model::DeadReason::name))
                .maybe("age_min_ms", age_min.map(millis)),
        }
    }
}

/// Whole milliseconds, or the most that there can be.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
