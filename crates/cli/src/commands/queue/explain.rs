//! `sluice queue explain`: why a message is not delivered, a reason a line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_client::Explained;
use sluice_client::json::{Reason, WhyNot};

use super::print_json;
use crate::args::ExplainArgs;
use crate::commands::{client, print};
use crate::failure::Failure;
use crate::settings::show_time;

pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let ExplainArgs { one, id, group, key } = args;
    let what = match (id, group, key) {
        (Some(id), _, _) => Explained::Message(*id),
        (_, Some(group), _) => Explained::Group(group.as_str().into()),
        (_, _, Some(key)) => Explained::Key(key.as_str().into()),
        _ => Explained::Queue,
    };
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        let why = client.explain(&one.queue, what).await?;
        if one.common.json { print_json(&why) } else { print(&text(&why, now())) }
    })
}

/// This machine's clock, which may not be the broker's.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn text(why: &WhyNot, now: u64) -> String {
    if why.deliverable {
        return "nothing keeps it: it goes to the next who asks\n".to_owned();
    }
    why.reasons.iter().map(|reason| line(reason, now) + "\n").collect()
}

/// A reason in words, with times as they are from now.
fn line(reason: &Reason, now: u64) -> String {
    let until = reason.until_at.map(|at| in_time(at, now));
    let limit = || match (&reason.limit, &reason.key) {
        (Some(limit), Some(key)) => format!("limit {limit} for {key}"),
        (None, Some(key)) => format!("{key}, which opens again after a pause"),
        _ => "a limit".to_owned(),
    };
    let eligible = || match reason.eligible_at {
        Some(at) => format!(": may go {}", in_time(at, now)),
        None => String::new(),
    };
    match (&*reason.reason, until) {
        ("rate" | "window", _) => format!("{} of {}{}", reason.reason, limit(), eligible()),
        ("concurrency", _) => {
            let (holders, max) = (reason.holders.unwrap_or(0), reason.max.unwrap_or(0));
            format!("concurrency of {}: {holders} leased, {max} allowed", limit())
        }
        ("turn", _) => format!("others that wait for {} go first", limit()),
        ("delayed", Some(until)) => format!("delayed: comes {until}"),
        ("leased", Some(until)) => format!("leased: the lease ends {until}"),
        ("paused", until) => paused(reason, until),
        _ => reason.text.clone(),
    }
}

fn paused(reason: &Reason, until: Option<String>) -> String {
    let what = match &reason.key {
        Some(key) => format!("key {key}"),
        None => "the queue".to_owned(),
    };
    let by = match &reason.by {
        Some(by) => format!("by {by}"),
        None => "because a consumer was throttled".to_owned(),
    };
    let until = match until {
        Some(until) => format!("opens {until}"),
        None => "until it is resumed".to_owned(),
    };
    let why = reason.why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{what} is paused {by}{why}: {until}")
}

/// When that is, from now.
pub(crate) fn in_time(at: u64, now: u64) -> String {
    match at.saturating_sub(now) {
        0 => "now".to_owned(),
        millis => format!("in {}", show_time(Duration::from_millis(millis))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn reasons_are_told_with_times_from_now() {
        let of = |json: &str| line(&serde_json::from_str(json).unwrap(), 1_000);
        let cases = [
            (r#"{"reason":"rate","limit":"a","key":"k","eligible_at":1200,"text":""}"#, "rate of limit a for k: may go in 200ms"),
            (r#"{"reason":"window","limit":"a","key":"k","eligible_at":900,"text":""}"#, "window of limit a for k: may go now"),
            (r#"{"reason":"concurrency","limit":"a","key":"k","holders":2,"max":2,"text":""}"#, "concurrency of limit a for k: 2 leased, 2 allowed"),
            (r#"{"reason":"concurrency","key":"k","holders":1,"max":1,"text":""}"#, "concurrency of k, which opens again after a pause: 1 leased, 1 allowed"),
            (r#"{"reason":"paused","key":"k","until_at":31000,"text":""}"#, "key k is paused because a consumer was throttled: opens in 30s"),
            (r#"{"reason":"paused","by":"ops","why":"deploy","text":""}"#, "the queue is paused by ops (deploy): until it is resumed"),
            (r#"{"reason":"no_consumer","text":"no consumer is receiving"}"#, "no consumer is receiving"),
            (r#"{"reason":"newer","text":"something else"}"#, "something else"),
        ];
        for (json, expected) in cases {
            assert_eq!(of(json), expected);
        }
    }
}
