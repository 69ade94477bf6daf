//! G: connections that are ready and do nothing.

use super::Done;
use crate::compare::{Figure, Figures};
use crate::targets::{Service, TargetError};
use crate::usage;

/// Descriptors that are kept for everything else.
const OTHERS: u64 = 300;
/// Connections before the first that counts, which make room that is made once.
const FIRST: usize = 100;

pub(super) fn run(service: &mut dyn Service, wanted: u64) -> Result<Done, TargetError> {
    let count = idle_connections(wanted);
    let pid = service.pid().ok_or(TargetError::Unsupported)?;
    let mut held = Vec::new();
    for _ in 0..FIRST {
        held.push(service.idle()?);
    }
    let before = usage::resident_bytes(pid)?;
    for _ in 0..count {
        held.push(service.idle()?);
    }
    let more = usage::resident_bytes(pid)?.saturating_sub(before);
    drop(held);
    let figures = Figures::from([(Figure::ConnectionBytes, more as f64 / count as f64)]);
    Ok(Done { figures, sent: 0 })
}

/// As many as are wanted and the descriptors of this process allow.
pub(crate) fn idle_connections(wanted: u64) -> u64 {
    wanted.min(usage::descriptors_max().saturating_sub(OTHERS + FIRST as u64))
}
