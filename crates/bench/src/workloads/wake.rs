//! J: how late a message comes that waited for its limit, and what waiting costs.
//!
//! One key is let through evenly. A receive waits for each of its messages: when a message may go
//! follows from when the broker leased the one before, which its lease's deadline tells. Then all
//! keys are held for an hour, and nothing is to happen while messages and receives wait.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::queue::{Fill, fill};
use super::{Done, Job, add_latencies};
use crate::compare::{Figure, Figures};
use crate::targets::{Service, TargetError};
use crate::usage;

/// Time between two messages of a key.
const STEP: Duration = Duration::from_millis(50);
const AN_HOUR: u32 = 3_600_000 / STEP.as_millis() as u32;
const KEYS: u32 = 10;
/// Messages that wait, a tenth of them of each key.
const MESSAGES: u64 = 20_000;
/// Messages that are waited for at least.
const WAKES_MIN: u32 = 40;
/// Receives that ask while nothing may go but the token that each key has left: four of them wait.
const RECEIVES: u32 = 4 + KEYS;
/// How long nothing happens.
const REST: Duration = Duration::from_secs(3);

pub(super) fn run(job: Job, service: &mut dyn Service) -> Result<Done, TargetError> {
    service.limit(AN_HOUR)?;
    let within = Duration::from_secs(20);
    let sent =
        fill(service, job.message, Fill { messages: MESSAGES, within, in_flight: 256 })?.sent;
    let mut figures = Figures::new();
    let late = wakes(job, service)?;
    add_latencies(&late, &mut figures);
    if let Some(pid) = service.pid() {
        let used = rest(service, pid)?;
        figures.insert(Figure::Rest, used.as_secs_f64() * 1e3 / REST.as_secs_f64());
    }
    Ok(Done { figures, sent })
}

/// Nanoseconds by which messages came later than they might, of all keys in turn.
fn wakes(job: Job, service: &mut dyn Service) -> Result<Histogram<u64>, TargetError> {
    let mut late = Histogram::new(3).map_err(std::io::Error::other)?;
    let mut consumer = service.waiting()?;
    let mut leased = VecDeque::new();
    for _ in 0..KEYS {
        consumer.ask()?;
        leased.push_back(consumer.take()?.leased);
        // So that no two keys are due together, and none waits for the take of another.
        thread::sleep(STEP / KEYS);
    }
    let wakes = (job.duration.as_millis() / STEP.as_millis()) as u32 * KEYS;
    for _ in 0..wakes.max(WAKES_MIN) {
        consumer.ask()?;
        let arrival = consumer.take()?;
        // Keys come in the order in which they came before.
        let before = leased.pop_front().unwrap_or_default();
        leased.push_back(arrival.leased);
        let eligible = before + STEP;
        if arrival.leased < eligible {
            let early = eligible - arrival.leased;
            return Err(TargetError::Messages(format!("a message came {early:?} too early")));
        }
        let nanoseconds = arrival.here.saturating_sub(eligible).as_nanos() as u64;
        late.record(nanoseconds.max(1)).map_err(std::io::Error::other)?;
    }
    Ok(late)
}

/// Processor time of the broker while everything waits.
fn rest(service: &mut dyn Service, pid: u32) -> Result<Duration, TargetError> {
    service.limit(1)?;
    let mut waiting = Vec::new();
    for _ in 0..RECEIVES {
        let mut consumer = service.waiting()?;
        consumer.ask()?;
        waiting.push(consumer);
    }
    // What the change of the limit brings is done by then, and a checkpoint.
    thread::sleep(REST);
    let before = usage::exact_cpu_time(pid)?;
    thread::sleep(REST);
    Ok(usage::exact_cpu_time(pid)?.saturating_sub(before))
}
