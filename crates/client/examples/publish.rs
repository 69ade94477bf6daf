//! Publishes lines to a topic, many at once, and says what became of each.
//!
//! `cargo run -p sluice-client --example publish -- orders.eu one two three`

use sluice_client::{Client, Options, PublishError};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "demo".to_owned());
    let client = Client::connect("127.0.0.1:5555", Options::default()).await?;
    let publisher = client.to_topic(&topic).with_receipts();
    // All are on their way before the first one is waited for.
    let mut confirms = Vec::new();
    for message in args {
        confirms.push((message.clone(), publisher.publish(message).await));
    }
    for (message, confirm) in confirms {
        match confirm.await {
            Ok(receipt) => println!("{message}: safe, {receipt:?}"),
            Err(PublishError::Rejected(refused)) => println!("{message}: not taken, {refused}"),
            Err(PublishError::Indeterminate(why)) => println!("{message}: nobody knows, {why}"),
        }
    }
    client.close().await?;
    Ok(())
}
