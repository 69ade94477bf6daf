//! D: a message is put, its answer awaited, it is taken and acknowledged, and then the next.
//!
//! The ack goes out with the next take, so a cycle is two round trips for everybody.

use std::time::Instant;

use super::{Cpu, Run, add_latencies};
use crate::compare::Figures;
use crate::load::{Tally, nanoseconds};
use crate::targets::{Service, TargetError};
use crate::wire::Conn;

pub(super) fn run(run: Run<'_>, service: &mut dyn Service) -> Result<Figures, TargetError> {
    let (mut streams, exchange) = service.putters(run.message(), 1)?;
    let mut putter = Conn::over(streams.pop().ok_or(TargetError::Unsupported)?)?;
    let mut consumer = service.consumer()?;
    let (duration, started) = (run.duration(), Instant::now());
    let mut latencies = nanoseconds();
    let mut tally = Tally::of(run.message());
    let mut last = 0;
    let cpu = Cpu::start(service)?;
    let mut cycles = 0;
    while started.elapsed() < duration + duration / 8 {
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
            return Err(std::io::Error::other(what).into());
        }
        if started.elapsed() >= duration / 8 {
            latencies.saturating_record(begins.elapsed().as_nanos() as u64);
        }
    }
    consumer.finish()?;
    let mut figures = Figures::new();
    add_latencies(&latencies, &mut figures);
    cpu.end(cycles, &mut figures)?;
    Ok(figures)
}
