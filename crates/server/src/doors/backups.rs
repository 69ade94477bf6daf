//! Backups as doors tell of them.

use std::path::Path;

use serde_json::{Value, json};
use sluice_broker::{BackupDone, BackupState, BackupStatus};

/// How a backup stands, and where backups lie for who may know it.
pub(crate) fn told(status: &BackupStatus, backups: Option<&Path>) -> Value {
    let number = status.number;
    match &status.state {
        BackupState::Never => json!({ "number": number, "state": "never" }),
        BackupState::Running { done, total } => json!({
            "number": number, "state": "running", "done_bytes": done, "total_bytes": total,
        }),
        BackupState::Done(BackupDone { name, bytes, last, took, skipped, removed }) => {
            let mut told = json!({
                "number": number,
                "state": "done",
                "name": name,
                "bytes": bytes,
                "last_record": last,
                "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "skipped": skipped,
                "removed": removed,
            });
            if let (Some(backups), Some(told)) = (backups, told.as_object_mut()) {
                told.insert("directory".to_owned(), json!(backups.to_string_lossy()));
            }
            told
        }
        BackupState::Failed { code, reason } => json!({
            "number": number, "state": "failed", "code": code.name(), "reason": reason,
        }),
    }
}
