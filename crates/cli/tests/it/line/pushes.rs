//! What is pushed: messages of topics, changes of keys.

use std::io::Write as _;

use super::{Client, set};
use crate::setup::Place;

#[test]
fn what_is_published_is_pushed_to_who_listens() {
    let place = Place::new();
    let broker = place.broker();
    let (mut text, mut json) = (Client::connect(&broker), Client::connect(&broker));
    assert_eq!(text.ask("SUBSCRIBE orders.*"), "OK");
    assert!(text.ask("SUBSCRIBE orders.*").starts_with("ERR the connection listens"));
    assert_eq!(json.json(r#"{"action":"SUBSCRIBE","topic":"orders.>"}"#)["result"], "OK");
    let mut publisher = Client::connect(&broker);
    assert_eq!(publisher.ask("PUBLISH orders.eu one two"), "OK 2");
    assert_eq!(publisher.ask("PUBLISH orders.eu.late three"), "OK 1");
    assert_eq!(publisher.ask("PUBLISH elsewhere four"), "OK 0");
    assert_eq!(text.next(), "*message orders.eu one two");
    let push: serde_json::Value = serde_json::from_str(&json.next()).unwrap();
    assert_eq!(
        (&push["event"], &push["topic"], &push["payload"]),
        (&"message".into(), &"orders.eu".into(), &"one two".into())
    );
    assert!(push.get("id").is_none());
    assert!(json.next().contains("three"));
    // What text can't show is told, and an answer after it is the next line.
    publisher.json(r#"{"action":"PUBLISH","topic":"orders.x","payload":"a\nb"}"#);
    assert_eq!(text.next(), "*unshown orders.x use JSON");
    assert_eq!(text.ask("UNSUBSCRIBE orders.*"), "OK");
    assert!(text.ask("UNSUBSCRIBE orders.*").starts_with("ERR "));
    assert_eq!(publisher.ask("PUBLISH orders.eu five"), "OK 1");
    assert_eq!(text.ask("PING"), "PONG");
}

#[test]
fn begun_and_ended_in_one_go() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    client.send("SUBSCRIBE a\nUNSUBSCRIBE a\nSUBSCRIBE a\nWATCH k\nUNWATCH k\nPUBLISH a x\n");
    let mut answers = Vec::new();
    while answers.len() < 6 {
        let line = client.next();
        if !line.starts_with('*') {
            answers.push(line);
        }
    }
    assert_eq!(answers, ["OK", "OK", "OK", "OK", "OK", "OK 1"]);
    assert_eq!(client.ask("UNSUBSCRIBE a"), "OK");
    assert_eq!(client.ask("PUBLISH a x"), "OK 0");
}

#[test]
fn changes_of_watched_keys_are_pushed_and_resume() {
    let place = Place::new();
    let broker = place.broker();
    let (mut text, mut json, mut writer) =
        (Client::connect(&broker), Client::connect(&broker), Client::connect(&broker));
    assert_eq!(text.ask("WATCH users^"), "OK");
    let from = json.json(r#"{"action":"WATCH","namespace":"users"}"#)["result"]["revision"]
        .as_u64()
        .unwrap();
    assert_eq!(writer.ask("SET users^a 1"), "OK");
    assert_eq!(writer.ask("SET other 1"), "OK");
    assert_eq!(writer.ask("DEL users^a"), "OK");
    writer.json(r#"{"action":"SET","key":"b","namespace":"users","value":[1],"ttl_ms":20}"#);
    let seen: Vec<_> = (0..4).map(|_| text.next()).collect();
    assert_eq!(seen, ["*put users^a 1", "*del users^a", "*put users^b [1]", "*expire users^b"]);
    let events: Vec<serde_json::Value> =
        (0..4).map(|_| serde_json::from_str(&json.next()).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["put", "del", "put", "expire"]);
    assert_eq!(events[2]["value"].to_string(), "[1]");
    // The same again, from the change behind the one that was the last then.
    let mut late = Client::connect(&broker);
    let resume = format!(r#"{{"action":"WATCH","namespace":"users","from":{}}}"#, from + 1);
    assert!(late.json(&resume)["result"].is_object());
    for event in events {
        assert_eq!(serde_json::from_str::<serde_json::Value>(&late.next()).unwrap(), event);
    }
}

#[test]
fn a_client_that_is_gone_leaves_nothing_behind() {
    let place = Place::new();
    let broker = place.broker();
    let mut publisher = Client::connect(&broker);
    let mut listeners: Vec<_> = (0..20).map(|_| Client::connect(&broker)).collect();
    listeners.iter_mut().for_each(|client| assert_eq!(client.ask("SUBSCRIBE a"), "OK"));
    assert_eq!(publisher.ask("PUBLISH a x"), "OK 20");
    drop(listeners);
    while publisher.ask("PUBLISH a x") != "OK 0" {}
}

#[test]
fn one_that_takes_nothing_is_bounded_told_of_its_gap_and_slows_nobody() {
    let place = Place::new();
    let broker = set(&place, "sub_buffer_bytes = \"64KiB\"\nwrite_timeout = \"5m\"");
    let mut slow = Client::connect(&broker);
    rustix::net::sockopt::set_socket_recv_buffer_size(slow.0.get_ref(), 4 << 10).unwrap();
    assert_eq!(slow.json(r#"{"action":"SUBSCRIBE","topic":"a"}"#)["result"], "OK");
    let mut publisher = Client::connect(&broker);
    let message = "x".repeat(32 << 10);
    for _ in 0..300 {
        publisher.send(format!("PUBLISH a {message}\n"));
    }
    (0..300).for_each(|_| assert_eq!(publisher.next(), "OK 1"));
    assert_eq!(publisher.ask("PUBLISH a last"), "OK 1");
    let (mut got, mut lost) = (0, 0);
    loop {
        let push: serde_json::Value = serde_json::from_str(&slow.next()).unwrap();
        match push["event"].as_str() {
            Some("gap") => lost += push["messages"].as_u64().unwrap(),
            Some("message") => {
                got += 1;
                if push["payload"] == "last" {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(lost > 0);
    assert_eq!(got + lost, 301, "every message is told, or told to be lost");
}

#[test]
fn the_sender_is_stamped_and_names_of_the_broker_are_its_own() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    assert_eq!(client.json(r#"{"action":"SUBSCRIBE","topic":"a"}"#)["result"], "OK");
    let forged = client.json(r#"{"action":"PUBLISH","topic":"a","payload":"x","sender":"root"}"#);
    assert!(forged["error"]["message"].as_str().unwrap().contains("sender"), "{forged}");
    client.0.get_mut().write_all(b"PUBLISH a x\n").unwrap();
    let mut lines = [client.next(), client.next()];
    lines.sort();
    let push: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!((lines[0].as_str(), &push["sender"]), ("OK 1", &"anonymous".into()));
    for line in ["PUBLISH $sys.news x", "SUBSCRIBE $sys.news", "SET $sys 1", "WATCH $sys"] {
        assert_eq!(client.ask(line), "ERR names beginning with `$` belong to the broker", "{line}");
    }
}
