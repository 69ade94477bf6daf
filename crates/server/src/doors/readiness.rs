//! Whether there is any use in asking: what taking messages depends on, and how each thing stands.

use sluice_broker::{Pressure, Stats};

use super::Shared;

/// One thing that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What is wrong with it, if anything is.
    pub(crate) fault: Option<String>,
}

/// How each thing stands, but for what the connection alone knows.
pub(crate) fn checks(shared: &Shared, stats: &Stats) -> [Check; 4] {
    let check =
        |name, is_bad: bool, fault: &dyn Fn() -> String| Check { name, fault: is_bad.then(fault) };
    let waits = stats.replay_bytes >= stats.replay_bound / 4 * 3;
    let (used, max) = shared.broker.memory().usage();
    let is_short = shared.broker.memory().pressure() >= Pressure::High;
    [
        check("log", stats.log_failed, &|| "a write or sync failed; the broker ends".into()),
        check("disk", stats.disk_is_low, &|| {
            format!("{} bytes are free, so publishes are refused", stats.disk_free)
        }),
        check("checkpoints", stats.checkpoints_fail && waits, &|| {
            "none can be written, so publishes are refused".into()
        }),
        check("memory", is_short, &|| {
            format!("{used} bytes of {max} are used, so publishes are refused")
        }),
    ]
}
