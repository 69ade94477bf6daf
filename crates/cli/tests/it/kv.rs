//! Keys and values by the command line.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::setup::{Place, feed, wait};

#[test]
fn keys_are_set_read_added_to_listed_and_removed() {
    let place = Place::new();
    let broker = place.broker();
    let kv = |args: &[&str]| place.ok(&broker, &[&["kv"], args].concat());
    assert_eq!(kv(&["set", "motd", "hello there"]), "revision 1\n");
    assert_eq!(kv(&["get", "motd"]), "hello there");
    let piped =
        feed(&mut place.client(&broker, &["kv", "set", "n^1", "--kind", "json"]), b"{\"a\": 1}");
    piped.assert(0, &[]);
    assert_eq!(kv(&["set", "n^2", "x", "--ttl", "1h", "--if-absent"]), "revision 3\n");
    place.ask(&broker, &["kv", "set", "n^2", "y", "--if-absent"]).assert(1, &["conflict"]);
    place
        .ask(&broker, &["kv", "set", "n^2", "y", "--if-revision", "1"])
        .assert(1, &["revision is 3"]);
    place.ask(&broker, &["kv", "set", "n^3", "{", "--kind", "json"]).assert(1, &["json"]);
    place.ask(&broker, &["kv", "get", "nowhere"]).assert(1, &["not_found"]);
    place.ask(&broker, &["kv", "get", "a b"]).assert(2, &["a b"]);
    assert_eq!(kv(&["incr", "hits"]), "1\n");
    assert_eq!(kv(&["incr", "hits", "-3"]), "-2\n");
    assert_eq!(kv(&["scan", "n^"]), "n^1\t2\t{\"a\": 1}\nn^2\t3\tx\n");
    assert_eq!(kv(&["scan", "--names", "--limit", "2"]), "hits\nmotd\n");
    let json: serde_json::Value = serde_json::from_str(&kv(&["get", "n^1", "--json"])).unwrap();
    assert_eq!((&json["kind"], &json["value"]), (&"json".into(), &"{\"a\": 1}".into()));
    assert_eq!(kv(&["del", "motd"]), "revision 6\n");
    place.ask(&broker, &["kv", "del", "motd"]).assert(1, &["not_found"]);
}

#[test]
fn a_watch_prints_changes_as_they_happen() {
    let place = Place::new();
    let broker = place.broker();
    place.ok(&broker, &["kv", "set", "n^1", "first"]);
    let mut command = place.client(&broker, &["kv", "watch", "n^", "--from", "1", "--max", "3"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "put\tn^1\t1\tfirst");
    place.ok(&broker, &["kv", "set", "other", "x"]);
    place.ok(&broker, &["kv", "set", "n^2", "two\nlines"]);
    assert_eq!(next(), "put\tn^2\t3\ttwo\\nlines");
    place.ok(&broker, &["kv", "del", "n^2"]);
    assert_eq!(next(), "del\tn^2\t4\t");
    wait(child).assert(0, &[]);
}
