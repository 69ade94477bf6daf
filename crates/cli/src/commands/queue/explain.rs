//! `sluice queue explain`: why a message is not delivered, a reason a line.

use std::time::{SystemTime, UNIX_EPOCH};

use sluice_client::Explained;
use sluice_client::json::WhyNot;

use super::print_json;
use crate::args::ExplainArgs;
use crate::commands::{client, print};
use crate::failure::Failure;

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
    why.reasons.iter().map(|reason| reason.told(now) + "\n").collect()
}
