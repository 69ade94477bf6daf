//! How a URL can end: redirects, closed connections, answers that are too long or too late.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_fetch::testing::{Reply, Site};
use sluice_fetch::{Mode, Options, Outcome, Route, Stopper, Watch, stop};

use crate::setup::{one, options, watched};

fn ends(outcome: &Outcome) -> (&str, u32) {
    (outcome.error.as_ref().map_or("ok", |fault| &fault.kind), outcome.requests)
}

#[test]
fn redirects_count_at_the_host_that_they_lead_to() {
    for mode in Mode::ALL {
        let to = Site::start(2, |path, count| match (path, count) {
            ("/end", 1) => Reply::status(500),
            ("/end", _) => Reply::ok(),
            _ => Reply::moved("/end"),
        })
        .unwrap();
        let there = to.url("/on");
        let from = Site::start(1, move |_, _| Reply::moved(&there)).unwrap();
        let outcome = one(mode, options(), &from.url("/"));
        assert_eq!(ends(&outcome), ("ok", 4), "{mode}");
        assert_eq!((outcome.redirects, outcome.retries), (2, 1), "{mode}");
        assert_eq!((outcome.url, outcome.final_url), (from.url("/"), Some(to.url("/end"))));
    }
}

#[test]
fn redirects_in_a_circle_end() {
    let site = Site::start(1, |_, _| Reply::moved("/")).unwrap();
    let options = Options { redirects_max: 4, ..options() };
    assert_eq!(ends(&one(Mode::Seq, options, &site.url("/"))), ("redirect", 5));
}

#[test]
fn a_connection_that_ends_too_early_is_tried_again_and_told() {
    let site = Site::start(1, |path, _| match path {
        "/none" => Reply::status(0),
        _ => Reply { length: Some(1_000), ..Reply::ok() },
    })
    .unwrap();
    for path in ["/none", "/half"] {
        let outcome = one(Mode::Threads, options(), &site.url(path));
        assert_eq!(ends(&outcome), ("closed", 4), "{path}: {outcome:?}");
    }
}

#[test]
fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let site = Site::start(1, |_, _| Reply { body: 3_000_000, ..Reply::ok() }).unwrap();
    let options = Options { body_max: 1_000_000, ..options() };
    let outcome = one(Mode::Async, options, &site.url("/"));
    assert_eq!(ends(&outcome), ("too_large", 1));
    assert!((1_000_000..2_000_000).contains(&outcome.bytes), "{}", outcome.bytes);
}

#[test]
fn time_is_up_for_an_answer_that_does_not_come() {
    let site = Site::start(1, |_, _| Reply { delay: Duration::from_secs(60), ..Reply::ok() });
    let site = site.unwrap();
    let options = Options { timeout: Duration::from_millis(100), retries: 1, ..options() };
    assert_eq!(ends(&one(Mode::Seq, options, &site.url("/"))), ("timeout", 2));
}

#[test]
fn nobody_there_is_told_apart_from_no_http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let options = Options { retries: 0, ..options() };
    let outcome = one(Mode::Seq, options.clone(), &format!("http://{gone}/"));
    assert_eq!(ends(&outcome), ("connect", 1), "{outcome:?}");
    let site = Site::start(1, |_, _| Reply::ok()).unwrap();
    let outcome = one(Mode::Seq, options, &site.url("/").replace("http:", "https:"));
    assert_eq!(ends(&outcome), ("tls", 1), "{outcome:?}");
}

#[test]
fn a_proxy_is_asked_where_one_is_given() {
    let proxy = Site::start(1, |path, _| match path.starts_with("http://nowhere.example") {
        true => Reply::ok(),
        false => Reply::status(400),
    })
    .unwrap();
    let route = Route { proxy: Some(proxy.url("")), ..options().route };
    let outcome = one(Mode::Seq, Options { route, ..options() }, "http://nowhere.example/");
    assert_eq!(ends(&outcome), ("ok", 1), "{outcome:?}");
}

/// Asks for an end at the first result.
struct Impatient(Mutex<Option<Stopper>>);

impl Watch for Impatient {
    fn done(&self, _: &Outcome) {
        if let Some(stopper) = self.0.lock().take() {
            stopper.stop();
        }
    }
}

#[test]
fn a_run_that_is_stopped_keeps_what_it_has_and_counts_what_it_has_not() {
    for mode in Mode::ALL {
        let site = Site::start(1, |path, _| match path {
            "/0" => Reply::ok(),
            _ => Reply { delay: Duration::from_secs(60), ..Reply::ok() },
        })
        .unwrap();
        let list: Vec<String> = (0..30).map(|path| site.url(&format!("/{path}"))).collect();
        let (stopper, stop) = stop();
        let watch = Arc::new(Impatient(Mutex::new(Some(stopper))));
        let (summary, outcomes) = watched(mode, options(), &list.join("\n"), watch, stop);
        assert_eq!((summary.urls, summary.left, outcomes.len()), (1, 29, 1), "{mode}");
    }
}
