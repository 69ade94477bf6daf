//! The workloads: what is done to a service in a case, and the figures that it gives.

mod confirm;
mod cycle;
mod idle;
mod pass;
mod queue;
mod restart;

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::compare::{Case, Figure, Figures, Plan};
use crate::load::Message;
use crate::targets::{Service, TargetError};
use crate::usage;

/// One run of a case.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// How much and how long.
    pub plan: &'a Plan,
    /// What.
    pub case: Case,
    /// Every byte is checked and nothing is timed.
    pub content: bool,
}

impl Run<'_> {
    fn message(&self) -> Message {
        Message { bytes: self.case.message_bytes(), content: self.content }
    }

    fn duration(&self) -> Duration {
        if self.content { self.plan.duration / 8 } else { self.plan.duration(self.case) }
    }
}

/// Runs it.
///
/// # Errors
/// The target failed, or messages were lost, doubled or changed.
pub fn run(run: Run<'_>, service: &mut dyn Service) -> Result<Figures, TargetError> {
    match run.case {
        Case::Pass { bytes, subscribers } => pass::run(run, service, bytes, subscribers),
        Case::Confirm { connections, in_flight, .. } => {
            confirm::closed(run, service, connections, in_flight)
        }
        Case::Pace { rate, .. } => confirm::open(run, service, rate),
        Case::Queue { take, .. } => queue::run(run, service, take),
        Case::Cycle { .. } => cycle::run(run, service),
        Case::Idle => idle::run(run, service),
        Case::Restart => restart::run(run, service),
    }
}

/// Whether it has a run that checks every byte: those where messages come back and are not
/// looked at one by one anyway.
pub fn has_content(case: Case) -> bool {
    matches!(case, Case::Pass { .. } | Case::Queue { .. })
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
    for (figure, quantile) in [(Figure::P50, 0.5), (Figure::P99, 0.99), (Figure::P999, 0.999)] {
        figures.insert(figure, latencies.value_at_quantile(quantile) as f64 / 1e3);
    }
}
