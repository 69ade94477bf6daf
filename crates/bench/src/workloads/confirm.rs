//! B: confirmed publishes.

use std::net::TcpStream;

use super::{Cpu, Done, Job, add_latencies};
use crate::compare::{Figure, Figures};
use crate::load::Exchange;
use crate::load::confirm::{self, Limits};
use crate::load::paced::{self, Pace};
use crate::targets::{Service, TargetError};

/// As fast as they go with so many in flight.
pub(super) fn closed(
    job: Job,
    service: &mut dyn Service,
    connections: usize,
    in_flight: usize,
) -> Result<Done, TargetError> {
    let (streams, exchange) = service.putters(job.message, connections)?;
    count(job, service, streams, &exchange, in_flight)
}

/// The same with connections that are there.
pub(super) fn count(
    job: Job,
    service: &dyn Service,
    streams: Vec<TcpStream>,
    exchange: &Exchange,
    in_flight: usize,
) -> Result<Done, TargetError> {
    let limits = Limits {
        in_flight,
        warm_up: job.warm_up(),
        duration: job.duration,
        requests_max: service.room(exchange.request_bytes()),
    };
    let cpu = Cpu::start(service)?;
    let seen = confirm::drive(streams, exchange, limits)?;
    let mut figures = Figures::from([(Figure::Rate, seen.rate())]);
    add_latencies(&seen.latencies, &mut figures);
    cpu.end(seen.sent, &mut figures)?;
    Ok(Done { figures, sent: seen.sent })
}

/// On a schedule.
pub(super) fn open(job: Job, service: &mut dyn Service, rate: u64) -> Result<Done, TargetError> {
    let (mut streams, exchange) = service.putters(job.message, 1)?;
    let stream = streams.pop().ok_or(TargetError::Unsupported)?;
    let cpu = Cpu::start(service)?;
    let pace = Pace { rate, warm_up: job.warm_up(), duration: job.duration };
    let seen = paced::drive(stream, &exchange, pace)?;
    let mut figures = Figures::from([(Figure::Rate, seen.rate())]);
    add_latencies(&seen.latencies, &mut figures);
    cpu.end(seen.sent, &mut figures)?;
    Ok(Done { figures, sent: seen.sent })
}
