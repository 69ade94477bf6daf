//! `sluice limit`: limits, and pauses.

use std::fmt::Write;

use sluice_client::json::{LimitShown, Limits, PauseShown, TopKey, in_time};
use sluice_client::{
    Client, Limit, LimitMatch, LimitMode, LimitScope, LimitTerms, Pausable, QueuePattern,
};

use crate::args::{
    LimitCommand, LimitDeleteArgs, LimitListArgs, LimitSetArgs, PauseArgs, ResumeArgs, TopArgs,
};
use crate::commands::queue::explain::now;
use crate::commands::queue::print_json;
use crate::commands::table::Table;
use crate::commands::{client, print};
use crate::failure::Failure;

/// Limits of a page.
const PAGE: u16 = 1_000;

pub(crate) fn run(command: &LimitCommand) -> Result<(), Failure> {
    match command {
        LimitCommand::Set(args) => set(args),
        LimitCommand::List(args) => list(args),
        LimitCommand::Delete(args) => delete(args),
        LimitCommand::Pause(args) => pause(args),
        LimitCommand::Resume(args) => resume(args),
        LimitCommand::Top(args) => top(args),
    }
}

fn set(args: &LimitSetArgs) -> Result<(), Failure> {
    let LimitSetArgs { name, scope, queue, key, common, .. } = args;
    let of_match = if key.is_some() { LimitScope::Key } else { LimitScope::Queue };
    let terms = LimitTerms {
        rate: args.rate,
        burst: args.burst,
        window: args.window,
        concurrency: args.concurrency,
        mode: args.delay.map_or(LimitMode::Refuse, LimitMode::Delay),
    };
    let matches = LimitMatch { queue: queue.clone(), key: key.clone() };
    let limit = Limit::new(name, scope.unwrap_or(of_match), matches, terms);
    let limit = limit.map_err(Failure::usage)?;
    client::block_on(async {
        let client = client::connect(&common.server).await?;
        let shown = LimitShown::from(&limit);
        let put = client.put_limit(limit).await?;
        if common.json {
            return print_json(&put);
        }
        let before = put.replaced.map(|before| format!(", was {}", before.terms()));
        print(&format!("{}{}\n", line(&shown), before.unwrap_or_default()))
    })
}

/// A limit in words.
fn line(limit: &LimitShown) -> String {
    let mut text = format!("limit {} ({})", limit.name, matched(limit));
    // Writing to a string can't fail.
    let _ = write!(text, ": {}", limit.terms());
    text
}

/// What it counts, and of what.
fn matched(limit: &LimitShown) -> String {
    let LimitShown { scope, queue, key, .. } = limit;
    match (&**scope, key) {
        ("client", _) => "requests of each client".to_owned(),
        ("global", _) => "requests of all".to_owned(),
        (_, Some(key)) => format!("key {key} in {queue}"),
        (_, None) => format!("queue {queue}"),
    }
}

fn list(args: &LimitListArgs) -> Result<(), Failure> {
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let mut all = all_limits(&client).await?;
        all.limits.retain(|limit| args.name.as_ref().is_none_or(|name| *name == limit.name));
        if args.common.json {
            return print_json(&all);
        }
        let mut table = Table::new(["name", "scope", "queue", "key", "allows"]);
        for limit in &all.limits {
            let key = limit.key.clone().unwrap_or_default();
            let (name, scope) = (limit.name.clone(), limit.scope.to_string());
            table.row([name, scope, limit.queue.clone(), key, limit.terms()]);
        }
        print(&table.text())
    })
}

/// All limits, page by page.
async fn all_limits(client: &Client) -> Result<Limits, Failure> {
    let mut all = Limits::default();
    loop {
        let page = client.limits(all.next.as_deref(), PAGE).await?;
        all.limits.extend(page.limits);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn delete(args: &LimitDeleteArgs) -> Result<(), Failure> {
    let LimitDeleteArgs { name, queue, key, common } = args;
    let matches = (queue.is_some() || key.is_some()).then(|| LimitMatch {
        queue: queue.clone().unwrap_or_else(QueuePattern::all),
        key: key.clone(),
    });
    client::block_on(async {
        let client = client::connect(&common.server).await?;
        let deleted = client.delete_limits(name, matches).await?;
        if common.json {
            return print_json(&deleted);
        }
        match deleted.limits {
            0 => Err(Failure::Other(format!("there is no such limit {name}"))),
            limits => print(&format!("deleted {limits}\n")),
        }
    })
}

fn pause(args: &PauseArgs) -> Result<(), Failure> {
    let PauseArgs { queue, key, period, reason, common } = args;
    let what = pausable(queue, key.as_deref());
    client::block_on(async {
        let client = client::connect(&common.server).await?;
        let pause = client.pause(what, *period, reason.as_deref()).await?;
        if common.json {
            return print_json(&pause);
        }
        let what = key.as_deref().unwrap_or(queue.as_str());
        print(&format!("{what} is paused{}\n", until(&pause)))
    })
}

fn until(pause: &PauseShown) -> String {
    match pause.until_at {
        Some(at) => format!(", opens {}", in_time(at, now())),
        None => " until it is resumed".to_owned(),
    }
}

fn resume(args: &ResumeArgs) -> Result<(), Failure> {
    let ResumeArgs { queue, key, common } = args;
    let what = pausable(queue, key.as_deref());
    client::block_on(async {
        let client = client::connect(&common.server).await?;
        let resumed = client.resume(what).await?;
        if common.json {
            return print_json(&resumed);
        }
        let what = key.as_deref().unwrap_or(queue.as_str());
        print(&match resumed.was_paused {
            true => format!("{what} goes on\n"),
            false => format!("{what} was not paused\n"),
        })
    })
}

fn pausable(queue: &sluice_client::QueueName, key: Option<&str>) -> Pausable {
    match key {
        Some(key) => Pausable::Key { queue: queue.clone(), key: key.into() },
        None => Pausable::Queue(queue.clone()),
    }
}

fn top(args: &TopArgs) -> Result<(), Failure> {
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let keys = client.top_keys(&args.name, args.limit).await?;
        if args.common.json {
            return print_json(&keys);
        }
        let mut table = Table::new(["key", "leased", "waiting", "tokens", "paused"]);
        keys.keys.iter().for_each(|key| table.row(row(key)));
        print(&table.text())
    })
}

fn row(key: &TopKey) -> [String; 5] {
    let paused = key.paused.as_ref().map(|pause| match pause.until_at {
        Some(at) => format!("opens {}", in_time(at, now())),
        None => "until it is resumed".to_owned(),
    });
    [
        key.key.clone(),
        key.holders.to_string(),
        key.lanes.to_string(),
        key.tokens.map(|tokens| tokens.to_string()).unwrap_or_default(),
        paused.unwrap_or_default(),
    ]
}
