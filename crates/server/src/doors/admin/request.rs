//! What an admin may ask, and the answers. A new command is a new variant.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use sluice_broker::Broker;
use sluice_model::{Code, Refusal};

use crate::doors::backups::told;

/// What may be asked: an object with one member, whose name says what.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// Whether anybody is there.
    Ping(Nothing),
    /// Begin a backup.
    Backup(Nothing),
    /// How the newest backup stands.
    BackupStatus(Nothing),
}

/// No arguments: an empty object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The answer to a line, without its end, and whether it is a refusal. `backups` is where backups
/// go, to be told.
pub(super) fn answer(broker: &Broker, backups: &Path, line: &[u8]) -> (String, bool) {
    let outcome = match serde_json::from_slice(line) {
        Ok(Request::Ping(Nothing {})) => Ok(json!({})),
        Ok(Request::Backup(Nothing {})) => {
            broker.backup().map(|status| told(&status, Some(backups)))
        }
        Ok(Request::BackupStatus(Nothing {})) => Ok(told(&broker.backup_status(), Some(backups))),
        Err(error) => Err(Refusal::new(Code::BadRequest, format!("no request: {error}"))),
    };
    match outcome {
        Ok(answer) => (json!({ "ok": answer }).to_string(), false),
        Err(refusal) => (refused(&refusal), true),
    }
}

/// The answer that refuses.
pub(super) fn refused(refusal: &Refusal) -> String {
    json!({ "error": { "code": refusal.code.name(), "message": refusal.message } }).to_string()
}
