//! B: confirmed publishes.

use super::{Cpu, Run, add_latencies};
use crate::compare::{Figure, Figures};
use crate::load::confirm::{self, Limits};
use crate::load::paced::{self, Pace};
use crate::targets::{Service, TargetError};

/// As fast as they go with so many in flight.
pub(super) fn closed(
    run: Run<'_>,
    service: &mut dyn Service,
    connections: usize,
    in_flight: usize,
) -> Result<Figures, TargetError> {
    let (streams, exchange) = service.putters(run.message(), connections)?;
    let duration = run.duration();
    let limits = Limits {
        in_flight,
        warm_up: duration / 8,
        duration,
        requests_max: service.room(exchange.request_bytes()),
    };
    let cpu = Cpu::start(service)?;
    let seen = confirm::drive(streams, &exchange, limits)?;
    let mut figures = Figures::from([(Figure::Rate, seen.rate())]);
    add_latencies(&seen.latencies, &mut figures);
    cpu.end(seen.sent, &mut figures)?;
    Ok(figures)
}

/// On a schedule.
pub(super) fn open(
    run: Run<'_>,
    service: &mut dyn Service,
    rate: u64,
) -> Result<Figures, TargetError> {
    let (mut streams, exchange) = service.putters(run.message(), 1)?;
    let stream = streams.pop().ok_or(TargetError::Unsupported)?;
    let duration = run.duration();
    let cpu = Cpu::start(service)?;
    let seen = paced::drive(stream, &exchange, Pace { rate, warm_up: duration / 8, duration })?;
    let mut figures = Figures::from([(Figure::Rate, seen.rate())]);
    add_latencies(&seen.latencies, &mut figures);
    cpu.end(seen.sent, &mut figures)?;
    Ok(figures)
}
