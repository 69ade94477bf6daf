//! Prints what is published to a pattern, under a durable name: what comes while it is away waits.
//!
//! `cargo run -p sluice-client --example subscribe -- 'orders.>' audit`

use sluice_client::{Client, Options, Subscribe};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let pattern = args.next().unwrap_or_else(|| ">".to_owned());
    let name = args.next().unwrap_or_else(|| "audit".to_owned());
    let client = Client::connect("127.0.0.1:5555", Options::default()).await?;
    let mut messages = client.subscribe(&pattern, Subscribe::durable(name)).await?;
    while let Some(message) = messages.next().await? {
        println!("{}: {}", message.topic(), String::from_utf8_lossy(message.payload()));
        message.ack()?;
    }
    Ok(())
}
