//! Which job may be done now, in one process: hosts with their caps, rates and pauses.
//!
//! A host with jobs is in one place: in the ring of those that may be tried, under a time before
//! which it can't be, or nowhere while all its permits are out. Nothing is searched for. The rules
//! are those that the broker has for keys: a pause is for the whole host, the bucket is empty after
//! it, and until a job of it is done one request is out at a time. Of a host that was given up nothing
//! is asked, so no limit holds its jobs up.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use sluice_flow::{Backoff, Bucket, Random, TokenLimit};

use crate::desk::Settled;
use crate::host::Host;
use crate::job::Job;

/// Pauses of a host that does not say how long.
const PAUSES: Backoff =
    Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60), factor: 2.0, jitter: 0.0 };

/// Limits of each host.
pub(crate) struct HostLimits {
    /// Most jobs out at once.
    pub(crate) per_host: u32,
    /// Most jobs in a period.
    pub(crate) rate: Option<TokenLimit>,
    /// Pauses of jobs that failed.
    pub(crate) backoff: Backoff,
}

/// What there is to do. Times are microseconds since any fixed moment.
pub(crate) enum Next {
    /// This.
    Job(Job, usize),
    /// Nothing before this time, or before a job comes back.
    Wait(Option<u64>),
    /// Nothing any more.
    Done,
}

/// Jobs by host.
pub(crate) struct Schedule {
    limits: HostLimits,
    hosts: Vec<HostState>,
    by_host: HashMap<Host, usize>,
    /// Hosts that may be tried, in turn.
    ring: VecDeque<usize>,
    /// Hosts that may not before a time.
    timed: BTreeSet<(u64, usize)>,
    /// Jobs that failed, by when they may be tried again.
    later: BTreeMap<(u64, u64), Job>,
    /// Jobs that are not done, those that are out included.
    open: usize,
    /// Tells jobs of the same time apart.
    count: u64,
    random: Random,
}

#[derive(Default)]
struct HostState {
    waiting: VecDeque<Job>,
    out: u32,
    bucket: Bucket,
    paused_until: u64,
    /// Pauses without a time since the last job that was done.
    throttles: u32,
    /// One at a time until a job is done.
    probing: bool,
    /// It is in the ring or under a time.
    placed: bool,
    /// Under which time it was last.
    timed: u64,
    /// It is asked no more.
    given_up: bool,
}

impl Schedule {
    /// Without jobs. The pauses of failures follow from `seed`.
    pub(crate) fn new(limits: HostLimits, seed: u64) -> Self {
        Self {
            limits,
            hosts: Vec::new(),
            by_host: HashMap::new(),
            ring: VecDeque::new(),
            timed: BTreeSet::new(),
            later: BTreeMap::new(),
            open: 0,
            count: 0,
            random: Random::new(seed),
        }
    }

    /// A new job.
    pub(crate) fn add(&mut self, job: Job) {
        self.open += 1;
        self.put(job, false);
    }

    /// The next job that may be done at `now`.
    pub(crate) fn next(&mut self, now: u64) -> Next {
        self.advance(now);
        while let Some(at) = self.ring.pop_front() {
            let Some(host) = self.hosts.get_mut(at) else { continue };
            host.placed = false;
            match host.try_at(now, &mut self.limits) {
                Tried::Job(job) => {
                    self.place(at);
                    return Next::Job(*job, at);
                }
                Tried::Until(time) => {
                    (host.placed, host.timed) = (true, time);
                    self.timed.insert((time, at));
                }
                Tried::Nothing => {}
            }
        }
        if self.open == 0 {
            return Next::Done;
        }
        let times =
            [self.timed.first().map(|(time, _)| *time), self.later.keys().next().map(|key| key.0)];
        Next::Wait(times.into_iter().flatten().min())
    }

    /// A job that was out at this host comes back at `now`.
    pub(crate) fn settle(&mut self, at: usize, mut job: Job, settled: Settled, now: u64) {
        let Some(host) = self.hosts.get_mut(at) else { return };
        host.out = host.out.saturating_sub(1);
        if matches!(settled, Settled::Done | Settled::Replaced(_)) {
            (host.throttles, host.probing) = (0, false);
        }
        match settled {
            Settled::Done => self.open -= 1,
            Settled::GivenUp => {
                self.open -= 1;
                host.given_up = true;
                if self.timed.remove(&(host.timed, at)) {
                    self.ring.push_back(at);
                }
            }
            Settled::Replaced(job) => self.put(job, false),
            Settled::Released => self.put(job, true),
            Settled::Failed(_) => {
                job.failures += 1;
                let pause = self.limits.backoff.delay(job.failures, self.random.number());
                self.count += 1;
                self.later.insert((now.saturating_add(micros(pause)), self.count), job);
            }
            Settled::Throttled(after) => {
                job.throttled += 1;
                host.pause(after, now, self.limits.rate.as_ref());
                self.put(job, true);
            }
        }
        self.place(at);
    }

    /// What has waited for its time may go on.
    fn advance(&mut self, now: u64) {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let job = entry.remove();
            self.put(job, true);
        }
        while let Some((time, at)) = self.timed.first().copied().filter(|(time, _)| *time <= now) {
            self.timed.remove(&(time, at));
            self.ring.push_back(at);
        }
    }

    fn put(&mut self, job: Job, first: bool) {
        let at = match self.by_host.get(&job.target.host) {
            Some(at) => *at,
            None => {
                self.by_host.insert(job.target.host.clone(), self.hosts.len());
                self.hosts.push(HostState::default());
                self.hosts.len() - 1
            }
        };
        if let Some(host) = self.hosts.get_mut(at) {
            match first {
                true => host.waiting.push_front(job),
                false => host.waiting.push_back(job),
            }
        }
        self.place(at);
    }

    /// Sees that a host with jobs and a permit gets its turn.
    fn place(&mut self, at: usize) {
        let per_host = self.limits.per_host;
        if let Some(host) = self.hosts.get_mut(at)
            && !host.placed
            && !host.waiting.is_empty()
            && host.out < host.permits(per_host)
        {
            host.placed = true;
            self.ring.push_back(at);
        }
    }
}

enum Tried {
    Job(Box<Job>),
    Until(u64),
    Nothing,
}

impl HostState {
    fn permits(&self, per_host: u32) -> u32 {
        if self.probing { 1 } else { per_host }
    }

    fn try_at(&mut self, now: u64, limits: &mut HostLimits) -> Tried {
        if self.waiting.is_empty() || self.out >= self.permits(limits.per_host) {
            return Tried::Nothing;
        }
        if !self.given_up
            && let Some(time) = self.limited(now, limits)
        {
            return Tried::Until(time);
        }
        self.out += 1;
        self.waiting.pop_front().map_or(Tried::Nothing, |job| Tried::Job(Box::new(job)))
    }

    /// Until when its pause or its rate holds it up; else it has taken what the rate asks for.
    fn limited(&mut self, now: u64, limits: &mut HostLimits) -> Option<u64> {
        if self.paused_until > now {
            return Some(self.paused_until);
        }
        let limited = limits.rate.as_mut()?.take(&mut self.bucket, 1, now).err()?;
        Some(limited.eligible_at)
    }

    fn pause(&mut self, after: Option<Duration>, now: u64, rate: Option<&TokenLimit>) {
        let pause = match after {
            Some(after) => after,
            // Requests that one pause hits don't make it longer.
            None if self.paused_until > now => Duration::ZERO,
            None => {
                self.throttles += 1;
                PAUSES.delay(self.throttles, 0)
            }
        };
        self.paused_until = self.paused_until.max(now.saturating_add(micros(pause)));
        self.probing = true;
        if let Some(rate) = rate {
            rate.drain(&mut self.bucket, self.paused_until);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
