//! Many clients at once.

use std::collections::BTreeSet;
use std::thread;

use serde_json::json;

use super::Client;
use crate::setup::Place;

/// As many connections at once.
const CLIENTS: usize = 1_000;
/// Threads that drive them.
const THREADS: usize = 8;

#[test]
fn a_thousand_sets_keep_their_values() {
    let place = Place::new();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    for number in 0..1_000 {
        client.send(format!("SET key^{number} value {number}\n"));
    }
    (0..1_000).for_each(|_| assert_eq!(client.next(), "OK"));
    for number in 0..1_000 {
        assert_eq!(client.ask(&format!("GET key^{number}")), format!("value {number}"));
    }
}

/// Each client sets a key of its own, and adds one to a number that all share, by writing it only
/// if nobody has meanwhile. Revisions give the order of the writes, so the history is checked as
/// one line: the n-th write that was taken wrote n.
#[test]
fn no_update_is_lost_with_conditional_writes() {
    let place = Place::new();
    let broker = place.broker();
    let clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&broker)).collect();
    let mut first = Client::connect(&broker);
    first.json(r#"{"action":"SET","key":"shared","value":0}"#);
    let mut parts: Vec<Vec<(usize, Client)>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (number, client) in clients.into_iter().enumerate() {
        parts[number % THREADS].push((number, client));
    }
    let work = |part: Vec<(usize, Client)>| {
        thread::spawn(move || {
            let mut written = Vec::new();
            for (number, mut client) in part {
                let own = format!(
                    r#"{{"action":"SET","namespace":"own","key":"{number}","value":{number}}}"#
                );
                assert!(client.json(&own)["result"].is_object());
                written.push(add_one(&mut client));
                client.json(r#"{"action":"INCR","key":"counted"}"#);
            }
            written
        })
    };
    let threads: Vec<_> = parts.into_iter().map(work).collect();
    let mut written: Vec<_> =
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    written.sort_unstable();
    let values: Vec<_> = written.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, (1..=CLIENTS as u64).collect::<Vec<_>>(), "in the order of revisions");
    let revisions: BTreeSet<_> = written.iter().map(|(revision, _)| revision).collect();
    assert_eq!(revisions.len(), CLIENTS);
    let last = first.json(r#"{"action":"GET","key":"shared","entry":true}"#)["result"].take();
    assert_eq!(
        (last["value"].as_u64(), last["revision"].as_u64()),
        (Some(CLIENTS as u64), written.last().map(|(revision, _)| *revision))
    );
    assert_eq!(first.ask("GET counted"), CLIENTS.to_string());
    for number in 0..CLIENTS {
        assert_eq!(first.ask(&format!("GET own^{number}")), number.to_string());
    }
    // What was answered is there after a kill.
    broker.kill().unwrap();
    let broker = place.broker();
    assert_eq!(Client::connect(&broker).ask("GET shared"), CLIENTS.to_string());
}

/// The revision and the value of the write that was taken.
fn add_one(client: &mut Client) -> (u64, u64) {
    loop {
        let seen = client.json(r#"{"action":"GET","key":"shared","entry":true}"#)["result"].take();
        let value = seen["value"].as_u64().unwrap() + 1;
        let set = json!({"action": "SET", "key": "shared", "value": value, "if_revision": seen["revision"]});
        let said = client.json(&set.to_string());
        match said["result"]["revision"].as_u64() {
            Some(revision) => return (revision, value),
            None => assert_eq!(said["error"]["code"], "conflict"),
        }
    }
}
