//! Reasons in words, with times as they are from now.
//!
//! The one place for these words: the line door and the command line say the same. Words of a newer
//! broker are told as it wrote them.

use super::explain::Reason;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

impl Reason {
    /// The reason on one line, at the moment `now` in milliseconds since 1970.
    pub fn told(&self, now: u64) -> String {
        let until = self.until_at.map(|at| in_time(at, now));
        let limit = || match (&self.limit, &self.key) {
            (Some(limit), Some(key)) => format!("limit {limit} for {key}"),
            (None, Some(key)) => format!("{key}, which opens again after a pause"),
            _ => "a limit".to_owned(),
        };
        let eligible = || match self.eligible_at {
            Some(at) => format!(": may go {}", in_time(at, now)),
            None => String::new(),
        };
        match (&*self.reason, until) {
            ("rate" | "window", _) => format!("{} of {}{}", self.reason, limit(), eligible()),
            ("concurrency", _) => {
                let (holders, max) = (self.holders.unwrap_or(0), self.max.unwrap_or(0));
                format!("concurrency of {}: {holders} leased, {max} allowed", limit())
            }
            ("turn", _) => format!("others that wait for {} go first", limit()),
            ("delayed", Some(until)) => format!("delayed: comes {until}"),
            ("leased", Some(until)) => format!("leased: the lease ends {until}"),
            ("paused", until) => self.paused(until),
            ("behind_head", _) => {
                format!(
                    "behind {}, the head of its group",
                    self.head.as_deref().unwrap_or("another")
                )
            }
            ("lower_priority", _) => {
                format!("messages of priority {} go first", self.than.unwrap_or(0))
            }
            ("no_consumer", _) => "no consumer is receiving".to_owned(),
            ("key_cap", _) => "too many keys are live, its keys wait for room".to_owned(),
            _ => self.text.clone(),
        }
    }

    fn paused(&self, until: Option<String>) -> String {
        let what = match &self.key {
            Some(key) => format!("key {key}"),
            None => "the queue".to_owned(),
        };
        let by = match &self.by {
            Some(by) => format!("by {by}"),
            None => "because a consumer was throttled".to_owned(),
        };
        let until = match until {
            Some(until) => format!("opens {until}"),
            None => "until it is resumed".to_owned(),
        };
        let why = self.why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("{what} is paused {by}{why}: {until}")
    }
}

/// When that is, from now, both in milliseconds since 1970: never too soon, and no finer than people
/// care for.
pub fn in_time(at: u64, now: u64) -> String {
    let millis = at.saturating_sub(now);
    let (unit, name) = match millis {
        0 => return "now".to_owned(),
        1..10_000 => (1, "ms"),
        10_000..600_000 => (SECOND, "s"),
        600_000..36_000_000 => (MINUTE, "m"),
        _ => (HOUR, "h"),
    };
    format!("in {}{name}", millis.div_ceil(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn reasons_are_told_with_times_from_now() {
        let of = |json: &str| serde_json::from_str::<Reason>(json).unwrap().told(1_000);
        let cases = [
            (r#"{"reason":"rate","limit":"a","key":"k","eligible_at":1200,"text":""}"#, "rate of limit a for k: may go in 200ms"),
            (r#"{"reason":"window","limit":"a","key":"k","eligible_at":900,"text":""}"#, "window of limit a for k: may go now"),
            (r#"{"reason":"concurrency","limit":"a","key":"k","holders":2,"max":2,"text":""}"#, "concurrency of limit a for k: 2 leased, 2 allowed"),
            (r#"{"reason":"concurrency","key":"k","holders":1,"max":1,"text":""}"#, "concurrency of k, which opens again after a pause: 1 leased, 1 allowed"),
            (r#"{"reason":"turn","limit":"a","key":"k","text":""}"#, "others that wait for limit a for k go first"),
            (r#"{"reason":"delayed","until_at":61000,"text":""}"#, "delayed: comes in 60s"),
            (r#"{"reason":"leased","until_at":1001,"text":""}"#, "leased: the lease ends in 1ms"),
            (r#"{"reason":"paused","key":"k","until_at":30957,"text":""}"#, "key k is paused because a consumer was throttled: opens in 30s"),
            (r#"{"reason":"paused","by":"ops","why":"deploy","text":""}"#, "the queue is paused by ops (deploy): until it is resumed"),
            (r#"{"reason":"behind_head","head":"1-2","text":""}"#, "behind 1-2, the head of its group"),
            (r#"{"reason":"lower_priority","than":9,"text":""}"#, "messages of priority 9 go first"),
            (r#"{"reason":"no_consumer","text":""}"#, "no consumer is receiving"),
            (r#"{"reason":"key_cap","text":""}"#, "too many keys are live, its keys wait for room"),
            (r#"{"reason":"newer","text":"something else"}"#, "something else"),
        ];
        for (json, expected) in cases {
            assert_eq!(of(json), expected);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn times_are_no_finer_than_people_care_for_and_never_too_soon() {
        let cases = [
            (0, "now"), (1, "in 1ms"), (9_999, "in 9999ms"), (10_001, "in 11s"), (599_001, "in 600s"),
            (600_000, "in 10m"), (3_599_999, "in 60m"), (36_000_000, "in 10h"), (36_000_001, "in 11h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(in_time(5 + millis, 5), expected, "{millis}");
        }
        assert_eq!(in_time(3, 5), "now");
    }
}
