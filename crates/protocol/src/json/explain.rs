//! Why something is not being delivered.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sluice_model::{Explained, Explanation, LimitedBy, Refusal, Timestamp};

use super::answer::text;
use super::fields::{Fields, invalid};
use super::written::Body;

/// The answer to `queue.explain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WhyNot {
    /// Nothing keeps it from being delivered now.
    pub deliverable: bool,
    /// All that does.
    pub reasons: Vec<Reason>,
}

/// One reason why a message is not delivered. The word is a string, so that a client reads also
/// what a newer broker says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reason {
    /// `delayed`, `rate`, `window`, `concurrency`, `paused`, `behind_head`, `lower_priority`,
    /// `no_consumer`, `leased`, `key_cap` or `turn`.
    pub reason: Cow<'static, str>,
    /// The name of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The key that it limits, or the queue; of a pause the key that is paused, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the limit lets it by if nobody else comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eligible_at: Option<u64>,
    /// Messages that are leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<u32>,
    /// As many as may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// When the delay, the pause or the lease ends; of a pause not there where it has to be resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_at: Option<u64>,
    /// Who paused it; not there where a consumer was throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The message of its group that goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The priority of those that go before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub than: Option<u8>,
    /// The reason in words, for people, with times from the moment of the answer.
    pub text: String,
}

impl Reason {
    /// A reason with its words as they are at the moment `now`.
    pub fn of(reason: &Explanation, now: Timestamp) -> Self {
        let told = Self::without_words(reason);
        Self { text: told.told(now.as_millis()), ..told }
    }

    fn without_words(reason: &Explanation) -> Self {
        let at = |at: &Timestamp| Some(at.as_millis());
        let mut told = Self { reason: reason.name().into(), ..Self::default() };
        match reason {
            Explanation::Delayed { until } | Explanation::Leased { until } => {
                told.until_at = at(until);
            }
            Explanation::Rate { by, eligible_at } | Explanation::Window { by, eligible_at } => {
                told.limited(by);
                told.eligible_at = at(eligible_at);
            }
            Explanation::Concurrency { by, holders, max } => {
                told.limited(by);
                (told.holders, told.max) = (Some(*holders), Some(*max));
            }
            Explanation::Paused { key, pause } => {
                told.key = key.as_deref().map(ToOwned::to_owned);
                told.until_at = pause.until.as_ref().and_then(at);
                told.by = pause.by.as_deref().map(ToOwned::to_owned);
                told.why = pause.reason.as_deref().map(ToOwned::to_owned);
            }
            Explanation::BehindHead { head } => told.head = Some(head.to_string()),
            Explanation::LowerPriority { than } => told.than = Some(*than),
            Explanation::Turn { by } => told.limited(by),
            Explanation::NoConsumer | Explanation::KeyCap => {}
        }
        told
    }

    fn limited(&mut self, LimitedBy { limit, key }: &LimitedBy) {
        // By none while a key that was paused is tried with one at a time.
        self.limit = (!limit.is_empty()).then(|| limit.to_string());
        self.key = Some(key.to_string());
    }
}

/// What is asked about: one of `id`, `group` and `key`, else the next message of all.
pub(crate) fn explained(fields: &mut Fields) -> Result<Explained, Refusal> {
    if ["id", "group", "key"].into_iter().filter(|name| fields.has(name)).count() > 1 {
        return Err(invalid("of id, group and key at most one is given".to_owned()));
    }
    if fields.has("id") {
        return Ok(Explained::Message(fields.id()?));
    }
    Ok(match (fields.key("group")?, fields.key("key")?) {
        (Some(group), _) => Explained::Group(group.into()),
        (_, Some(key)) => Explained::Key(key.into()),
        _ => Explained::Queue,
    })
}

/// Says what is asked about.
pub(super) fn asked(body: Body, what: &Explained) -> Body {
    match what {
        Explained::Message(id) => body.with("id", id.to_string()),
        Explained::Group(group) => body.with("group", group),
        Explained::Key(key) => body.with("key", key),
        Explained::Queue => body,
    }
}

/// The reasons as they are sent, on one line.
pub(super) fn why_not(reasons: &[Explanation], now: Timestamp) -> String {
    let deliverable = reasons.is_empty();
    let reasons = reasons.iter().map(|reason| Reason::of(reason, now)).collect();
    text(&WhyNot { deliverable, reasons })
}

#[cfg(test)]
mod tests {
    use sluice_model::Paused;

    use super::*;

    #[test]
    #[rustfmt::skip]
    fn a_reason_says_what_it_knows() {
        let by = || LimitedBy { limit: "stripe".into(), key: "tenant:7".into() };
        let at = Timestamp::from_millis(5_000);
        let pause = Paused { until: Some(at), by: Some("ops".into()), reason: Some("deploy".into()) };
        let head = "00000001-0000000000000002".parse().unwrap();
        let cases = [
            (Explanation::Rate { by: by(), eligible_at: at }, r#""reason":"rate","limit":"stripe","key":"tenant:7","eligible_at":5000"#),
            (Explanation::Concurrency { by: by(), holders: 2, max: 3 }, r#""reason":"concurrency","limit":"stripe","key":"tenant:7","holders":2,"max":3"#),
            (Explanation::Paused { key: Some("tenant:7".into()), pause }, r#""reason":"paused","key":"tenant:7","until_at":5000,"by":"ops","why":"deploy""#),
            (Explanation::BehindHead { head }, r#""reason":"behind_head","head":"00000001-0000000000000002""#),
            (Explanation::LowerPriority { than: 9 }, r#""reason":"lower_priority","than":9"#),
            (Explanation::Leased { until: at }, r#""reason":"leased","until_at":5000"#),
            (Explanation::NoConsumer, r#""reason":"no_consumer""#),
        ];
        for (reason, told) in cases {
            let now = Timestamp::from_millis(3_000);
            let text = serde_json::to_string(&Reason::of(&reason, now).text).unwrap();
            let expected = format!(r#"{{"deliverable":false,"reasons":[{{{told},"text":{text}}}]}}"#);
            assert_ne!(text, "\"\"", "{told}");
            assert!(!text.contains("5000") && !told.contains("_at") || text.contains("in 2000ms"), "{text}");
            assert_eq!(why_not(&[reason], now), expected);
        }
        assert_eq!(why_not(&[], at), r#"{"deliverable":true,"reasons":[]}"#);
    }
}
