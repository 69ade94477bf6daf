//! From one process through the broker to another.

use std::fmt::Write;

use crate::setup::{Place, feed, subscribe, wait};

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
    let subscription = subscribe(&broker, "lines");
    let lines = (0..10_000).fold(String::new(), |mut lines, line| {
        writeln!(lines, "line {line}").unwrap();
        lines
    });
    let published = feed(&mut place.client(&broker, &["publish", "lines", "-"]), lines.as_bytes());
    published.assert(0, &[]);
    assert_eq!(published.out, "published 10000 to lines\n");
    broker.kill().unwrap();
    drop(subscription);

    // After a start every subscription waits for somebody to take it over.
    let broker = place.broker();
    let args = ["subscribe", "lines", "--count", "10000"];
    let printed = place.client(&broker, &args).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), lines);
    broker.kill().unwrap();

    // What was printed was acknowledged: only what comes now is left.
    let broker = place.broker();
    place.client(&broker, &["publish", "lines", "the next"]).output().unwrap();
    let printed = place.client(&broker, &["subscribe", "lines", "--count", "1"]).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), "the next\n");
}

#[test]
fn bytes_that_are_no_text_are_printed_as_base64() {
    let place = Place::new();
    let broker = place.broker();
    let subscription = subscribe(&broker, "bytes");
    feed(&mut place.client(&broker, &["publish", "bytes"]), b"\xff\x00\n").assert(0, &[]);
    broker.kill().unwrap();
    drop(subscription);
    let broker = place.broker();
    let args = ["subscribe", "bytes", "--count", "1", "--json"];
    let printed = wait(place.client(&broker, &args).spawn().unwrap());
    let message: serde_json::Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(message["payload"]["base64"], "/wA=");
}

#[test]
fn a_subscriber_lives_through_a_restart() {
    let place = Place::new();
    let broker = place.broker();
    let addr = broker.tcp_addr().to_string();
    let args = ["subscribe", "lasting", "--count", "2"];
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
