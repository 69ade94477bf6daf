//! `sluice fetch --queue`: several processes work a queue of a running broker.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sluice_bench::process::Broker;
use sluice_fetch::testing::{Reply, Site, THROTTLING, ten};

use crate::setup::{Outcome, Place, wait};

/// Long enough for anything here.
const PATIENCE: Duration = Duration::from_secs(60);
const PATHS: usize = 8;
const PER_HOST: u32 = 3;
const QUEUE: &str = "crawl";

/// A process that works the queue, results in a file of its name.
fn start(place: &Place, broker: &Broker, name: &str, args: &[&str]) -> Child {
    let common = ["fetch", "--queue", QUEUE, "--backoff", "20ms", "--no-proxy", "--json", "--out"];
    place.client(broker, &[&common, &[name][..], args].concat()).spawn().unwrap()
}

fn interrupt(child: Child) -> Outcome {
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    wait(child)
}

fn lines(place: &Place, name: &str) -> Vec<Value> {
    let results = std::fs::read_to_string(place.path(name)).unwrap_or_default();
    results.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    let mut numbers: Vec<u64> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// The queue's figures, once they are as they should be.
fn stats(place: &Place, broker: &Broker, is: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = place.ask(broker, &["queue", "stats", QUEUE, "--json"]);
        // Somebody may be about to make it.
        if asked.code == Some(0) {
            let stats = serde_json::from_str(&asked.out).unwrap();
            if is(&stats) {
                return stats;
            }
        }
        assert!(Instant::now() < until, "{asked:?}");
    }
}

#[test]
fn two_processes_share_caps_and_pauses_and_every_url_is_fetched_once() {
    let (place, ten) = (Place::new(), ten().unwrap());
    let broker = place.broker();
    std::fs::write(place.path("urls.txt"), ten.list(PATHS)).unwrap();
    let per_host = PER_HOST.to_string();
    let other = start(&place, &broker, "other", &["--stay", "--concurrency", "20"]);
    stats(&place, &broker, |stats| stats["waiting"] == 1);
    let args = ["urls.txt", "--concurrency", "20", "--per-host", &per_host];
    let fed = wait(start(&place, &broker, "own", &args));
    fed.assert(0, &[]);
    // Nothing is left, so who stays is done as well.
    let stayed = interrupt(other);
    stayed.assert(0, &[]);
    let (own, other) = (lines(&place, "own"), lines(&place, "other"));
    assert!(!own.is_empty() && !other.is_empty(), "{} and {}", own.len(), other.len());
    let all = [&own[..], &other].concat();
    assert_eq!(numbers(&all), (3..83).collect::<Vec<u64>>());
    assert_eq!(all.iter().filter(|line| line["ok"] == false).count(), 1);
    for site in &ten.sites {
        let seen = site.seen();
        assert!(seen.at_once <= PER_HOST, "{} at once at {}", seen.at_once, site.addr());
    }
    let seen = ten.sites[THROTTLING].seen();
    assert_eq!((seen.requests, seen.in_pauses), (PATHS as u64 + 2, 0), "{seen:?}");
    let run =
        |outcome: &Outcome| serde_json::from_str::<Value>(&outcome.out).unwrap()["runs"][0].clone();
    let sum = |what: &str| run(&fed)[what].as_u64().unwrap() + run(&stayed)[what].as_u64().unwrap();
    assert_eq!((sum("urls"), sum("ok"), sum("left")), (80, 79, 0));
    assert_eq!((sum("retries"), sum("throttled")), (14, 2));
    let counts = stats(&place, &broker, |_| true)["counts"].clone();
    assert_eq!((&counts["ready"], &counts["dead"]), (&0.into(), &0.into()));
}

#[test]
fn a_rate_holds_for_all_processes_together() {
    let place = Place::new();
    let broker = place.broker();
    let site = Site::start(1, |_, _| Reply::ok()).unwrap();
    let list: Vec<String> = (0..12).map(|path| site.url(&format!("/{path}"))).collect();
    std::fs::write(place.path("urls.txt"), list.join("\n")).unwrap();
    let other = start(&place, &broker, "other", &["--stay"]);
    stats(&place, &broker, |stats| stats["waiting"] == 1);
    let since = Instant::now();
    wait(start(&place, &broker, "own", &["urls.txt", "--rate", "10/s"])).assert(0, &[]);
    interrupt(other).assert(0, &[]);
    let begun = site.seen().begun;
    assert_eq!(begun.len(), 12);
    let took = begun.last().unwrap().duration_since(since);
    assert!(took >= Duration::from_millis(11 * 100), "{took:?}");
}

#[test]
fn who_is_interrupted_gives_back_what_it_holds_and_another_goes_on() {
    let place = Place::new();
    let broker = place.broker();
    // Who asks first waits for ever.
    let site = Site::start(1, |_, count| match count {
        1 => Reply { delay: PATIENCE, ..Reply::ok() },
        _ => Reply::ok(),
    })
    .unwrap();
    let list: Vec<String> = (0..6).map(|path| site.url(&format!("/{path}"))).collect();
    std::fs::write(place.path("urls.txt"), list.join("\n")).unwrap();
    let args = ["urls.txt", "--per-host", "2", "--timeout", "1h"];
    let first = start(&place, &broker, "first", &args);
    stats(&place, &broker, |stats| stats["counts"]["leased"] == 2);
    let told = interrupt(first);
    told.assert(1, &["interrupted"]);
    let summary: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(summary["runs"][0]["left"], 6);
    let counts = stats(&place, &broker, |_| true)["counts"].clone();
    assert_eq!((&counts["ready"], &counts["leased"]), (&6.into(), &0.into()));
    // The paths that were asked for already are answered at once now, the others at the second try.
    let args = ["--timeout", "300ms", "--retries", "20"];
    wait(start(&place, &broker, "second", &args)).assert(0, &[]);
    assert_eq!(numbers(&lines(&place, "second")), (1..7).collect::<Vec<u64>>());
}

#[test]
fn what_others_publish_is_fetched_under_the_limits_of_its_host_and_nonsense_is_put_aside() {
    let place = Place::new();
    let broker = place.broker();
    let site = Site::start(1, |_, _| Reply { delay: Duration::from_millis(30), ..Reply::ok() });
    let site = site.unwrap();
    let run = |args: &[&str]| place.ok(&broker, args);
    run(&["queue", "declare", QUEUE, "--set", "max_failures=0"]);
    run(&["limit", "set", "own", "--queue", QUEUE, "--key", "*", "--concurrency", "1"]);
    for path in ["/a", "/b", "/c", "/d"] {
        run(&["queue", "put", QUEUE, &site.url(path)]);
    }
    run(&["queue", "put", QUEUE, "nowhere"]);
    wait(start(&place, &broker, "own", &[])).assert(0, &[]);
    let results = lines(&place, "own");
    assert_eq!((results.len(), site.seen().at_once), (4, 1));
    assert!(results.iter().all(|line| line["line"].is_null() && line["ok"] == true));
    assert_eq!(stats(&place, &broker, |_| true)["counts"]["dead"], 1);
}

#[test]
fn a_queue_that_counts_failures_and_options_without_sense_are_refused() {
    let place = Place::new();
    let broker = place.broker();
    place.ok(&broker, &["queue", "declare", QUEUE]);
    let said = "max_failures of the queue crawl is not 0";
    wait(start(&place, &broker, "own", &[])).assert(1, &[said, "--set max_failures=0 --update"]);
    place.ok(&broker, &["queue", "declare", QUEUE, "--set", "max_failures=0", "--update"]);
    wait(start(&place, &broker, "own", &[])).assert(0, &[]);
    let refused = |args: &[&str], words: &[&str]| place.ask(&broker, args).assert(2, words);
    refused(&["fetch"], &["<URLS>"]);
    refused(&["fetch", "--queue", QUEUE, "--mode", "all"], &["--mode async"]);
    refused(&["fetch", "urls.txt", "--stay"], &["--queue"]);
}

#[test]
fn a_key_without_admin_works_under_the_limits_that_there_are() {
    let place = Place::new();
    let create = |id: &str, grants: &[&str]| {
        let made =
            place.run([&["key", "create", id][..], grants, &["--data-dir", "data"]].concat());
        made.assert(0, &[]);
        made.out.trim().to_owned()
    };
    let admin = create("admin", &["--all"]);
    let grants = ["--grant", "publish:crawl", "--grant", "consume:crawl"];
    let narrow = create("narrow", &grants);
    let observer = create("observer", &[&grants[..], &["--grant", "observe:crawl"]].concat());
    let broker = place.broker();
    let site = Site::start(1, |_, _| Reply::ok()).unwrap();
    std::fs::write(place.path("urls.txt"), site.url("/")).unwrap();
    let run = |key: &str, args: &[&str]| -> Outcome {
        let args = [&["fetch", "--queue", QUEUE, "--no-proxy", "--json"], args].concat();
        place.client(&broker, &args).env("SLUICE_API_KEY", key).output().unwrap().into()
    };
    // There is no queue, and it may make none.
    run(&observer, &[]).assert(1, &["no such queue"]);
    run(&admin, &["--per-host", "1"]).assert(0, &[]);
    run(&observer, &["urls.txt", "--per-host", "2"]).assert(1, &["403"]);
    run(&observer, &["urls.txt"]).assert(0, &["the key may not set limits"]);
    run(&narrow, &["urls.txt"]).assert(1, &["the grant observe"]);
    assert_eq!(site.seen().requests, 1);
}
