//! `sluice queue take`: messages under leases that any process may settle.

use std::io::{self, Write};

use sluice_client::{Receive, Settle, Token};

use crate::args::TakeArgs;
use crate::commands::{client, message};
use crate::failure::Failure;

pub(crate) fn run(args: &TakeArgs) -> Result<(), Failure> {
    let TakeArgs { one, max, wait, lease, ack } = args;
    client::block_on(async {
        let client = client::connect(&one.common.server).await?;
        let receive = Receive { max: *max, wait: *wait, lease: *lease, unbound: true };
        let messages = client.receive(one.queue.as_str(), receive).await?;
        let mut out = io::stdout().lock();
        for message in &messages {
            write(&mut out, message, args).map_err(Failure::other)?;
        }
        out.flush().map_err(Failure::other)?;
        if *ack {
            let tokens: Vec<Token> = messages.iter().filter_map(|one| one.token()).collect();
            if !tokens.is_empty() {
                super::settle::told(client.settle(&tokens, Settle::Ack).await?, tokens.len())?;
            }
        }
        drop(messages);
        Ok(client.close().await?)
    })
}

/// A line: token, tab, payload; with `--ack` the payload alone.
fn write(
    out: &mut impl Write,
    delivery: &sluice_client::Delivery,
    args: &TakeArgs,
) -> io::Result<()> {
    if args.one.common.json {
        let mut object = message::to_json(delivery);
        if args.ack
            && let Some(object) = object.as_object_mut()
        {
            object.remove("token");
        }
        return writeln!(out, "{object}");
    }
    if let Some(token) = delivery.token().filter(|_| !args.ack) {
        write!(out, "{token}\t")?;
    }
    out.write_all(delivery.payload())?;
    out.write_all(b"\n")
}
