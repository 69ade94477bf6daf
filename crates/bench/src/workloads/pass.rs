//! A: one publisher, messages that nobody confirms, none of them lost.

use super::{Cpu, Done, Job};
use crate::compare::{Figure, Figures};
use crate::load::pass::{self, Limits};
use crate::targets::{Service, TargetError};

/// Bytes of messages that may be on their way.
const LEAD: usize = 4 << 20;
/// The same where each is delivered many times.
const LEAD_MANY: usize = 1 << 20;

pub(super) fn run(
    job: Job,
    service: &mut dyn Service,
    subscribers: usize,
) -> Result<Done, TargetError> {
    let message = job.message;
    let publisher = service.publisher(message)?;
    let subscribers =
        (0..subscribers).map(|_| service.subscriber(message)).collect::<Result<Vec<_>, _>>()?;
    let lead = if subscribers.len() == 1 { LEAD } else { LEAD_MANY } / message.bytes;
    // A message may be larger than that.
    let lead = lead.max(2) as u64;
    let limits = Limits { warm_up: job.warm_up(), duration: job.duration, lead };
    let cpu = Cpu::start(service)?;
    let passed = pass::run(publisher, subscribers, message, limits)?;
    let mut figures = Figures::from([(Figure::Rate, passed.rate())]);
    cpu.end(passed.all, &mut figures)?;
    Ok(Done { figures, sent: passed.all })
}
