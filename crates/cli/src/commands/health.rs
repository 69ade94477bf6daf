//! `sluice health`: connects, shows the key, and hears an answer.

use std::time::Instant;

use serde_json::json;

use crate::args::HealthArgs;
use crate::commands::{client, print};
use crate::failure::Failure;

pub(crate) fn run(args: &HealthArgs) -> Result<(), Failure> {
    client::block_on(async {
        let server = &args.server.server;
        let client = client::connect(&args.server).await?;
        let begin = Instant::now();
        client.flush().await?;
        let took = begin.elapsed();
        client.close().await?;
        if args.json {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let health = json!({ "ok": true, "server": server, "round_trip_us": micros });
            return print(&format!("{health}\n"));
        }
        print(&format!("ok: {server} answers within {took:.1?}\n"))
    })
}
