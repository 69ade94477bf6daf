//! Limits and pauses by the command line.

use serde_json::Value;
use sluice_bench::process::Broker;

use crate::setup::{Outcome, Place};

fn run(place: &Place, broker: &Broker, args: &[&str]) -> Outcome {
    place.client(broker, args).output().unwrap().into()
}

#[track_caller]
fn ok(place: &Place, broker: &Broker, args: &[&str]) -> String {
    let outcome = run(place, broker, args);
    outcome.assert(0, &[]);
    outcome.out
}

#[test]
fn limits_are_set_listed_and_deleted() {
    let place = Place::new();
    let broker = place.broker();
    let limit = |args: &[&str]| ok(&place, &broker, &[&["limit"], args].concat());
    let set = limit(&["set", "tenants", "--key", "tenant:*", "--rate", "5/s", "--burst", "2"]);
    assert_eq!(set, "limit tenants (key tenant:* in >): 5/s burst 2\n");
    let again = limit(&["set", "tenants", "--key", "tenant:*", "--concurrency", "1"]);
    assert_eq!(again, "limit tenants (key tenant:* in >): concurrency 1, was 5/s burst 2\n");
    limit(&["set", "calls", "--queue", "calls.>", "--window", "100/1m"]);
    let list = limit(&["list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["calls", "queue", "calls.>", "window", "100/m"]);
    assert_eq!(rows[2], ["tenants", "key", ">", "tenant:*", "concurrency", "1"]);
    let json: Value = serde_json::from_str(&limit(&["list", "calls", "--json"])).unwrap();
    assert_eq!(json["limits"].as_array().unwrap().len(), 1);
    run(&place, &broker, &["limit", "set", "a"]).assert(2, &["none of rate, window"]);
    run(&place, &broker, &["limit", "set", "a", "--rate", "5"]).assert(2, &["not like 5/s"]);
    run(&place, &broker, &["limit", "set", "a", "--burst", "5"]).assert(2, &["--rate"]);
    assert_eq!(limit(&["delete", "calls", "--queue", "calls.>"]), "deleted 1\n");
    run(&place, &broker, &["limit", "delete", "calls"]).assert(1, &["no such limit calls"]);
    assert_eq!(limit(&["top", "tenants"]).lines().count(), 1);
}

#[test]
fn a_paused_queue_says_why_and_goes_on_when_it_is_resumed() {
    let place = Place::new();
    let broker = place.broker();
    let run = |args: &[&str]| ok(&place, &broker, args);
    run(&["queue", "declare", "calls"]);
    let put = ["queue", "put", "calls", "hello", "--key", "tenant:7", "--group", "eu"];
    run(&[&put[..], &["--cost", "2"]].concat());
    let paused = run(&["limit", "pause", "calls", "--for", "1h", "--reason", "deploy"]);
    assert!(paused.starts_with("calls is paused, opens in "), "{paused}");
    assert_eq!(run(&["queue", "take", "calls"]), "");
    let why = run(&["queue", "explain", "calls", "--group", "eu"]);
    assert!(why.starts_with("the queue is paused by ") && why.contains("(deploy)"), "{why}");
    let why: Value = serde_json::from_str(&run(&["queue", "explain", "calls", "--json"])).unwrap();
    assert_eq!(why["reasons"][0]["why"], "deploy");
    assert_eq!(run(&["limit", "resume", "calls"]), "calls goes on\n");
    assert_eq!(run(&["limit", "resume", "calls"]), "calls was not paused\n");
    let taken = run(&["queue", "take", "calls"]);
    let (token, _) = taken.split_once('\t').unwrap();
    let throttled = ["queue", "nack", token, "--throttled=30s", "--key", "tenant:7"];
    assert_eq!(run(&throttled), "throttled 1\n");
    assert_eq!(run(&["limit", "resume", "calls", "--key", "tenant:7"]), "tenant:7 goes on\n");
    assert_eq!(
        run(&["queue", "weigh", "calls", "eu", "3"]),
        "group eu of calls has the weight 3\n"
    );
}
