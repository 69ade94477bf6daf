//! Starting and stopping.

use std::io::{BufRead, BufReader};

use crate::setup::{Place, SERVE, subscribe};

#[test]
fn sigterm_drains_and_exits_with_0() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = subscribe(&broker, "demo");
    client.publish("demo", 1, b"one").unwrap();
    client.fence().unwrap();
    assert_eq!(broker.terminate().unwrap().code(), Some(0));
    let seen = place.run(["log", "inspect", "--json", "--data-dir", "data"]);
    seen.assert(0, &[]);
    let seen: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!(seen["clean"], true, "{seen}");
}

#[test]
fn the_ready_line_is_all_of_standard_output() {
    let place = Place::new();
    let args = ["--ephemeral", "--log-format", "json"];
    let mut child = place.command(SERVE.iter().chain(&args)).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let addr = line.strip_prefix("sluice ready tcp=").and_then(|rest| rest.split(' ').next());
    addr.unwrap().parse::<std::net::SocketAddr>().unwrap();
    child.kill().unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "");
    let err = child.wait_with_output().unwrap().stderr;
    let err = String::from_utf8(err).unwrap();
    for line in err.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert!(!place.path("sluice-data").exists());
}

#[test]
fn a_second_broker_on_the_same_data_names_the_first() {
    let place = Place::new();
    let broker = place.broker();
    let second = place.run(SERVE.iter().chain(&["--data-dir", "data"]));
    second.assert(1, &[&broker.pid().to_string()]);
    // The first goes on.
    subscribe(&broker, "demo").fence().unwrap();
}
