//! Messages with keys, limits of them, and receives that wait for both.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sluice_protocol::binary::v2::{Deliver, ServerFrame, TagRange};

use super::consumer::Taker;
use super::wire::{frame, refused};
use super::{Running, Sluice, local};
use crate::compare::Case;
use crate::targets::{Service, Side, Target, TargetError};
use crate::wire::Conn;

/// What every key begins with.
pub(super) const PREFIX: &str = "stripe:";
/// Lease of what waits.
const LEASE_MS: u32 = 30_000;
/// How long a receive waits at most.
const WAIT_MS: u32 = 60_000;

/// The first of so many keys, a power of ten.
pub(super) fn key(keys: u64) -> String {
    let digits = keys.max(10).ilog10() as usize;
    format!("{PREFIX}{:0digits$}", 0)
}

/// How many keys messages have in a case.
pub(super) fn keys_of(case: Case) -> Option<u64> {
    match case {
        Case::Keyed { keys } => Some(keys),
        Case::Held => Some(10),
        _ => None,
    }
}

/// A limit that never binds.
pub(super) fn loose() -> Value {
    limit(&json!({ "rate": "1000000/s", "burst": 1_000_000, "concurrency": 1_000_000 }))
}

/// A limit of so many an hour for each key, evenly.
pub(super) fn tight(an_hour: u32) -> Value {
    limit(&json!({ "rate": format!("{an_hour}/h"), "burst": 1 }))
}

fn limit(terms: &Value) -> Value {
    let mut limit = json!({
        "name": "bench",
        "scope": "key",
        "queue": ">",
        "key": format!("{PREFIX}*"),
    });
    let terms = terms.as_object().into_iter().flatten();
    for (name, value) in terms {
        limit[name.as_str()] = value.clone();
    }
    limit
}

/// Sluice without limits: what they could cost if they cost nothing.
pub(crate) struct Unlimited {
    pub(crate) sluice: Sluice,
    /// Messages have their keys all the same.
    pub(crate) keys: bool,
}

impl Target for Unlimited {
    fn name(&self) -> &'static str {
        if self.keys { "no limits" } else { "no keys" }
    }

    fn side(&self) -> Side {
        Side::Limit
    }

    fn version(&self) -> Result<String, TargetError> {
        let messages = if self.keys { "messages with keys" } else { "messages without keys" };
        Ok(format!("Sluice without limits, {messages}"))
    }

    fn settings(&self, case: Case) -> Option<String> {
        let is_meant = matches!(case, Case::Keyed { .. });
        is_meant.then(|| self.sluice.settings(case)).flatten()
    }

    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        let launch = self.sluice.launch(&Sluice::config(case), folder)?;
        let broker = launch.start()?;
        if let Some(level) = case.queue_level() {
            local(broker.tcp_addr()).declare(level)?;
        }
        let keys = keys_of(case).filter(|_| self.keys);
        Ok(Box::new(Running { launch, broker: Some(broker), is_prepared: false, keys }))
    }
}

/// A consumer whose receives wait.
pub struct Waiting(Taker);

/// When a message came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When the broker leased it, as it counts: in whole milliseconds since the epoch.
    pub leased: Duration,
    /// When it was here.
    pub here: Duration,
}

impl Waiting {
    pub(super) fn new(conn: Conn, queue: String) -> Self {
        Self(Taker::new(conn, queue))
    }

    /// Acknowledges what it has, and asks for one message.
    ///
    /// # Errors
    /// The connection broke.
    pub fn ask(&mut self) -> io::Result<()> {
        self.0.ask(1, WAIT_MS, LEASE_MS)
    }

    /// Waits for the message that was asked for.
    ///
    /// # Errors
    /// Another answer came, or the connection broke.
    pub fn take(&mut self) -> io::Result<Arrival> {
        let Taker { conn, held, .. } = &mut self.0;
        conn.next(|input| {
            let Some((frame, end)) = frame(input)? else { return Ok(None) };
            let ServerFrame::Deliver(deliver) = &frame else { return Err(refused(&frame)) };
            let Deliver::AtLeastOnce(deliveries) = &deliver.messages else {
                return Err(refused(&frame));
            };
            let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let first = deliveries.tag();
            *held = Some(TagRange { first, last: first + u64::from(deliveries.count()) - 1 });
            let deadline = deliveries.iter().next().map_or(0, |it| it.deadline.as_millis());
            let leased = Duration::from_millis(deadline.saturating_sub(LEASE_MS.into()));
            Ok(Some((Arrival { leased, here }, end)))
        })
    }
}
