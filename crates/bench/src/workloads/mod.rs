//! The workloads: what is done to a service in a case, and the figures that it gives.

mod confirm;
mod cycle;
mod http;
mod idle;
mod job;
mod keys;
mod pass;
mod queue;
mod restart;
mod wake;

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::compare::{Case, Figure, Figures, LATENCIES};
use crate::targets::{Service, TargetError};
use crate::usage;

pub use job::{Job, Queue, Work};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was measured.
    pub figures: Figures,
    /// Messages that were sent, all of which the target took.
    pub sent: u64,
}

/// Runs it.
///
/// # Errors
/// The target failed, or messages were lost, doubled or changed.
pub fn run(job: Job, service: &mut dyn Service) -> Result<Done, TargetError> {
    match job.work {
        Work::Pass { subscribers } => pass::run(job, service, subscribers),
        Work::Confirm { connections, in_flight } => {
            confirm::closed(job, service, connections, in_flight)
        }
        Work::Pace { rate } => confirm::open(job, service, rate),
        Work::Queue(queue) => queue::run(job, service, queue),
        Work::Cycle => cycle::run(job, service),
        Work::Idle { connections } => idle::run(service, connections),
        Work::Http { connections } => http::run(job, service, connections),
        Work::Keys { work, connections, pipeline } => {
            keys::run(job, service, work, connections, pipeline)
        }
        Work::Wake => wake::run(job, service),
        Work::Restart { messages } => restart::run(job, service, messages),
    }
}

/// Whether it has a run that checks every byte: those where messages come back and are not
/// looked at one by one anyway.
pub fn has_content(case: Case) -> bool {
    matches!(case, Case::Pass { .. } | Case::Queue { .. } | Case::Keyed { .. })
}

/// The broker's processor time, from a moment on.
struct Cpu(Option<(u32, Duration)>);

impl Cpu {
    fn start(service: &dyn Service) -> io::Result<Self> {
        let start = |pid| usage::cpu_time(pid).map(|time| (pid, time));
        Ok(Self(service.pid().map(start).transpose()?))
    }

    /// Adds what was used for so many messages.
    fn end(self, messages: u64, figures: &mut Figures) -> io::Result<()> {
        if let Some((pid, before)) = self.0 {
            let used = usage::cpu_time(pid)?.saturating_sub(before);
            figures.insert(Figure::Cpu, used.as_secs_f64() * 1e6 / messages.max(1) as f64);
        }
        Ok(())
    }
}

/// Adds percentiles of nanoseconds.
fn add_latencies(latencies: &Histogram<u64>, figures: &mut Figures) {
    for figure in LATENCIES {
        let nanoseconds = figure.quantile().map(|share| latencies.value_at_quantile(share));
        figures.extend(nanoseconds.map(|nanoseconds| (figure, nanoseconds as f64 / 1e3)));
    }
}
