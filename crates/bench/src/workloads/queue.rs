//! C: a queue is filled, then emptied by consumers.

use std::time::Duration;

use super::{Cpu, Done, Job, Queue};
use crate::compare::{Figure, Figures};
use crate::load::Message;
use crate::load::confirm::{self, Limits, Seen};
use crate::load::consume;
use crate::targets::{Service, TargetError};
use crate::usage;

pub(super) fn run(job: Job, service: &mut dyn Service, queue: Queue) -> Result<Done, TargetError> {
    let cpu = Cpu::start(service)?;
    let resident = resident(service)?;
    let Queue { messages, fill_max: within, in_flight, .. } = queue;
    let seen = fill(service, job.message, Fill { messages, within, in_flight })?;
    let sent = seen.sent;
    let mut figures = Figures::from([(Figure::Rate, seen.rate())]);
    if let (Some(before), Some(after)) = (resident, self::resident(service)?) {
        let more = after.saturating_sub(before);
        figures.insert(Figure::MessageBytes, more as f64 / sent as f64);
    }
    let consumers =
        (0..queue.consumers).map(|_| service.consumer()).collect::<Result<Vec<_>, _>>()?;
    let taken = consume::drain(consumers, job.message, sent, queue.take)?;
    figures.insert(Figure::Takes, taken.messages as f64 / taken.elapsed.as_secs_f64());
    cpu.end(sent, &mut figures)?;
    Ok(Done { figures, sent })
}

/// What is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub(super) messages: u64,
    pub(super) within: Duration,
    pub(super) in_flight: usize,
}

/// Puts messages from 1 on.
pub(super) fn fill(
    service: &mut dyn Service,
    message: Message,
    fill: Fill,
) -> Result<Seen, TargetError> {
    let (streams, exchange) = service.putters(message, 1)?;
    let limits = Limits {
        in_flight: fill.in_flight,
        warm_up: Duration::ZERO,
        duration: fill.within,
        requests_max: fill.messages,
    };
    Ok(confirm::drive(streams, &exchange, limits)?)
}

fn resident(service: &dyn Service) -> Result<Option<u64>, TargetError> {
    Ok(service.pid().map(usage::resident_bytes).transpose()?)
}
