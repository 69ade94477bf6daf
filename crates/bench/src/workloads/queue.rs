//! C: a queue is filled, then emptied by four consumers.

use std::time::Duration;

use super::{Cpu, Run};
use crate::compare::{Figure, Figures};
use crate::load::Message;
use crate::load::confirm::{self, Limits, Seen};
use crate::load::consume;
use crate::targets::{Service, TargetError};
use crate::usage;

const CONSUMERS: usize = 4;
const IN_FLIGHT: usize = 256;
/// A target that syncs each put alone fills less than is asked for.
const FILL_MAX: Duration = Duration::from_secs(20);
/// No end but the count.
const UNTIL_DONE: Duration = Duration::from_secs(3600);
/// Part of the messages that a run needs that is not timed.
const CONTENT_PART: u64 = 10;

pub(super) fn run(
    run: Run<'_>,
    service: &mut dyn Service,
    take: usize,
) -> Result<Figures, TargetError> {
    let wanted = run.plan.scale.queued / if run.content { CONTENT_PART } else { 1 };
    let cpu = Cpu::start(service)?;
    let resident = resident(service)?;
    let seen = fill_within(service, run.message(), wanted, FILL_MAX)?;
    let queued = seen.sent;
    let mut figures = Figures::from([(Figure::Rate, seen.rate())]);
    if let (Some(before), Some(after)) = (resident, self::resident(service)?) {
        let more = after.saturating_sub(before);
        figures.insert(Figure::MessageBytes, more as f64 / queued as f64);
    }
    let consumers = (0..CONSUMERS).map(|_| service.consumer()).collect::<Result<Vec<_>, _>>()?;
    let taken = consume::drain(consumers, run.message(), queued, take)?;
    figures.insert(Figure::Takes, taken.messages as f64 / taken.elapsed.as_secs_f64());
    cpu.end(queued, &mut figures)?;
    Ok(figures)
}

/// Puts messages 1 to `count`, so many in flight.
pub(super) fn fill(
    service: &mut dyn Service,
    message: Message,
    count: u64,
) -> Result<Seen, TargetError> {
    fill_within(service, message, count, UNTIL_DONE)
}

fn fill_within(
    service: &mut dyn Service,
    message: Message,
    count: u64,
    duration: Duration,
) -> Result<Seen, TargetError> {
    let (streams, exchange) = service.putters(message, 1)?;
    let limits =
        Limits { in_flight: IN_FLIGHT, warm_up: Duration::ZERO, duration, requests_max: count };
    Ok(confirm::drive(streams, &exchange, limits)?)
}

fn resident(service: &dyn Service) -> Result<Option<u64>, TargetError> {
    Ok(service.pid().map(usage::resident_bytes).transpose()?)
}
