//! The schedule's rules, with time as an argument.

use std::time::Duration;

use sluice_flow::{Backoff, Rate, TokenLimit};

use super::schedule::{HostLimits, Next, Schedule};
use crate::desk::Settled;
use crate::host::Target;
use crate::job::Job;
use crate::urls::Listed;

const SECOND: u64 = 1_000_000;

fn schedule(per_host: u32, rate: Option<TokenLimit>, urls: &[&str]) -> Schedule {
    let second = Duration::from_secs(1);
    let backoff = Backoff { min: second, max: 8 * second, factor: 2.0, jitter: 0.0 };
    let mut schedule = Schedule::new(HostLimits { per_host, rate, backoff }, 1);
    for (url, line) in urls.iter().zip(1..) {
        schedule.add(Job::new(Listed { line, target: Target::read(url).unwrap() }));
    }
    schedule
}

/// All that may be done now: URLs, with what settles them.
fn take(schedule: &mut Schedule, now: u64) -> Vec<(String, Job, usize)> {
    let mut jobs = Vec::new();
    while let Next::Job(job, at) = schedule.next(now) {
        jobs.push((job.target.url.to_string(), job, at));
    }
    jobs
}

fn urls(jobs: &[(String, Job, usize)]) -> Vec<&str> {
    jobs.iter().map(|(url, ..)| url.as_str()).collect()
}

fn wait(schedule: &mut Schedule, now: u64) -> Option<u64> {
    match schedule.next(now) {
        Next::Wait(until) => until,
        Next::Job(job, _) => panic!("{job:?}"),
        Next::Done => panic!("all is done"),
    }
}

#[test]
fn hosts_take_turns_and_none_passes_its_cap() {
    let list = ["http://a/1", "http://a/2", "http://a/3", "http://b/1", "http://b/2"];
    let mut schedule = schedule(2, None, &list);
    let jobs = take(&mut schedule, 0);
    assert_eq!(urls(&jobs), ["http://a/1", "http://b/1", "http://a/2", "http://b/2"]);
    assert_eq!(wait(&mut schedule, 0), None);
    let (_, job, at) = jobs[0].clone();
    schedule.settle(at, job, Settled::Done, 1);
    assert_eq!(urls(&take(&mut schedule, 1)), ["http://a/3"]);
}

#[test]
fn all_is_done_when_the_last_job_is() {
    let mut schedule = schedule(2, None, &["http://a/1"]);
    let (_, job, at) = take(&mut schedule, 0).remove(0);
    schedule.settle(at, job, Settled::Released, 1);
    let (_, job, at) = take(&mut schedule, 1).remove(0);
    let other = job.redirected(Target::read("http://b/").unwrap());
    schedule.settle(at, job, Settled::Replaced(other), 2);
    let (url, job, at) = take(&mut schedule, 2).remove(0);
    assert_eq!((url.as_str(), job.requests()), ("http://b/", 1));
    assert_eq!(wait(&mut schedule, 2), None);
    schedule.settle(at, job, Settled::Done, 3);
    assert!(matches!(schedule.next(3), Next::Done));
}

#[test]
fn a_rate_spreads_the_requests_of_each_host() {
    let rate = TokenLimit::new(Rate::per_second(4).unwrap(), 1).unwrap();
    let mut schedule = schedule(9, Some(rate), &["http://a/1", "http://a/2", "http://b/1"]);
    assert_eq!(urls(&take(&mut schedule, 0)), ["http://a/1", "http://b/1"]);
    assert_eq!(wait(&mut schedule, 0), Some(SECOND / 4));
    assert_eq!(urls(&take(&mut schedule, SECOND / 4 - 1)), [""; 0]);
    assert_eq!(urls(&take(&mut schedule, SECOND / 4)), ["http://a/2"]);
}

#[test]
fn of_a_host_that_was_given_up_nothing_waits_for_its_limits() {
    let rate = TokenLimit::new(Rate::per_second(1).unwrap(), 1).unwrap();
    let mut schedule = schedule(3, Some(rate), &["http://a/1", "http://a/2", "http://a/3"]);
    let (_, job, at) = take(&mut schedule, 0).remove(0);
    assert_eq!(wait(&mut schedule, 0), Some(SECOND));
    schedule.settle(at, job, Settled::GivenUp, 0);
    let rest = take(&mut schedule, 0);
    assert_eq!(urls(&rest), ["http://a/2", "http://a/3"]);
    // One of them was out already, and is answered with a pause.
    let pause = Settled::Throttled(Some(Duration::from_secs(60)));
    schedule.settle(at, rest[0].1.clone(), pause, 0);
    schedule.settle(at, rest[1].1.clone(), Settled::Done, 0);
    assert_eq!(urls(&take(&mut schedule, 0)), ["http://a/2"]);
}

#[test]
fn what_failed_waits_longer_each_time_and_holds_up_nobody() {
    let mut schedule = schedule(1, None, &["http://a/1", "http://a/2"]);
    let (_, job, at) = take(&mut schedule, 0).remove(0);
    schedule.settle(at, job, Settled::Failed("no".to_owned()), 0);
    let (url, second, at) = take(&mut schedule, 0).remove(0);
    assert_eq!(url, "http://a/2");
    schedule.settle(at, second, Settled::Done, 0);
    assert_eq!(wait(&mut schedule, 0), Some(SECOND));
    let (_, job, at) = take(&mut schedule, SECOND).remove(0);
    assert_eq!((job.failures, job.requests()), (1, 1));
    schedule.settle(at, job, Settled::Failed("no".to_owned()), SECOND);
    assert_eq!(wait(&mut schedule, SECOND), Some(3 * SECOND));
}

#[test]
fn a_pause_is_for_the_whole_host_and_ends_with_one_request_at_a_time() {
    let list = ["http://a/1", "http://a/2", "http://a/3", "http://b/1", "http://b/2"];
    let mut schedule = schedule(2, None, &list);
    let jobs = take(&mut schedule, 0);
    // Both of a's are answered with a pause, the second one with a shorter one.
    for (job, seconds) in [(0, 3), (2, 1)] {
        let (_, job, at) = jobs[job].clone();
        schedule.settle(at, job, Settled::Throttled(Some(Duration::from_secs(seconds))), 0);
    }
    assert_eq!(wait(&mut schedule, 0), Some(3 * SECOND));
    // Both went back to their place; the last one to come is the first.
    let probe = take(&mut schedule, 3 * SECOND);
    assert_eq!(urls(&probe), ["http://a/2"]);
    assert_eq!(probe[0].1.throttled, 1);
    // A try that failed does not open it, a URL that is done does.
    let (_, job, at) = probe[0].clone();
    schedule.settle(at, job, Settled::Failed("no".to_owned()), 3 * SECOND);
    let next = take(&mut schedule, 3 * SECOND);
    assert_eq!(urls(&next), ["http://a/1"]);
    let (_, job, at) = next[0].clone();
    schedule.settle(at, job, Settled::Done, 4 * SECOND);
    assert_eq!(urls(&take(&mut schedule, 4 * SECOND)), ["http://a/2", "http://a/3"]);
}

#[test]
fn pauses_without_a_time_double_until_the_next_answer() {
    let mut schedule = schedule(1, None, &["http://a/1", "http://a/2"]);
    let mut now = 0;
    for seconds in [1, 2, 4] {
        let (_, job, at) = take(&mut schedule, now).remove(0);
        schedule.settle(at, job, Settled::Throttled(None), now);
        assert_eq!(wait(&mut schedule, now), Some(now + seconds * SECOND));
        now += seconds * SECOND;
    }
    let (_, job, at) = take(&mut schedule, now).remove(0);
    schedule.settle(at, job, Settled::Done, now);
    let (_, job, at) = take(&mut schedule, now).remove(0);
    schedule.settle(at, job, Settled::Throttled(None), now);
    assert_eq!(wait(&mut schedule, now), Some(now + SECOND));
}
