//! What sites see: caps, rates and pauses, in every mode.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sluice_fetch::testing::{FAILING, Reply, SLOW, Site, THROTTLING, ten};
use sluice_fetch::{Mode, Options};

use crate::setup::{options, run};

const PATHS: usize = 8;
const PER_HOST: u32 = 3;

#[test]
fn ten_sites_see_no_more_than_their_caps_and_every_url_has_its_result() {
    for mode in Mode::ALL {
        let ten = ten().unwrap();
        let options = Options { concurrency: 20, per_host: PER_HOST, ..options() };
        let (summary, outcomes) = run(mode, options, &ten.list(PATHS));
        assert_eq!((summary.urls, summary.left), (80, 0), "{mode}");
        let mut lines: Vec<u64> = outcomes.iter().map(|outcome| outcome.line.unwrap()).collect();
        lines.sort_unstable();
        assert_eq!(lines, (3..83).collect::<Vec<u64>>(), "{mode}");
        let cap = if mode == Mode::Seq { 1 } else { PER_HOST };
        for site in &ten.sites {
            let at_once = site.seen().at_once;
            assert!(at_once <= cap, "{mode}: {at_once} at once at {}", site.addr());
        }
        if mode != Mode::Seq {
            assert_eq!(ten.sites[SLOW].seen().at_once, PER_HOST, "{mode}");
        }
        let seen = ten.sites[THROTTLING].seen();
        assert_eq!((seen.in_pauses, summary.throttled), (0, 2), "{mode}: {seen:?}");
        assert_eq!(seen.requests, PATHS as u64 + 2, "{mode}");
        // One path is not there; the others come at the third try.
        assert_eq!(ten.sites[FAILING].seen().requests, 3 * PATHS as u64 - 2, "{mode}");
        assert_eq!(summary.errors, BTreeMap::from([("status_404".to_owned(), 1)]), "{mode}");
        assert_eq!((summary.ok, summary.retries), (79, 2 * (PATHS as u64 - 1)), "{mode}");
        assert_eq!(summary.requests, 80 + 2 + 14, "{mode}");
    }
}

#[test]
fn a_rate_holds_for_each_host_in_every_interval() {
    for mode in [Mode::Threads, Mode::Async] {
        let sites = [1, 2].map(|n| Site::start(n, |_, _| Reply::ok()).unwrap());
        let list: Vec<String> = (0..8)
            .flat_map(|path| sites.each_ref().map(|site| site.url(&format!("/{path}"))))
            .collect();
        let options = Options { rate: Some("20/s".parse().unwrap()), ..options() };
        let since = Instant::now();
        let (summary, _) = run(mode, options, &list.join("\n"));
        assert_eq!(summary.ok, 16, "{mode}");
        for site in &sites {
            // However late the first ones come, the eighth must not before its time.
            let took = site.seen().begun.last().unwrap().duration_since(since);
            assert!(took >= Duration::from_millis(7 * 50), "{mode}: {took:?}");
        }
    }
}

#[test]
fn a_rate_does_not_hold_up_what_is_left_of_a_host_that_was_given_up() {
    let site = Site::start(1, |_, _| Reply::pause(429, 3_600, false)).unwrap();
    let list: Vec<String> = (0..5).map(|path| site.url(&format!("/{path}"))).collect();
    let options = Options { rate: Some("6/m".parse().unwrap()), ..options() };
    let (summary, _) = run(Mode::Async, options, &list.join("\n"));
    assert_eq!(summary.errors, BTreeMap::from([("throttled".to_owned(), 5)]));
    assert_eq!(summary.requests, 1);
    // Two more would have had to wait longer.
    assert!(summary.elapsed_ms < 20_000.0, "{summary:?}");
}

#[test]
fn a_host_that_only_asks_for_pauses_is_given_up_and_holds_up_nobody() {
    for mode in Mode::ALL {
        let long = Site::start(1, |_, _| Reply::pause(429, 3_600, false)).unwrap();
        let often = Site::start(2, |_, _| Reply::pause(503, 0, false)).unwrap();
        let good = Site::start(3, |_, _| Reply::ok()).unwrap();
        let list: Vec<String> = (0..6)
            .flat_map(|path| [&long, &often, &good].map(|site| site.url(&format!("/{path}"))))
            .collect();
        let options = Options { pauses_max: 2, per_host: 2, ..options() };
        let (summary, outcomes) = run(mode, options, &list.join("\n"));
        assert_eq!(summary.errors, BTreeMap::from([("throttled".to_owned(), 12)]), "{mode}");
        assert_eq!((summary.ok, summary.given_up.len()), (6, 2), "{mode}");
        // No more than were out when it asked.
        assert!(long.seen().requests <= 2, "{mode}: {:?}", long.seen());
        let texts: Vec<_> =
            outcomes.iter().filter_map(|outcome| outcome.error.clone()).map(|it| it.text).collect();
        let said = |text| texts.iter().any(|it| it == text);
        assert!(said("the host asks for a pause of 3600 s"), "{mode}: {texts:?}");
        assert!(said("the host asked for 3 pauses in a row"), "{mode}: {texts:?}");
        assert!(said("its host was given up"), "{mode}: {texts:?}");
    }
}
