//! `sluice queue declare`, `purge`, `delete` and `redrive`.

use sluice_client::json::{Declared, Value};
use sluice_client::{Purge, QueueSettings, Redrive};

use super::{print_json, removed};
use crate::args::{DeclareArgs, DeleteArgs, PurgeArgs, RedriveArgs, WeighArgs};
use crate::commands::{client, print};
use crate::failure::Failure;

/// Fails where the queue is otherwise than asked.
pub(crate) fn declare(args: &DeclareArgs) -> Result<(), Failure> {
    let DeclareArgs { one, set, update } = args;
    let mut settings = QueueSettings::default();
    for (name, value) in set {
        settings.set_text(name, value).map_err(Failure::usage)?;
    }
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        let declared = if *update {
            client.update(&one.queue, settings).await?
        } else {
            client.declare(&one.queue, settings).await?
        };
        if one.common.json {
            print_json(&declared)?;
        } else if declared.differs.is_empty() {
            let what = match (declared.created, update) {
                (true, _) => "made",
                (false, true) => "is as asked now",
                (false, false) => "is there as asked",
            };
            print(&format!("{} {what}\n", one.queue))?;
        }
        different(&declared)
    })
}

fn different(declared: &Declared) -> Result<(), Failure> {
    if declared.differs.is_empty() {
        return Ok(());
    }
    let each = declared.differs.iter().map(|one| {
        let (is, asked) = (shown(&one.is), shown(&one.asked));
        format!("\n{} is {is}, not {asked}", one.setting)
    });
    let each: String = each.collect();
    Err(Failure::Other(format!("the queue is otherwise; --update changes it{each}")))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Whole(number) => number.to_string(),
        Value::Fraction(number) => number.to_string(),
        Value::Word(word) => word.to_string(),
    }
}

pub(crate) fn purge(args: &PurgeArgs) -> Result<(), Failure> {
    let PurgeArgs { one, waiting, leased, dead } = args;
    let silent = !(*waiting || *leased || *dead);
    let what = Purge { waiting: *waiting || silent, leased: *leased, dead: *dead };
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        removed(client.purge(&one.queue, what).await?, "purged", one.common.json)
    })
}

pub(crate) fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let DeleteArgs { one, force } = args;
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        removed(client.delete(&one.queue, *force).await?, "deleted", one.common.json)
    })
}

pub(crate) fn redrive(args: &RedriveArgs) -> Result<(), Failure> {
    let RedriveArgs { one, id, reason, age, per_second } = args;
    let which = if id.is_empty() {
        Redrive::Matching { reason: *reason, age_min: *age }
    } else {
        Redrive::Ids(id.clone())
    };
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        let redriven = client.redrive(&one.queue, which, *per_second).await?;
        if one.common.json {
            return print_json(&redriven);
        }
        let goes_on = if redriven.goes_on { "; the rest follows at the pace" } else { "" };
        print(&format!("put back {}{goes_on}\n", redriven.messages))
    })
}

pub(crate) fn weigh(args: &WeighArgs) -> Result<(), Failure> {
    let WeighArgs { one, group, weight } = args;
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        client.weigh(&one.queue, group, *weight).await?;
        if one.common.json {
            return print("{}\n");
        }
        print(&format!("group {group} of {} has the weight {weight}\n", one.queue))
    })
}
