//! `sluice queue ack` and `nack`: leases end by their tokens.

use serde_json::json;
use sluice_client::{Outcome, Refused, Settle, Throttled, Token};

use crate::args::{AckArgs, CommonArgs, NackArgs};
use crate::commands::{client, print};
use crate::failure::Failure;

pub(crate) fn ack(args: &AckArgs) -> Result<(), Failure> {
    settle(&args.token, Settle::Ack, "acked", &args.common)
}

pub(crate) fn nack(args: &NackArgs) -> Result<(), Failure> {
    let note = args.note.as_deref().map(Into::into);
    let (outcome, word) = match (args.throttled, args.release, args.reject) {
        (Some(retry_after), _, _) => {
            let key = args.key.as_deref().map(Into::into);
            (Outcome::Throttled(Throttled { retry_after, key }), "throttled")
        }
        (_, true, _) => (Outcome::Released { delay: args.delay }, "released"),
        (_, _, true) => (Outcome::Rejected { note }, "rejected"),
        _ => (Outcome::Failed { delay: args.delay, note }, "failed"),
    };
    settle(&args.token, Settle::Nack(outcome), word, &args.common)
}

fn settle(
    tokens: &[Token],
    settle: Settle,
    word: &str,
    common: &CommonArgs,
) -> Result<(), Failure> {
    client::block_on(async {
        let client = client::connect(&common.server).await?;
        let refused = client.settle(tokens, settle).await?;
        client.close().await?;
        let settled = tokens.len().saturating_sub(refused.len());
        if common.json {
            let refused: Vec<_> = refused
                .iter()
                .map(|(token, refused)| {
                    json!({
                        "token": token.to_string(),
                        "status": refused.status,
                        "code": refused.code,
                    })
                })
                .collect();
            print(&format!("{}\n", json!({ "settled": settled, "refused": refused })))?;
        } else if settled > 0 {
            print(&format!("{word} {settled}\n"))?;
        }
        told(refused, tokens.len())
    })
}

/// Fails where leases were refused, and says which.
pub(super) fn told(refused: Vec<(Token, Refused)>, all: usize) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    let each: Vec<String> = refused
        .iter()
        .map(|(token, Refused { status, code, .. })| format!("\n{token}: {status} {code}"))
        .collect();
    let count = refused.len();
    Err(Failure::Other(format!("{count} of {all} leases were not settled{}", each.concat())))
}
