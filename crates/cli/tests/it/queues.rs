//! Queues by the command line: each verb, from one process to another.

use serde_json::Value;
use sluice_bench::process::Broker;

use crate::setup::{Outcome, Place, feed};

struct Shell {
    place: Place,
    broker: Broker,
}

impl Shell {
    fn new() -> Self {
        let place = Place::new();
        let broker = place.broker();
        Self { place, broker }
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.place.ask(&self.broker, args)
    }

    /// What a command that must succeed prints.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.place.ok(&self.broker, args)
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// The token of a message that is taken, and its payload.
    #[track_caller]
    fn take(&self, queue: &str) -> (String, String) {
        let out = self.ok(&["queue", "take", queue]);
        let (token, payload) = out.trim_end().split_once('\t').unwrap();
        (token.to_owned(), payload.to_owned())
    }
}

#[test]
fn a_message_is_put_taken_and_acked_by_its_token_from_another_process() {
    let shell = Shell::new();
    assert_eq!(shell.ok(&["queue", "declare", "mail"]), "mail made\n");
    assert_eq!(shell.ok(&["queue", "declare", "mail"]), "mail is there as asked\n");
    assert_eq!(shell.ok(&["queue", "put", "mail", "hello"]), "published 1 to mail\n");
    let (token, payload) = shell.take("mail");
    assert_eq!(payload, "hello");
    assert_eq!(shell.ok(&["queue", "take", "mail"]), "");
    assert_eq!(shell.ok(&["queue", "ack", &token]), "acked 1\n");
    let stats = shell.json(&["queue", "stats", "mail"]);
    assert_eq!((&stats["acked"], &stats["counts"]["leased"]), (&1.into(), &0.into()));
    let text = shell.ok(&["queue", "stats", "mail"]);
    assert!(text.contains("lease_ms") && text.contains("30s"), "{text}");
}

#[test]
fn what_is_nacked_comes_again_dies_and_is_put_back() {
    let shell = Shell::new();
    shell.ok(&["queue", "declare", "mail", "--set", "max_failures=2"]);
    shell.ok(&["queue", "put", "mail", "letter", "--priority", "7", "--key", "stripe:7"]);
    let (token, _) = shell.take("mail");
    assert_eq!(shell.ok(&["queue", "nack", &token, "--release"]), "released 1\n");
    let (token, _) = shell.take("mail");
    shell.ok(&["queue", "nack", &token, "--delay", "0", "--note", "no such box"]);
    // A lease ends once.
    shell.run(&["queue", "nack", &token]).assert(1, &["1 of 1 leases", &token]);
    let taken = shell.json(&["queue", "take", "mail", "--wait", "10s"]);
    assert_eq!((&taken["failures"], &taken["redelivered"]), (&1.into(), &true.into()));
    shell.ok(&["queue", "nack", taken["token"].as_str().unwrap(), "--note", "still none"]);

    let dead = shell.json(&["queue", "peek", "mail", "--state", "dead"]);
    let dead = &dead["messages"][0];
    assert_eq!(
        (&dead["dead_reason"], &dead["last_error"]),
        (&"max_failures".into(), &"still none".into())
    );
    let id = dead["id"].as_str().unwrap();
    let peeked = shell.ok(&["queue", "peek", "mail", id]);
    assert!(peeked.contains("stripe:7") && peeked.ends_with("\nletter\n"), "{peeked}");
    assert_eq!(shell.ok(&["queue", "redrive", "mail", "--id", id]), "put back 1\n");
    assert_eq!(shell.ok(&["queue", "take", "mail", "--ack"]), "letter\n");
    assert_eq!(shell.json(&["queue", "stats", "mail"])["acked"], 1);
}

#[test]
fn lines_are_put_and_taken_many_at_once() {
    let shell = Shell::new();
    shell.ok(&["queue", "declare", "mail"]);
    let lines: String = (0..500).map(|line| format!("{line}\n")).collect();
    let mut put = shell.place.client(&shell.broker, &["queue", "put", "mail", "--json"]);
    let put = feed(&mut put, lines.as_bytes());
    let put: Value = serde_json::from_str(&put.out).unwrap();
    assert_eq!((&put["published"], &put["queue"]), (&500.into(), &"mail".into()));
    let taken = shell.ok(&["queue", "take", "mail", "--max", "500", "--ack"]);
    assert_eq!(taken, lines);
}

#[test]
fn queues_are_listed_changed_purged_and_deleted() {
    let shell = Shell::new();
    for queue in ["a", "b.longer"] {
        shell.ok(&["queue", "declare", queue]);
        shell.ok(&["queue", "put", queue, "x"]);
    }
    let list = "name      ready  delayed  leased  dead\n\
                a             1        0       0     0\n\
                b.longer      1        0       0     0\n";
    assert_eq!(shell.ok(&["queue", "list"]), list);
    let other = ["queue", "declare", "a", "--set", "lease_ms=60000"];
    shell.run(&other).assert(1, &["--update", "lease_ms is 30000, not 60000"]);
    assert_eq!(shell.ok(&[&other[..], &["--update"]].concat()), "a is as asked now\n");
    assert_eq!(shell.json(&["queue", "stats", "a"])["settings"]["lease_ms"], 60_000);
    shell.run(&["queue", "declare", "a", "--set", "lease=1"]).assert(2, &["lease_ms"]);
    assert_eq!(shell.ok(&["queue", "purge", "a"]), "purged; 1 messages are gone\n");
    shell.take("b.longer");
    shell.run(&["queue", "delete", "b.longer"]).assert(1, &["409 conflict"]);
    let deleted = shell.json(&["queue", "delete", "b.longer", "--force"]);
    assert_eq!(deleted["messages"], 1);
    shell.run(&["queue", "stats", "b.longer"]).assert(1, &["404 not_found"]);
    shell.run(&["queue", "put", "b.longer", "x"]).assert(1, &["404 not_found"]);
}

#[test]
fn health_says_whether_the_broker_serves() {
    let shell = Shell::new();
    assert!(shell.ok(&["health"]).starts_with("ok: 127.0.0.1:"));
    assert_eq!(shell.json(&["health"])["ok"], true);
    let Shell { place, broker } = shell;
    let addr = broker.tcp_addr().to_string();
    broker.kill().unwrap();
    place.run(["health", "--server", &addr]).assert(1, &["is the broker running?"]);
}

#[test]
fn arguments_without_sense_are_refused_before_anything_is_asked() {
    let place = Place::new();
    for args in [
        &["queue", "ack", "no-token"][..],
        &["queue", "ack"],
        &["queue", "take", "mail", "--max", "0"],
        &["queue", "take", "mail", "--wait", "soon"],
        &["queue", "peek", "mail", "--state", "asleep"],
        &["queue", "redrive", "mail", "--reason", "boredom"],
        &["queue", "stats", "two words"],
    ] {
        assert_eq!(place.run(args).code, Some(2), "{args:?}");
    }
}
