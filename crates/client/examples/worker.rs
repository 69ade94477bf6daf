//! Works off a queue: acknowledges what went well, gives back what did not, and lets the broker wait
//! where the other side asks for a pause.
//!
//! ```text
//! sluice limit set tenants --key 'tenant:*' --rate 5/s
//! sluice queue put mail "slow down" --key tenant:7
//! ```
//!
//! `cargo run -p sluice-client --example worker -- mail`

use std::time::Duration;

use sluice_client::{Client, Consume, Options, Outcome, QueueName, QueueSettings};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = std::env::args().nth(1).unwrap_or_else(|| "mail".to_owned());
    let client = Client::connect("127.0.0.1:5555", Options::default()).await?;
    client.declare(&QueueName::new(&queue)?, QueueSettings::default()).await?;
    // At most 16 messages are on their way or being worked on.
    let consume = Consume { prefetch: 16, lease: Some(Duration::from_secs(60)) };
    let mut jobs = client.consume(&queue, consume).await?;
    while let Some(job) = jobs.next().await? {
        // Each in a task of its own, so that a slow one holds up nobody.
        tokio::spawn(async move {
            let work = String::from_utf8_lossy(job.payload()).into_owned();
            println!("attempt {} at {work}", job.attempt());
            let settled = if work.contains("bad") {
                let note = Some("it was bad".into());
                job.nack(Outcome::Failed { delay: None, note })
            } else if work.contains("slow down") && job.attempt() == 1 {
                // As if the other side had answered 429 with Retry-After: nobody gets a message
                // under that key for 30 seconds, and nothing is counted against this one.
                job.throttled(Some(Duration::from_secs(30)))
            } else {
                job.ack()
            };
            if let Err(error) = settled {
                println!("{work}: {error}");
            }
        });
    }
    Ok(())
}
