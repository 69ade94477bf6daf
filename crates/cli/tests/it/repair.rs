//! From exit code 3 back to a broker that serves, with nothing but what was printed.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_bench::process::Broker;

use crate::setup::{Outcome, Place, SERVE, subscribe};

const DAMAGED: &[u8] = b"this message is going to be damaged";

/// Publishes to two topics, each message in a commit of its own, and is killed. Gives the file
/// that holds the message to be damaged, and where it lies in it.
fn killed_broker(place: &Place) -> (PathBuf, usize) {
    let broker = place.broker();
    let mut hit = subscribe(&broker, "hit.by.damage");
    let mut calm = subscribe(&broker, "calm");
    for message in [&b"first"[..], b"second", DAMAGED, b"fourth", b"fifth"] {
        hit.publish("hit.by.damage", 1, message).unwrap();
        hit.fence().unwrap();
        calm.publish("calm", 1, b"all is well").unwrap();
        calm.fence().unwrap();
    }
    broker.kill().unwrap();
    find(&place.data(), DAMAGED).expect("it was published")
}

fn find(folder: &Path, bytes: &[u8]) -> Option<(PathBuf, usize)> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().filter(|path| path.is_file()).find_map(|path| {
        let at = fs::read(&path).unwrap().windows(bytes.len()).position(|part| part == bytes)?;
        Some((path, at))
    })
}

fn change(path: &Path, at: usize, with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    fs::write(path, bytes).unwrap();
}

fn serve(place: &Place) -> Outcome {
    place.run(SERVE.iter().chain(&["--data-dir", "data"]))
}

/// Runs what a line of standard error says after `what`, word by word.
#[track_caller]
fn run_printed(place: &Place, refused: &Outcome, what: &str) -> Outcome {
    let line = refused.err.lines().find_map(|line| line.strip_prefix(what));
    let mut words =
        line.unwrap_or_else(|| panic!("no `{what}` in {refused:#?}")).split_whitespace();
    assert_eq!(words.next(), Some("sluice"));
    place.run(words)
}

/// What a subscription still gets of `count` messages.
fn received(place: &Place, topic: &str, count: usize) -> Vec<String> {
    let broker = place.broker();
    let received = crate::setup::received(&broker, topic, count);
    broker.kill().unwrap();
    received
}

#[test]
fn the_printed_command_brings_back_everything_but_what_was_damaged() {
    let place = Place::new();
    let (path, at) = killed_broker(&place);
    change(&path, at, b"THIS");
    let before = fs::read(&path).unwrap();
    let file = path.file_name().unwrap().to_str().unwrap();
    let refused = serve(&place);
    let words = ["at byte", ", record ", "were acknowledged", "`hit.by.damage` of @127.0.0.1"];
    refused.assert(3, &words);
    refused.assert(3, &[file, "up to 1 message lost", "--data-dir /", "--yes"]);
    assert!(!refused.err.contains("`calm`"), "{refused:#?}");

    let told = run_printed(&place, &refused, "to see what a repair would give up: ");
    told.assert(0, &[]);
    assert!(told.out.contains("given up: record "), "{told:#?}");
    assert!(told.out.contains("nothing was changed"), "{told:#?}");
    assert!(!place.data().join("quarantine").exists());
    assert_eq!(fs::read(&path).unwrap(), before, "only told");

    let repaired = run_printed(&place, &refused, "to repair: ");
    repaired.assert(0, &[]);
    let copies: Vec<_> = fs::read_dir(place.data().join("quarantine")).unwrap().collect();
    assert!(copies.into_iter().any(|copy| fs::read(copy.unwrap().path()).unwrap() == before));
    place.run(["log", "verify", "--data-dir", "data"]).assert(0, &[]);
    assert_eq!(received(&place, "hit.by.damage", 4), ["first", "second", "fourth", "fifth"]);
    assert_eq!(received(&place, "calm", 5), ["all is well"; 5]);
}

#[test]
fn a_log_that_starts_is_not_repaired() {
    let place = Place::new();
    killed_broker(&place);
    let nothing = place.run(["log", "repair", "--data-dir", "data", "--yes"]);
    nothing.assert(0, &[]);
    assert!(nothing.out.contains("nothing was changed"), "{nothing:#?}");
    assert!(!place.data().join("quarantine").exists());
}

#[test]
fn a_log_in_use_is_not_repaired() {
    let place = Place::new();
    let broker = place.broker();
    let pid = broker.pid().to_string();
    place.run(["log", "repair", "--data-dir", "data", "--yes"]).assert(1, &[&pid]);
}

#[test]
fn a_subscription_whose_record_is_damaged_is_unknown() {
    let place = Place::new();
    let broker = place.broker();
    // Each in a commit of its own.
    let mut hit = subscribe(&broker, "hit.by.damage");
    hit.publish("hit.by.damage", 1, b"orphan").unwrap();
    hit.fence().unwrap();
    broker.kill().unwrap();
    let (path, at) = find(&place.data(), b"hit.by.damage").unwrap();
    change(&path, at, b"HIT");
    serve(&place)
        .assert(3, &["whose subscription is unknown: 1 message behind the damage goes with it"]);
}

#[test]
fn changes_of_keys_in_the_damage_are_counted_and_the_others_stay() {
    let place = Place::new();
    let broker = place.broker();
    let kv = |broker: &Broker, args: &[&str]| place.ok(broker, &[&["kv"], args].concat());
    // Each in a commit of its own.
    kv(&broker, &["set", "hit", "as it was"]);
    kv(&broker, &["set", "calm", "all is well"]);
    kv(&broker, &["set", "hit", std::str::from_utf8(DAMAGED).unwrap()]);
    kv(&broker, &["set", "gone", "x"]);
    kv(&broker, &["del", "gone"]);
    assert_eq!(kv(&broker, &["set", "behind", "all is well"]), "revision 6\n");
    broker.kill().unwrap();
    let (path, at) = find(&place.data(), DAMAGED).expect("it was set");
    change(&path, at, b"THIS");
    let words = ["keys touched: 1 change is missing"];
    place.run(["log", "verify", "--data-dir", "data"]).assert(3, &words);
    let seen = place.run(["log", "inspect", "--data-dir", "data"]);
    seen.assert(0, &[]);
    assert!(seen.out.contains("a start would refuse: "), "{seen:#?}");
    let refused = serve(&place);
    refused.assert(3, &words);
    run_printed(&place, &refused, "to repair: ").assert(0, &[]);
    place.run(["log", "verify", "--data-dir", "data"]).assert(0, &[]);
    let broker = place.broker();
    assert_eq!(kv(&broker, &["get", "hit"]), "as it was");
    assert_eq!(kv(&broker, &["get", "calm"]), "all is well");
    assert_eq!(kv(&broker, &["get", "behind"]), "all is well");
    place.ask(&broker, &["kv", "get", "gone"]).assert(1, &["not_found"]);
    assert_eq!(kv(&broker, &["set", "hit", "anew"]), "revision 7\n");
    // Nobody is told that nothing is missing: a watch can begin behind what was lost alone.
    let watch =
        |from: &str| place.ask(&broker, &["kv", "watch", "hit", "--from", from, "--max", "1"]);
    watch("3").assert(1, &["gone"]);
    let seen = watch("4");
    seen.assert(0, &[]);
    assert_eq!(seen.out, "put\thit\t7\tanew\n");
}
