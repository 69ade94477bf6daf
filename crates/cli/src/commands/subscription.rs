//! `sluice subscription`: the durable subscriptions there are.

use sluice_client::{QueueName, SubscriptionName};

use crate::args::{ListArgs, SubscriptionDeleteArgs};
use crate::commands::queue::{all_pages, print_json, removed};
use crate::commands::table::Table;
use crate::commands::{client, print};
use crate::failure::Failure;

pub(crate) fn list(args: &ListArgs) -> Result<(), Failure> {
    client::block_on(async {
        let client = client::connect(&args.server).await?;
        let all = all_pages(async |after, limit| client.subscriptions(after, limit).await).await?;
        if args.json {
            return print_json(&all);
        }
        let mut table = Table::new(["name", "pattern", "ready", "delayed", "leased", "dead"]);
        for queue in &all.queues {
            let counts = queue.counts;
            table.row([
                queue.subscription.clone().unwrap_or_else(|| queue.name.clone()),
                queue.pattern.clone().unwrap_or_default(),
                counts.ready.to_string(),
                counts.delayed.to_string(),
                counts.leased.to_string(),
                counts.dead.to_string(),
            ]);
        }
        print(&table.text())
    })
}

pub(crate) fn delete(args: &SubscriptionDeleteArgs) -> Result<(), Failure> {
    let name = if args.name.starts_with('$') {
        QueueName::new(&args.name).map_err(Failure::usage)?
    } else {
        let name = SubscriptionName::new(&args.name).map_err(Failure::usage)?;
        QueueName::of_subscription(&name)
    };
    client::block_on(async {
        let client = client::connect(&args.server).await?;
        removed(client.delete(&name, args.force).await?, "deleted", args.json)
    })
}
