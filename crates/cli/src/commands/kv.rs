//! `sluice kv`: keys and values.

use std::io::{Read, Write};

use sluice_client::json::{KeyChange, KeyEntry, KeyPage, Payload};
use sluice_client::{Condition, Key, Keys, Revision, SetKey, Value, ValueKind, WatchKeys};

use crate::args::{
    DelArgs, GetArgs, IncrArgs, Kind, KvCommand, OnlyArgs, ScanArgs, SetArgs, WatchArgs,
};
use crate::commands::queue::print_json;
use crate::commands::{client, print};
use crate::failure::Failure;

/// Keys of a page.
const PAGE: u16 = 1_000;

pub(crate) fn run(command: &KvCommand) -> Result<(), Failure> {
    match command {
        KvCommand::Set(args) => set(args),
        KvCommand::Get(args) => get(args),
        KvCommand::Del(args) => del(args),
        KvCommand::Incr(args) => incr(args),
        KvCommand::Scan(args) => scan(args),
        KvCommand::Watch(args) => watch(args),
    }
}

fn key(name: &str) -> Result<Key, Failure> {
    Key::new(name).map_err(|error| Failure::usage(format!("{name}: {error}")))
}

fn below(prefix: &str) -> Result<Keys, Failure> {
    Keys::below(prefix).map_err(|error| Failure::usage(format!("{prefix}: {error}")))
}

fn set(args: &SetArgs) -> Result<(), Failure> {
    let bytes = match (&args.value, &args.file) {
        (Some(value), _) => value.clone().into_bytes(),
        (None, Some(path)) => std::fs::read(path)
            .map_err(|error| Failure::Other(format!("can't read {}: {error}", path.display())))?,
        (None, None) => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(Failure::other)?;
            bytes
        }
    };
    let kind = match args.kind {
        Some(Kind::Json) => ValueKind::Json,
        Some(Kind::Text) => ValueKind::Text,
        None if std::str::from_utf8(&bytes).is_ok() => ValueKind::Text,
        Some(Kind::Bytes) | None => ValueKind::Bytes,
    };
    let OnlyArgs { if_absent, if_revision } = args.only;
    let condition = match (if_absent, if_revision) {
        (true, _) => Condition::Absent,
        (false, revision) => at(revision),
    };
    let how = SetKey { ttl: args.ttl, condition, dedupe_id: args.dedupe_id.clone() };
    let (key, value) = (key(&args.key)?, Value { kind, bytes: bytes.into() });
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let written = client.set_key(&key, &value, &how).await?;
        if args.common.json {
            return print_json(&written);
        }
        print(&format!("revision {}\n", written.revision))
    })
}

fn at(revision: Option<u64>) -> Condition {
    revision.map_or(Condition::Always, |revision| Condition::Revision(Revision(revision)))
}

fn get(args: &GetArgs) -> Result<(), Failure> {
    let key = key(&args.key)?;
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let entry = client.get_key(&key).await?;
        if args.common.json {
            return print_json(&entry);
        }
        // As it is: what reads it decides what it means.
        let bytes = entry.bytes().map_err(Failure::other)?;
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes).and_then(|()| out.flush()).map_err(Failure::other)
    })
}

fn del(args: &DelArgs) -> Result<(), Failure> {
    let key = key(&args.key)?;
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let written = client.delete_key(&key, at(args.if_revision)).await?;
        if args.common.json {
            return print_json(&written);
        }
        print(&format!("revision {}\n", written.revision))
    })
}

fn incr(args: &IncrArgs) -> Result<(), Failure> {
    let key = key(&args.key)?;
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let sum = client.increment_key(&key, args.by, args.dedupe_id.as_deref()).await?;
        if args.common.json {
            return print_json(&sum);
        }
        print(&format!("{}\n", sum.value))
    })
}

fn scan(args: &ScanArgs) -> Result<(), Failure> {
    let keys = below(&args.prefix)?;
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let (mut all, mut left) = (KeyPage::default(), args.limit.unwrap_or(usize::MAX));
        loop {
            let limit = u16::try_from(left).map_or(PAGE, |left| left.min(PAGE));
            let page = client.scan_keys(&keys, all.next.as_deref(), limit, !args.names).await?;
            left -= page.keys.len().min(left);
            all.keys.extend(page.keys);
            all.next = page.next;
            if all.next.is_none() || left == 0 {
                break;
            }
        }
        if args.common.json {
            return print_json(&all);
        }
        print(&all.keys.iter().map(|entry| line(entry, args.names)).collect::<String>())
    })
}

/// A key on a line.
fn line(entry: &KeyEntry, name_alone: bool) -> String {
    if name_alone {
        return format!("{}\n", entry.key);
    }
    format!("{}\t{}\t{}\n", entry.key, entry.revision, shown(entry.value.as_ref()))
}

/// A value on a line: what would break it is escaped.
fn shown(value: Option<&Payload>) -> String {
    match value {
        None => String::new(),
        Some(Payload::Text(text)) => text.escape_debug().to_string().replace("\\\"", "\""),
        Some(Payload::Bytes { base64 }) => format!("base64:{base64}"),
    }
}

fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let keys = match args.prefix || args.key.ends_with('^') {
        true => below(&args.key)?,
        false => Keys::One(key(&args.key)?),
    };
    client::block_on(async {
        let client = client::connect(&args.common.server).await?;
        let mut interrupts = client::Interrupts::new().map_err(Failure::other)?;
        let how = WatchKeys { from: args.from.map(Revision), ..WatchKeys::default() };
        let (mut watch, mut told) = (client.watch_keys(&keys, how).await?, 0);
        loop {
            let event = tokio::select! {
                event = watch.next() => event?,
                () = interrupts.next() => return Ok(()),
            };
            let Some(event) = event else { return Ok(()) };
            let change = KeyChange::from(&event);
            match args.common.json {
                true => print_json(&change)?,
                false => print(&changed(&change))?,
            }
            told += 1;
            if args.max.is_some_and(|max| told >= max) {
                return Ok(());
            }
        }
    })
}

/// A change on a line.
fn changed(change: &KeyChange) -> String {
    let KeyChange { event, key, value, revision, .. } = change;
    match key {
        None => format!("{event}\t\t{revision}\n"),
        Some(key) => format!("{event}\t{key}\t{revision}\t{}\n", shown(value.as_ref())),
    }
}
