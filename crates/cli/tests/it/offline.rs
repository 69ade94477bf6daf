//! The tools for a log that no broker has open.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_bench::process::Broker;

use crate::setup::{Outcome, Place, SERVE, subscribe};

const PAYLOAD: &[u8] = b"somewhere in the middle";

/// A broker that has been given messages before and after [`PAYLOAD`].
fn broker_with_messages(place: &Place) -> Broker {
    let broker = place.broker();
    let mut client = subscribe(&broker, "demo");
    for message in [b"before", PAYLOAD, b"after"] {
        client.publish("demo", 1, message).unwrap();
        client.fence().unwrap();
    }
    broker
}

fn find(folder: &Path, bytes: &[u8]) -> Option<(PathBuf, usize)> {
    fs::read_dir(folder).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return find(&path, bytes);
        }
        let at = fs::read(&path).unwrap().windows(bytes.len()).position(|part| part == bytes)?;
        Some((path, at))
    })
}

#[test]
fn a_whole_log_is_verified() {
    let place = Place::new();
    assert!(broker_with_messages(&place).terminate().unwrap().success());
    place.run(["log", "verify", "--data-dir", "data"]).assert(0, &[]);
}

#[test]
fn a_damaged_log_is_found_and_never_served() {
    let place = Place::new();
    // Killed, so that the messages are in what a start replays.
    broker_with_messages(&place).kill().unwrap();
    let (path, at) = find(&place.data(), PAYLOAD).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    place.run(["log", "verify", "--data-dir", "data"]).assert(3, &[]);
    let seen = place.run(["log", "inspect", "--json", "--data-dir", "data"]);
    let seen: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert!(seen["problem"].is_string(), "{seen}");
    place
        .run(SERVE.iter().chain(&["--data-dir", "data"]))
        .assert(3, &["to repair: sluice log repair --data-dir"]);
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing may be changed");
}

#[test]
fn damage_behind_a_checkpoint_is_found_though_a_start_would_not_meet_it() {
    let place = Place::new();
    assert!(broker_with_messages(&place).terminate().unwrap().success());
    let (path, at) = find(&place.data(), PAYLOAD).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    place.run(["log", "verify", "--data-dir", "data"]).assert(3, &["a damaged frame"]);
}

#[test]
fn a_log_in_use_is_left_alone() {
    let place = Place::new();
    let broker = place.broker();
    let words = [broker.pid().to_string()];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    place.run(["log", "verify", "--data-dir", "data"]).assert(1, &words);
}

#[test]
fn the_data_directory_is_that_of_a_broker_with_the_same_settings() {
    let place = Place::new();
    assert!(broker_with_messages(&place).terminate().unwrap().success());
    let tools: [&[&str]; 4] = [
        &["log", "inspect"],
        &["log", "verify"],
        &["log", "repair"],
        &["backup", "--offline", "--no-progress"],
    ];
    fs::write(place.path("other.toml"), "data_dir = \"data\"\n").unwrap();
    let run = |tool: &[&str], more: &[&str], variable: Option<&str>| -> Outcome {
        let mut command = place.command(tool.iter().chain(more));
        command.envs(variable.map(|dir| ("SLUICE_DATA_DIR", dir)));
        command.output().unwrap().into()
    };
    for tool in tools {
        run(tool, &[], None).assert(1, &["there is no directory ./sluice-data"]);
        run(tool, &[], Some("data")).assert(0, &[]);
        run(tool, &["--config", "other.toml"], None).assert(0, &[]);
        run(tool, &["--config", "other.toml"], Some("none")).assert(1, &["no directory none"]);
        run(tool, &["--data-dir", "data"], Some("none")).assert(0, &[]);
    }
    place.config("data_dir = \"data\"\nspeed = 9\n");
    for tool in &tools[..3] {
        run(tool, &[], None).assert(78, &["speed"]);
        run(tool, &["--data-dir", "data"], None).assert(0, &[]);
    }
    place.config("ephemeral = true\n");
    for tool in tools {
        run(tool, &[], None).assert(2, &["in memory"]);
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    Place::new().run(["log", "inspect", "--data-dir", "none"]).assert(1, &["none"]);
}
