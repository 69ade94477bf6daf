//! What a session asks of the house it is in, where neither it nor the broker's session can say.

use serde_json::{Value, json};
use sluice_model::Refusal;

/// Whoever drives a session.
pub(crate) trait Host {
    /// Counts a request against the limits of its client and of all; whether it may go on at once.
    /// Otherwise [`super::session::Wants::Time`] is wanted.
    ///
    /// # Errors
    /// A limit refuses it.
    fn admit(&mut self) -> Result<bool, Refusal>;

    /// Stops the broker.
    ///
    /// # Errors
    /// The client may not.
    fn shut_down(&mut self) -> Result<(), Refusal>;

    /// How the broker stands.
    ///
    /// # Errors
    /// The client may not know.
    fn figures(&mut self) -> Result<Figures, Refusal>;
}

/// How the broker stands, as INFO and STATS tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) uptime_sec: u64,
    pub(crate) connections: u64,
    pub(crate) lines: u64,
    pub(crate) published: u64,
    pub(crate) acked: u64,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Figures {
    pub(super) fn to_text(self) -> String {
        let Self { uptime_sec, connections, lines, published, acked } = self;
        format!(
            "sluice {VERSION} uptime_sec={uptime_sec} connections={connections} lines={lines} \
             published={published} acked={acked}"
        )
    }

    pub(super) fn to_json(self) -> Value {
        let Self { uptime_sec, connections, lines, published, acked } = self;
        json!({
            "version": VERSION,
            "uptime_sec": uptime_sec,
            "connections": connections,
            "lines": lines,
            "published": published,
            "acked": acked,
        })
    }
}
