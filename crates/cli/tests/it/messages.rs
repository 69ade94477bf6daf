//! From one process through the broker to another.

use std::fmt::Write;

use sluice_bench::process::Broker;

use crate::setup::{Outcome, Place, feed, wait};

/// Makes the durable subscription that `subscribe` goes on with.
fn make(place: &Place, broker: &Broker, topic: &str, name: &str) {
    let args = ["subscribe", topic, "--durable", name, "--count", "0"];
    let made: Outcome = place.client(broker, &args).output().unwrap().into();
    made.assert(0, &[]);
}

#[test]
fn what_is_published_is_printed() {
    let place = Place::new();
    let broker = place.broker();
    let args = ["subscribe", "demo", "--count", "1", "--json"];
    let mut subscriber = place.client(&broker, &args).spawn().unwrap();
    // The subscription gets what is published after it, and only its own output shows it.
    while subscriber.try_wait().unwrap().is_none() {
        let published = place.client(&broker, &["publish", "demo", "hi"]).output().unwrap();
        assert!(published.status.success());
    }
    let printed = wait(subscriber);
    printed.assert(0, &[]);
    let message: serde_json::Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!((&message["topic"], &message["payload"]), (&"demo".into(), &"hi".into()));
}

#[test]
fn lines_come_back_in_order_after_a_kill() {
    let place = Place::new();
    let broker = place.broker();
    make(&place, &broker, "lines", "all");
    let lines = (0..10_000).fold(String::new(), |mut lines, line| {
        writeln!(lines, "line {line}").unwrap();
        lines
    });
    let published = feed(&mut place.client(&broker, &["publish", "lines", "-"]), lines.as_bytes());
    published.assert(0, &[]);
    assert_eq!(published.out, "published 10000 to lines\n");
    broker.kill().unwrap();

    let broker = place.broker();
    let args = ["subscribe", "lines", "--durable", "all", "--count", "10000"];
    let printed = place.client(&broker, &args).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), lines);
    broker.kill().unwrap();

    // What was printed was acknowledged: only what comes now is left.
    let broker = place.broker();
    place.client(&broker, &["publish", "lines", "the next"]).output().unwrap();
    let args = ["subscribe", "lines", "--durable", "all", "--count", "1"];
    let printed = place.client(&broker, &args).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), "the next\n");
}

#[test]
fn bytes_that_are_no_text_are_printed_as_base64() {
    let place = Place::new();
    let broker = place.broker();
    make(&place, &broker, "bytes", "all");
    feed(&mut place.client(&broker, &["publish", "bytes"]), b"\xff\x00\n").assert(0, &[]);
    broker.kill().unwrap();
    let broker = place.broker();
    let args = ["subscribe", "bytes", "--durable", "all", "--count", "1", "--json"];
    let printed = wait(place.client(&broker, &args).spawn().unwrap());
    let message: serde_json::Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(message["payload"]["base64"], "/wA=");
}

#[test]
fn a_subscriber_lives_through_a_restart() {
    let place = Place::new();
    let broker = place.broker();
    let addr = broker.tcp_addr().to_string();
    let args = ["subscribe", "lasting", "--durable", "all", "--count", "2"];
    let mut subscriber = place.client(&broker, &args).spawn().unwrap();
    let mut printed = std::io::BufReader::new(subscriber.stdout.take().unwrap());
    // Published until the subscription is there and one has been printed.
    let publish = |broker: &_| place.client(broker, &["publish", "lasting", "x"]).output().unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut printed, &mut line).unwrap();
        told.send(()).unwrap();
        std::io::Read::read_to_string(&mut printed, &mut line).unwrap();
        line
    });
    while heard.try_recv().is_err() {
        assert!(publish(&broker).status.success());
    }
    broker.kill().unwrap();
    let broker = place.launch().at(&addr).start().unwrap();
    while subscriber.try_wait().unwrap().is_none() {
        assert!(publish(&broker).status.success());
    }
    assert!(subscriber.wait().unwrap().success());
    assert_eq!(reader.join().unwrap(), "x\nx\n");
}

#[test]
fn a_format_says_what_is_printed() {
    let place = Place::new();
    let broker = place.broker();
    make(&place, &broker, "orders.*", "audit");
    let args = ["publish", "orders.eu", "7", "--header", "type=order", "--json"];
    let published: Outcome = place.client(&broker, &args).output().unwrap().into();
    let published: serde_json::Value = serde_json::from_str(&published.out).unwrap();
    assert_eq!((&published["matched"], &published["level"]), (&1.into(), &"sync".into()));
    let format = "{topic}\\t{id} {sender} [{headers}] {payload}!";
    let args = ["subscribe", "orders.*", "--durable", "audit", "--count", "1", "--format", format];
    let printed: Outcome = place.client(&broker, &args).output().unwrap().into();
    let id = published["id"].as_str().unwrap();
    assert_eq!(printed.out, format!("orders.eu\t{id} anonymous [type=order] 7!\n"));
    let args = ["subscribe", "x", "--format", "{nothing}"];
    let refused: Outcome = place.client(&broker, &args).output().unwrap().into();
    refused.assert(2, &["no field nothing", "payload"]);
}

#[test]
fn subscriptions_are_listed_and_deleted() {
    let place = Place::new();
    let broker = place.broker();
    make(&place, &broker, "orders.>", "audit");
    place.client(&broker, &["publish", "orders.eu", "x"]).output().unwrap();
    let listed: Outcome = place.client(&broker, &["subscription", "list"]).output().unwrap().into();
    let lines: Vec<Vec<&str>> =
        listed.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["name", "pattern", "ready", "delayed", "leased", "dead"]);
    assert_eq!(lines[1], ["audit", "orders.>", "1", "0", "0", "0"]);
    let delete =
        |args: &[&str]| -> Outcome { place.client(&broker, args).output().unwrap().into() };
    delete(&["subscription", "delete", "audit"]).assert(0, &[]);
    delete(&["subscription", "delete", "audit"]).assert(1, &["404 not_found"]);
    let listed = delete(&["subscription", "list", "--json"]);
    assert_eq!(listed.out, "{\"queues\":[]}\n");
}

/// How many messages wait for the only subscription.
fn ready(place: &Place, broker: &Broker) -> u64 {
    let args = ["subscription", "list", "--json"];
    let listed: Outcome = place.client(broker, &args).output().unwrap().into();
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    listed["queues"][0]["counts"]["ready"].as_u64().unwrap()
}

#[test]
fn a_publisher_lives_through_a_kill_and_no_line_is_missing() {
    const LINES: usize = 20_000;
    let place = Place::new();
    let broker = place.broker();
    let addr = broker.tcp_addr().to_string();
    make(&place, &broker, "lines", "all");
    let mut publisher = place.client(&broker, &["publish", "lines", "-", "--json"]);
    let mut publisher = publisher.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = publisher.stdin.take().unwrap();
    let line = |number: usize| format!("{number}\n");
    let first: String = (0..LINES / 2).map(line).collect();
    std::io::Write::write_all(&mut input, first.as_bytes()).unwrap();
    while ready(&place, &broker) == 0 {}
    broker.kill().unwrap();
    let broker = place.launch().at(&addr).start().unwrap();
    let second: String = (LINES / 2..LINES).map(line).collect();
    std::io::Write::write_all(&mut input, second.as_bytes()).unwrap();
    drop(input);
    let told = wait(publisher);
    told.assert(0, &[]);
    let told: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told["published"], LINES);

    // At least once: all are there, whatever was sent twice.
    let again = told["batches_sent_again"].as_u64().unwrap();
    let ready = ready(&place, &broker);
    assert!(ready == LINES as u64 || (ready > LINES as u64 && again > 0), "{ready} {again}");
    let count = ready.to_string();
    let args = ["subscribe", "lines", "--durable", "all", "--count", &count];
    let printed: Outcome = place.client(&broker, &args).output().unwrap().into();
    let seen: std::collections::BTreeSet<usize> =
        printed.out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(seen.len(), LINES);
}
