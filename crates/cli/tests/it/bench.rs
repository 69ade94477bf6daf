//! `sluice bench`, bounded to a moment each.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sluice_bench::process::Broker;

use crate::reload::Followed;
use crate::setup::{Outcome, Place, wait};
use crate::tls::{SETTINGS, certified, show};

const PATIENCE: Duration = Duration::from_secs(30);

/// Measures `broker` in the background.
fn start(place: &Place, broker: &Broker, args: &[&str]) -> Child {
    let server = broker.tcp_addr().to_string();
    let mut command = place.command([&["bench", "--server", &server], args].concat());
    command.spawn().unwrap()
}

fn queues(place: &Place, broker: &Broker) -> Vec<String> {
    let outcome: Outcome =
        place.client(broker, &["queue", "list", "--json"]).output().unwrap().into();
    outcome.assert(0, &[]);
    let list: Value = serde_json::from_str(&outcome.out).unwrap();
    let queues = list["queues"].as_array().unwrap();
    queues.iter().map(|queue| queue["name"].as_str().unwrap().to_owned()).collect()
}

/// The queue that a measurement uses, once there are messages in it.
fn busy_queue(place: &Place, broker: &Broker) -> String {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(queue) = queues(place, broker).pop() {
            let peek = ["queue", "peek", &queue, "--limit", "1"];
            let outcome: Outcome = place.client(broker, &peek).output().unwrap().into();
            if outcome.code == Some(0) && !outcome.out.is_empty() {
                return queue;
            }
        }
    }
    panic!("nobody measures");
}

#[test]
fn its_own_broker_is_measured_and_nothing_of_it_is_left() {
    let place = Place::new();
    let dir = place.path("dir");
    std::fs::create_dir(&dir).unwrap();
    // A configuration that lies around is not that of the broker under load.
    place.config("keys_file = \"/nowhere\"\n");
    let dir_arg = dir.to_str().unwrap();
    let outcome =
        place.run(["bench", "--duration", "100ms", "--level", "os", "--json", "--dir", dir_arg]);
    outcome.assert(0, &[]);
    let all: Value = serde_json::from_str(&outcome.out).unwrap();
    let names: Vec<&str> = all["workloads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["workload"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pass", "confirm", "queue", "cycle"]);
    for (at, figure) in [(0, "msgs/s"), (1, "p99 us"), (2, "takes/s"), (3, "p50 us")] {
        let one = &all["workloads"][at];
        assert!(one["figures"][figure].as_f64().unwrap() > 0.0, "{figure} of {one}");
        assert_eq!(one["failure"], Value::Null);
    }
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
}

#[test]
fn a_broker_that_runs_keeps_no_queue_of_a_measurement() {
    let place = Place::new();
    let broker = place.broker();
    let args = ["confirm", "--rate", "200", "--duration", "300ms", "--csv"];
    let outcome = wait(start(&place, &broker, &args));
    outcome.assert(0, &[]);
    assert!(outcome.out.contains("\nconfirm,\"200/s due\",1024,p99 us,"), "{}", outcome.out);
    let args = ["queue", "confirm", "--connections", "2", "--in-flight", "4", "--size", "8"];
    wait(start(&place, &broker, &[&args[..], &["--duration", "100ms"]].concat())).assert(0, &[]);
    assert_eq!(queues(&place, &broker), Vec::<String>::new());
}

#[test]
fn many_subscribers_of_one_publisher_each_get_all() {
    let place = Place::new();
    let broker = place.broker();
    for connections in ["1", "3", "40"] {
        let args = ["pass", "--connections", connections, "--duration", "300ms", "--json"];
        let outcome = wait(start(&place, &broker, &args));
        outcome.assert(0, &[]);
        let all: Value = serde_json::from_str(&outcome.out).unwrap();
        let rate = all["workloads"][0]["figures"]["msgs/s"].as_f64().unwrap();
        assert!(rate > 0.0, "to {connections}: {rate}");
    }
}

#[test]
fn a_message_that_the_broker_does_not_take_is_refused_and_not_lost() {
    let place = Place::new();
    let broker = place.broker();
    let args = ["pass", "--size", "2097152", "--duration", "100ms"];
    let outcome = wait(start(&place, &broker, &args));
    outcome.assert(1, &["pass: the broker refuses, 413 too_large"]);
    // Its own broker takes what is to be measured.
    place.run([&["bench"], &args[..]].concat()).assert(0, &[]);
}

#[test]
fn a_message_that_somebody_else_takes_is_missed() {
    let place = Place::new();
    let broker = place.broker();
    let bench = start(&place, &broker, &["confirm", "--rate", "100", "--duration", "2s"]);
    let queue = busy_queue(&place, &broker);
    let take = ["queue", "take", &queue, "--ack"];
    let taken: Outcome = place.client(&broker, &take).output().unwrap().into();
    taken.assert(0, &[]);
    wait(bench).assert(1, &["messages were lost, doubled or changed: 1 lost, 0 doubled"]);
    assert_eq!(queues(&place, &broker), Vec::<String>::new());
}

#[test]
fn an_interrupted_measurement_removes_its_queue_soon() {
    let place = Place::new();
    let broker = place.broker();
    for workload in ["confirm", "cycle"] {
        let bench = start(&place, &broker, &[workload, "--duration", "1h"]);
        while queues(&place, &broker).is_empty() {}
        kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
        wait(bench).assert(1, &["interrupted"]);
        assert_eq!(queues(&place, &broker), Vec::<String>::new());
    }
}

#[test]
fn a_broker_that_is_lost_is_not_a_lost_message() {
    let place = Place::new();
    let broker = place.broker();
    let bench = start(&place, &broker, &["confirm", "--duration", "1h"]);
    busy_queue(&place, &broker);
    broker.kill().unwrap();
    let outcome = wait(bench);
    outcome.assert(1, &["confirm: "]);
    assert!(!outcome.err.contains("messages were lost"), "{}", outcome.err);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    place.run(["bench", "pass", "--rate", "5"]).assert(2, &["--rate is for confirm alone"]);
    place.run(["bench", "--size", "7"]).assert(2, &["--size"]);
    place.run(["bench", "--duration", "1ms"]).assert(2, &["not 100ms to 1h"]);
    place.run(["bench", "cycle", "--level", "memory"]).assert(2, &["neither sync nor os"]);
    place.run(["bench", "--tls-ca", "ca.pem"]).assert(2, &["--tls-ca is for a broker that runs"]);
}

#[test]
fn a_broker_that_runs_is_measured_through_tls() {
    let place = Place::new();
    let (ours, other) = (certified(), certified());
    show(&place, &ours);
    std::fs::write(place.path("other.pem"), other.cert.pem()).unwrap();
    let broker = Followed::start(&place, SETTINGS);
    let server = broker.tcp_addr().to_string();
    let args = ["bench", "--server", &server, "--duration", "100ms", "--json", "--tls-ca"];
    let outcome = place.run(args.iter().copied().chain(["cert.pem"]));
    outcome.assert(0, &[]);
    let all: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(all["workloads"].as_array().unwrap().len(), 4);
    assert_eq!(all["broker"], server);
    let refused = place.run(args.iter().copied().chain(["other.pem"]));
    refused.assert(1, &["invalid peer certificate"]);
}
