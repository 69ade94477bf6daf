//! E: keys are set or read, and afterwards every key has a value of its own.

use std::time::Duration;

use super::confirm::count;
use super::{Done, Job};
use crate::compare::KeyWork;
use crate::load::KEYS;
use crate::load::confirm::{self, Limits};
use crate::targets::{Service, TargetError};

/// Requests in flight where nothing is timed.
const IN_FLIGHT: usize = 100;
/// Time in which all keys are set, or read.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(
    job: Job,
    service: &mut dyn Service,
    work: KeyWork,
    connections: usize,
    pipeline: usize,
) -> Result<Done, TargetError> {
    once(job, service, KeyWork::Set)?;
    let (streams, exchange) = service.keys(job.message, work, connections)?;
    let done = count(job, service, streams, &exchange, pipeline)?;
    once(job, service, KeyWork::Get)?;
    Ok(done)
}

/// Sets or reads every key once. What is read is checked.
fn once(job: Job, service: &mut dyn Service, work: KeyWork) -> Result<(), TargetError> {
    let (streams, exchange) = service.keys(job.message, work, 1)?;
    let limits = Limits {
        in_flight: IN_FLIGHT,
        warm_up: Duration::ZERO,
        duration: PATIENCE,
        requests_max: KEYS,
    };
    let seen = confirm::drive(streams, &exchange, limits)?;
    match seen.answered {
        KEYS => Ok(()),
        some => Err(TargetError::Messages(format!("{some} of {KEYS} keys in {PATIENCE:?}"))),
    }
}
