//! `sluice queue list`, `stats` and `peek`: nothing is changed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sluice_client::Filter;
use sluice_client::json::{Message, Peeked, Stats};

use super::{all_pages, print_json};
use crate::args::{ListArgs, OneArgs, PeekArgs};
use crate::commands::table::Table;
use crate::commands::{client, print};
use crate::failure::Failure;
use crate::settings::show_time;

pub(crate) fn list(args: &ListArgs) -> Result<(), Failure> {
    client::block_on(async {
        let client = client::connect(&args.server).await?;
        let all = all_pages(async |after, limit| client.queues(after, limit).await).await?;
        if args.json {
            return print_json(&all);
        }
        let mut table = Table::new(["name", "ready", "delayed", "leased", "dead"]);
        for queue in &all.queues {
            let counts = queue.counts;
            let cells = [counts.ready, counts.delayed, counts.leased, counts.dead];
            let [ready, delayed, leased, dead] = cells.map(|count| count.to_string());
            table.row([queue.name.clone(), ready, delayed, leased, dead]);
        }
        print(&table.text())
    })
}

pub(crate) fn stats(args: &OneArgs) -> Result<(), Failure> {
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let stats = client.stats(&args.queue).await?;
        if args.common.json { print_json(&stats) } else { print(&stats_text(&stats)?) }
    })
}

/// The same fields as the JSON, one a line; settings below.
fn stats_text(stats: &Stats) -> Result<String, Failure> {
    let object = serde_json::to_value(stats).map_err(Failure::other)?;
    let mut table = Table::pairs();
    let mut settings = Table::pairs();
    for (name, value) in object.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("settings", Value::Object(all)) => {
                for (name, value) in all {
                    settings.row([format!("  {name}"), shown(name, value)]);
                }
            }
            ("counts", Value::Object(counts)) => {
                for (name, count) in counts {
                    table.row([name.clone(), count.to_string()]);
                }
            }
            _ => table.row([name.clone(), shown(name, value)]),
        }
    }
    Ok(format!("{}settings\n{}", table.text(), settings.text()))
}

fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if name.ends_with("_ms") => number
            .as_u64()
            .map_or_else(|| number.to_string(), |millis| show_time(Duration::from_millis(millis))),
        other => other.to_string(),
    }
}

pub(crate) fn peek(args: &PeekArgs) -> Result<(), Failure> {
    let PeekArgs { one, id, state, after, limit } = args;
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        if let Some(id) = id {
            let peeked = client.peek(&one.queue, *id).await?;
            return if one.common.json {
                print_json(&peeked)
            } else {
                print(&peeked_text(&peeked)?)
            };
        }
        let filter = Filter { state: *state, ..Filter::default() };
        let page = client.browse(&one.queue, filter, *after, *limit).await?;
        if one.common.json {
            return print_json(&page);
        }
        let mut table =
            Table::new(["seq", "id", "state", "age", "bytes", "failures", "last error"]);
        for message in &page.messages {
            table.row(row(message));
        }
        print(&table.text())?;
        match page.next {
            Some(next) => print(&format!("there may be more: --after {next}\n")),
            None => Ok(()),
        }
    })
}

fn row(message: &Message) -> [String; 7] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.saturating_sub(Duration::from_millis(message.enqueued_at));
    let state = match &message.dead_reason {
        Some(reason) => format!("{} ({reason})", message.state),
        None => message.state.to_string(),
    };
    [
        message.seq.to_string(),
        message.id.clone(),
        state,
        format!("{age:.0?}"),
        message.bytes.to_string(),
        message.failures.to_string(),
        message.last_error.clone().unwrap_or_default(),
    ]
}

/// What it is, and the payload below.
fn peeked_text(peeked: &Peeked) -> Result<String, Failure> {
    let object = serde_json::to_value(peeked).map_err(Failure::other)?;
    let mut table = Table::pairs();
    for (name, value) in object.as_object().into_iter().flatten() {
        if name != "payload" && name != "payload_base64" {
            table.row([name.clone(), shown(name, value)]);
        }
    }
    let payload = peeked.payload.as_ref().or(peeked.payload_base64.as_ref());
    let payload = payload.map_or("(too long to be shown)", String::as_str);
    Ok(format!("{}\n{payload}\n", table.text()))
}
