//! A watch that is held under load until the broker is killed: what it was told has to be so for good.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::keys::{ask, hear};
use super::{KillError, broken};
use crate::wire::Conn;

/// One of a writer's keys.
pub(super) struct HeldWatch {
    namespace: String,
    /// The change behind which it began.
    begun: Option<u64>,
    /// What it was told, by number.
    told: BTreeMap<u64, Value>,
    /// It was told that some are missing.
    missed: bool,
}

impl HeldWatch {
    pub(super) fn new(namespace: String) -> Self {
        Self { namespace, begun: None, told: BTreeMap::new(), missed: false }
    }

    /// Listens until the broker is gone.
    pub(super) fn hold(&mut self, addr: SocketAddr) -> Result<(), KillError> {
        (self.begun, self.missed) = (None, false);
        let Ok(mut conn) = Conn::open(addr) else { return Ok(()) };
        let request = json!({"action": "WATCH", "namespace": self.namespace, "prefix": true});
        let Ok(answer) = ask(&mut conn, &request) else { return Ok(()) };
        let Some(begun) = answer["result"]["revision"].as_u64() else {
            return broken(format!("{request} was answered {answer}"));
        };
        self.begun = Some(begun);
        let mut before = begun;
        while let Ok(event) = hear(&mut conn) {
            let revision = event["revision"].as_u64().unwrap_or_default();
            if event["event"] == "gap" {
                self.missed = true;
                continue;
            }
            if revision <= before {
                return broken(format!("a watch under load told {event} behind {before}"));
            }
            before = revision;
            self.told.insert(revision, event);
        }
        Ok(())
    }

    /// What it was told since it was last asked, of which nothing that was acknowledged meanwhile may be
    /// missing.
    pub(super) fn take(&mut self, acked: &[u64]) -> Result<BTreeMap<u64, Value>, KillError> {
        let told = std::mem::take(&mut self.told);
        if let (Some(begun), Some((last, _)), false) =
            (self.begun, told.last_key_value(), self.missed)
        {
            let due = begun + 1..=*last;
            let missing = acked.iter().find(|at| due.contains(at) && !told.contains_key(at));
            if let Some(revision) = missing {
                return broken(format!("a watch under load passed over change {revision}"));
            }
        }
        Ok(told)
    }
}
