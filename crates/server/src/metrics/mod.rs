//! What there is to be watched, as text for Prometheus.
//!
//! ```text
//! queues.rs  survey, part after part --.
//! gather.rs  counters and gauges ------+--> samples.rs --> OpenMetrics --> format.rs: as accepted
//! process.rs the process --------------'       '-- family.rs: the table of all there is
//! ```
//!
//! Counters belong to the process and never go down. No label holds anything of a message, and
//! `metrics_queues_max` bounds the queues that have labels of their own.

mod config;
mod family;
mod format;
mod gather;
mod process;
mod queues;
#[cfg(test)]
mod reference;
mod samples;

pub use config::MetricsConfig;
pub(crate) use format::Format;

use std::sync::Arc;

use sluice_model::{Code, Refusal};

use crate::doors::Shared;

/// All there is, as it stands now, in this format.
///
/// # Errors
/// The process ends.
pub(crate) async fn page(shared: &Arc<Shared>, format: Format) -> Result<String, Refusal> {
    // Looking at many queues costs something, so nobody does it beside somebody else.
    let _turn = shared.scrape.lock().await;
    let queues = queues::survey(shared).await;
    // Ten thousand lines take a worker's time that its connections need.
    let write = {
        let shared = Arc::clone(shared);
        move || format.write(gather::all(&shared, queues))
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|_| Refusal::new(Code::Internal, "the metrics could not be written"))
}
