//! D: a message is put, its answer awaited, it is taken and acknowledged, and then the next.
//!
//! The ack goes out with the next take, so a cycle is two round trips for everybody: every message
//! is acknowledged, and that of each but the last is in the time of the cycle that follows.

use std::time::Instant;

use super::{Cpu, Done, Job, add_latencies};
use crate::compare::Figures;
use crate::load::{Tally, nanoseconds};
use crate::targets::{Service, TargetError};
use crate::wire::Conn;

pub(super) fn run(job: Job, service: &mut dyn Service) -> Result<Done, TargetError> {
    let (mut streams, exchange) = service.putters(job.message, 1)?;
    let mut putter = Conn::over(streams.pop().ok_or(TargetError::Unsupported)?)?;
    let mut consumer = service.consumer()?;
    let started = Instant::now();
    let mut latencies = nanoseconds();
    let mut tally = Tally::of(job.message);
    let mut last = 0;
    let cpu = Cpu::start(service)?;
    let mut cycles = 0;
    while started.elapsed() < job.warm_up() + job.duration {
        let begins = Instant::now();
        cycles += 1;
        exchange.put(cycles, 1, &mut putter.out);
        putter.flush()?;
        let answer = |input: &[u8]| {
            Ok((exchange.answer)(cycles, input)?.map(|(bytes, count)| (count, bytes)))
        };
        while putter.next(answer)? == 0 {}
        // A message that is confirmed may still need a moment until it is there.
        while consumer.turn(1, &mut |bytes| last = tally.message(bytes))? == 0 {}
        if last != cycles {
            let what = format!("message {last} came where {cycles} was due");
            return Err(TargetError::Messages(what));
        }
        if started.elapsed() >= job.warm_up() {
            latencies.saturating_record(begins.elapsed().as_nanos() as u64);
        }
    }
    consumer.finish()?;
    let mut figures = Figures::new();
    add_latencies(&latencies, &mut figures);
    cpu.end(cycles, &mut figures)?;
    Ok(Done { figures, sent: cycles })
}
