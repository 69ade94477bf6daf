//! Limits and pauses by the command line.

use std::io::{BufRead, BufReader, Write};

use serde_json::Value;

use crate::reload::Followed;
use crate::setup::Place;

#[test]
fn limits_are_set_listed_and_deleted() {
    let place = Place::new();
    let broker = place.broker();
    let limit = |args: &[&str]| place.ok(&broker, &[&["limit"], args].concat());
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
    place.ask(&broker, &["limit", "set", "a"]).assert(2, &["none of rate, window"]);
    place.ask(&broker, &["limit", "set", "a", "--rate", "5"]).assert(2, &["not like 5/s"]);
    place.ask(&broker, &["limit", "set", "a", "--burst", "5"]).assert(2, &["--rate"]);
    assert_eq!(limit(&["delete", "calls", "--queue", "calls.>"]), "deleted 1\n");
    place.ask(&broker, &["limit", "delete", "calls"]).assert(1, &["no such limit calls"]);
    assert_eq!(limit(&["top", "tenants"]).lines().count(), 1);
}

#[test]
fn a_paused_queue_says_why_and_goes_on_when_it_is_resumed() {
    let place = Place::new();
    let broker = place.broker();
    let run = |args: &[&str]| place.ok(&broker, args);
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

/// The limits that there are, as they are listed.
fn listed(place: &Place, server: &str) -> Vec<String> {
    let list = place.run(["limit", "list", "--server", server]);
    list.assert(0, &[]);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    list.out.lines().skip(1).map(words).collect()
}

#[test]
fn limits_of_the_file_are_its_own_at_the_start_and_at_sighup() {
    let place = Place::new();
    let stripe = "[limits.stripe]\nkey = \"stripe:*\"\nrate = \"5/s\"\n";
    let old = "[[limits.old]]\nqueue = \"a\"\nconcurrency = 1\n[[limits.old]]\nqueue = \"b\"\nconcurrency = 2\n";
    let mut broker = Followed::start(&place, &format!("{stripe}{old}"));
    let server = broker.tcp_addr().to_string();
    let run = |args: &[&str]| place.run([args, &["--server", &server]].concat());
    let of_old = ["old queue a concurrency 1", "old queue b concurrency 2"];
    let of_stripe = "stripe key > stripe:* 5/s";
    assert_eq!(listed(&place, &server), [of_old[0], of_old[1], of_stripe]);
    // What the file says, only the file changes; others are anybody's.
    let hint = ["conflict", "configuration: change it there"];
    run(&["limit", "set", "stripe", "--queue", "x", "--rate", "9/s"]).assert(1, &hint);
    run(&["limit", "delete", "old"]).assert(1, &hint);
    run(&["limit", "set", "mine", "--queue", "x", "--rate", "9/s"]).assert(0, &[]);
    place.config("[limits.stripe]\nkey = \"stripe:*\"\nrate = \"7/s\"\n");
    broker.hang_up();
    let seen = broker.until("limits of the file are in force");
    assert!(seen.contains("set=1") && seen.contains("deleted=2"), "{seen}");
    assert_eq!(listed(&place, &server), ["mine queue x 9/s", "stripe key > stripe:* 7/s"]);
    run(&["limit", "set", "old", "--queue", "a", "--rate", "1/s"]).assert(0, &[]);
    place.config("[limits.stripe]\nkey = \"stripe:*\"\nrate = 0\n");
    broker.hang_up();
    let seen = broker.until("the settings were not reloaded");
    assert!(seen.contains("sluice.toml:3:1: limits.stripe: rate"), "{seen}");
    assert_eq!(listed(&place, &server).len(), 3);
}

#[test]
fn a_limit_that_left_the_file_while_the_broker_was_down_is_gone() {
    let place = Place::new();
    let config = place.config("[limits.gone]\nrate = \"5/s\"\n");
    let args = ["--config", config.to_str().unwrap()];
    let broker = place.launch().arg(args[0]).arg(args[1]).start().unwrap();
    place.ok(&broker, &["limit", "set", "mine", "--rate", "9/s"]);
    assert_eq!(place.ok(&broker, &["limit", "list"]).lines().count(), 3);
    broker.kill().unwrap();
    place.config("[limits.new]\nrate = \"1/s\"\n");
    let broker = place.launch().arg(args[0]).arg(args[1]).start().unwrap();
    let list = place.ok(&broker, &["limit", "list"]);
    let names: Vec<_> = list.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["mine", "new"]);
    place.run(["config", "check", args[0], args[1]]).assert(0, &[]);
}

#[test]
fn requests_are_limited_by_what_is_set_and_a_limit_can_be_changed_from_behind_it() {
    let place = Place::new();
    let broker = place.broker();
    let run = |args: &[&str]| place.ok(&broker, args);
    run(&["queue", "declare", "mail"]);
    run(&["limit", "set", "front", "--scope", "global", "--rate", "1/h"]);
    let refused = |line: &str| {
        let mut stream = std::net::TcpStream::connect(broker.tcp_addr()).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut heard = String::new();
        BufReader::new(stream).read_line(&mut heard).unwrap();
        heard.starts_with("ERR rate limited, retry after ")
    };
    assert!(!refused("PING") && refused("PING") && refused("ENQUEUE mail x"));
    let json =
        r#"{"action": "LIMIT", "name": "front", "scope": "global", "rate": "100/s", "burst": 9}"#;
    assert!(!refused(json));
    run(&["limit", "set", "front", "--scope", "global", "--rate", "1/h"]);
    run(&["limit", "delete", "front"]);
    assert!((0..9).all(|_| !refused("PING")));
}
