//! Queues through the line door.

use super::{Client, set};
use crate::setup::Place;

/// Id, lease and payload of a message.
fn message(line: &str) -> (String, String, String) {
    let mut parts = line.splitn(3, ' ').map(ToOwned::to_owned);
    let mut part = || parts.next().unwrap_or_else(|| panic!("no message: {line}"));
    (part(), part(), part())
}

#[test]
fn a_message_is_leased_settled_and_tried_again() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    assert_eq!(client.ask("DEQUEUE jobs"), "EMPTY");
    let said = client.ask("ENQUEUE jobs  two words ");
    let id = said.strip_prefix("OK ").unwrap().to_owned();
    let (first, lease, payload) = message(&client.ask("DEQUEUE jobs"));
    assert_eq!((&first, payload.as_str()), (&id, " two words "));
    assert_eq!(client.ask("DEQUEUE jobs"), "EMPTY");
    assert_eq!(client.ask(&format!("NACK {lease} 0")), "OK");
    assert!(client.ask(&format!("NACK {lease}")).starts_with("ERR "));
    let (again, lease, _) = message(&client.ask("DEQUEUE jobs 5000"));
    assert_eq!(again, id);
    assert_eq!(client.ask(&format!("EXTEND {lease} 60000")), "OK");
    assert_eq!(client.ask(&format!("ACK {lease}")), "OK");
    assert_eq!(client.ask(&format!("ACK {lease}")), "OK");
    assert_eq!(client.ask("DEQUEUE jobs"), "EMPTY");
    assert!(
        client
            .ask("STATS jobs")
            .starts_with("ready=0 delayed=0 leased=0 dead=0 published=1 acked=1")
    );
}

#[test]
fn json_tells_all_of_a_message() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    let said = client.json(r#"{"action":"ENQUEUE","queue":"q","payload":{"base64":"AP8="},"headers":{"a":"b"},"priority":9}"#);
    let id = said["result"]["id"].clone();
    let said = client.json(r#"{"action":"DEQUEUE","queue":"q","id":null}"#);
    assert!(said.as_object().unwrap().contains_key("id"), "{said}");
    let message = &said["result"];
    assert_eq!((&message["id"], &message["payload"]["base64"]), (&id, &"AP8=".into()));
    assert_eq!(
        (&message["priority"], &message["headers"][0][1], &message["attempt"]),
        (&9.into(), &"b".into(), &1.into())
    );
    let lease = message["lease"].as_str().unwrap();
    let said = client.json(&format!(r#"{{"action":"ACK","lease":"{lease}"}}"#));
    assert_eq!(said["result"]["already"], false);
    assert_eq!(client.ask(r#"{"action":"DEQUEUE","queue":"q"}"#), r#"{"result":null}"#);
}

#[test]
fn what_text_can_not_show_stays_where_it_is() {
    let place = Place::new();
    // More often than a message may be given back: nobody has had it, so nothing counts.
    let broker = set(&place, "max_releases = 1");
    let mut client = Client::connect(&broker);
    client.json(r#"{"action":"ENQUEUE","queue":"q","payload":"two\nlines"}"#);
    client.json(r#"{"action":"ENQUEUE","queue":"q","payload":"one"}"#);
    for _ in 0..3 {
        assert_eq!(client.ask("DEQUEUE q"), "ERR use JSON");
    }
    let message = client.json(r#"{"action":"DEQUEUE","queue":"q","wait_ms":5000}"#);
    assert_eq!(
        (&message["result"]["payload"], &message["result"]["failures"]),
        (&"two\nlines".into(), &0.into())
    );
}

#[test]
fn a_request_that_waits_delays_no_execution_and_keeps_the_order_of_answers() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    client.send("DEQUEUE jobs 60000\nSET done yes\nPING\nENQUEUE jobs work\n");
    let (_, _, payload) = message(&client.next());
    assert_eq!(payload, "work", "the ENQUEUE behind it was carried out");
    assert_eq!((client.next(), client.next()), ("OK".into(), "PONG".into()));
    assert!(client.next().starts_with("OK "));
    let mut waiting = Client::connect(&broker);
    waiting.send("DEQUEUE jobs 60000\nSET seen yes\n");
    let mut other = Client::connect(&broker);
    while other.ask("EXISTS seen") == "0" {}
    assert!(other.ask("ENQUEUE jobs more").starts_with("OK "));
    assert_eq!(message(&waiting.next()).2, "more");
    assert_eq!(waiting.next(), "OK");
}

#[test]
fn leases_of_a_client_that_is_gone_go_back_after_the_grace() {
    let place = Place::new();
    let broker = set(&place, "lost_grace = \"100ms\"");
    let mut client = Client::connect(&broker);
    assert!(client.ask("ENQUEUE jobs one").starts_with("OK "));
    assert!(client.ask("ENQUEUE jobs two").starts_with("OK "));
    assert_eq!(message(&client.ask("DEQUEUE jobs")).2, "one");
    assert_eq!(message(&client.ask("DEQUEUE jobs")).2, "two");
    drop(client);
    let mut next = Client::connect(&broker);
    let mut failures = Vec::new();
    for _ in 0..2 {
        let said = next.json(r#"{"action":"DEQUEUE","queue":"jobs","wait_ms":60000}"#);
        failures.push((
            said["result"]["payload"].as_str().unwrap().to_owned(),
            said["result"]["failures"].as_u64().unwrap(),
        ));
    }
    // The oldest counts as failed and backs off; the other is given back as it was.
    assert_eq!(failures, [("two".to_owned(), 0), ("one".to_owned(), 1)]);
}
