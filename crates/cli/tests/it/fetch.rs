//! `sluice fetch` against ten sites on loopback.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sluice_fetch::testing::{Reply, Site, THROTTLING, Ten, ten};

use crate::setup::{Outcome, Place, wait};

/// Long enough for anything here.
const PATIENCE: Duration = Duration::from_secs(60);
const PATHS: usize = 8;
const PER_HOST: u32 = 3;

fn fetch(place: &Place, list: &str, args: &[&str]) -> Command {
    std::fs::write(place.path("urls.txt"), list).unwrap();
    let quick = ["fetch", "urls.txt", "--backoff", "20ms", "--no-proxy", "--no-progress"];
    place.command([&quick, args].concat())
}

fn lines(place: &Place) -> Vec<Value> {
    let results = std::fs::read_to_string(place.path("results.jsonl")).unwrap();
    results.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn at_once(ten: &Ten) -> u32 {
    ten.sites.iter().map(|site| site.seen().at_once).max().unwrap()
}

#[test]
fn caps_and_pauses_hold_as_sites_see_them_in_every_mode_and_all_urls_have_results() {
    let per_host = PER_HOST.to_string();
    for (mode, name, cap) in
        [("seq", "seq", 1), ("threads", "threads", PER_HOST), ("asyncio", "async", PER_HOST)]
    {
        let (place, ten) = (Place::new(), ten().unwrap());
        let args = ["--mode", mode, "--concurrency", "20", "--per-host", &per_host, "--json"];
        let args = [&args[..], &["--out", "results.jsonl"]].concat();
        let outcome: Outcome = fetch(&place, &ten.list(PATHS), &args).output().unwrap().into();
        outcome.assert(0, &[]);
        assert!((1..=cap).contains(&at_once(&ten)), "{mode}: {}", at_once(&ten));
        let seen = ten.sites[THROTTLING].seen();
        assert_eq!((seen.requests, seen.in_pauses), (PATHS as u64 + 2, 0), "{mode}: {seen:?}");
        let results = lines(&place);
        let urls: BTreeSet<u64> =
            results.iter().map(|result| result["line"].as_u64().unwrap()).collect();
        assert_eq!((results.len(), urls.len()), (80, 80), "{mode}");
        assert!(results.iter().all(|result| result["mode"] == name), "{mode}");
        let run = &serde_json::from_str::<Value>(&outcome.out).unwrap()["runs"][0];
        assert_eq!(
            (&run["urls"], &run["ok"], &run["throttled"]),
            (&80.into(), &79.into(), &2.into())
        );
        assert_eq!(run["errors"]["status_404"], 1, "{mode}");
        assert!(run["latency_ms"]["p99"].as_f64().unwrap() >= 60.0, "{mode}: {run}");
    }
}

#[test]
fn modes_are_compared_in_a_table_and_a_plot() {
    let (place, ten) = (Place::new(), ten().unwrap());
    let outcome: Outcome =
        fetch(&place, &ten.list(3), &["--mode", "all", "--fail"]).output().unwrap().into();
    // What a site did once it does not do again: only what is not there goes wrong in all three.
    outcome.assert(1, &["3 URLs ended with an error"]);
    for word in ["seq", "threads", "async", "requests/s", "times seq", "p95 ms", "error status_404"]
    {
        assert!(outcome.out.contains(word), "no {word} in {}", outcome.out);
    }
    let plot = std::fs::read_to_string(place.path("fetch.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("threads"));
}

#[test]
fn an_interrupt_ends_it_with_the_results_so_far() {
    let site = Site::start(1, |path, _| match path {
        "/0" => Reply::ok(),
        _ => Reply { delay: PATIENCE, ..Reply::ok() },
    })
    .unwrap();
    let list: Vec<String> = (0..40).map(|path| site.url(&format!("/{path}"))).collect();
    for mode in ["threads", "async"] {
        let place = Place::new();
        let args = ["--mode", mode, "--out", "results.jsonl", "--per-host", "2", "--timeout", "1h"];
        let child = fetch(&place, &list.join("\n"), &args).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while std::fs::read(place.path("results.jsonl")).unwrap_or_default().is_empty() {
            assert!(Instant::now() < until, "no result");
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let outcome = wait(child);
        outcome.assert(1, &["interrupted"]);
        assert!(outcome.out.contains("not done"), "{}", outcome.out);
        assert_eq!(lines(&place).len(), 1, "{mode}");
    }
}

#[test]
fn lists_and_options_that_make_no_sense_are_refused_before_anything_is_asked() {
    let place = Place::new();
    let run =
        |list, args: &[&str]| -> Outcome { fetch(&place, list, args).output().unwrap().into() };
    run("http://a/\nnowhere\nftp://b/\n", &[])
        .assert(1, &["urls.txt: line 2: \"nowhere\" is no URL", "line 3: ftp:// can't be fetched"]);
    run("# none\n", &[]).assert(1, &["urls.txt: there is no URL in it"]);
    run("http://a/\n", &["--rate", "often"]).assert(2, &["rate"]);
    run("http://a/\n", &["--timeout", "2h"]).assert(2, &["timeout 7200s is outside 1ms .. 1h"]);
    run("http://a/\n", &["--site-ca", "none.pem"]).assert(1, &["none.pem"]);
    run("http://a/\n", &["--out", "no/where"]).assert(1, &["can't write no/where"]);
    place.run(["fetch", "gone.txt"]).assert(1, &["can't read gone.txt"]);
}
