//! Many clients at once.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};
use sluice_bench::process::Broker;

use super::Client;
use crate::setup::Place;

/// As many connections at once.
const CLIENTS: usize = 1_000;
/// Keys that they share, beside one of its own for each.
const SHARED: usize = 40;
/// Threads that drive them, all of whose clients have a request under way together.
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

/// One of the many. It sets a key of its own, and adds one to a number that it shares with others, by
/// writing it only if nobody has meanwhile.
struct Player {
    number: usize,
    client: Option<Client>,
    /// The write that has no answer; it has a dedupe id, so that it counts once.
    pending: Option<Value>,
    /// The revision and the value of the write that was taken.
    written: Option<(u64, u64)>,
}

impl Player {
    fn shared(&self) -> String {
        format!("shared^{}", self.number % SHARED)
    }

    fn connect(&mut self, broker: &Broker) {
        self.client = Some(Client::connect(broker));
    }

    fn asks(&mut self, request: &Value) -> Option<()> {
        self.client.as_mut()?.try_send(&request.to_string())
    }

    fn hears(&mut self) -> Option<Value> {
        let line = self.client.as_mut()?.line()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Asks for what is there, unless a write is to be asked for again.
    fn looks(&mut self) -> Option<()> {
        if self.pending.is_some() {
            return Some(());
        }
        self.asks(&json!({"action": "GET", "key": self.shared(), "entry": true}))
    }

    /// Writes one more than what was there.
    fn writes(&mut self) -> Option<()> {
        if self.pending.is_none() {
            let seen = self.hears()?["result"].take();
            let value = seen["value"].as_u64().unwrap() + 1;
            let id = format!("{}-{}", self.number, seen["revision"]);
            self.pending = Some(json!({"action": "SET", "key": self.shared(), "value": value,
                "if_revision": seen["revision"], "dedupe_id": id}));
        }
        let request = self.pending.clone()?;
        self.asks(&request)
    }

    /// Hears whether that was taken.
    fn finishes(&mut self) -> Option<()> {
        let said = self.hears()?;
        let request = self.pending.take()?;
        match said["result"]["revision"].as_u64() {
            Some(revision) => self.written = Some((revision, request["value"].as_u64().unwrap())),
            None => assert_eq!(said["error"]["code"], "conflict"),
        }
        Some(())
    }
}

/// Lets all work together until each has written, or the broker is gone.
fn play(players: &mut [Player]) -> Option<()> {
    for player in players.iter_mut().filter(|player| player.written.is_none()) {
        let (key, value) = (player.number.to_string(), player.number);
        player.asks(&json!({"action": "SET", "namespace": "own", "key": key, "value": value}))?;
    }
    for player in players.iter_mut().filter(|player| player.written.is_none()) {
        assert!(player.hears()?["result"].is_object());
    }
    loop {
        let mut left: Vec<_> =
            players.iter_mut().filter(|player| player.written.is_none()).collect();
        if left.is_empty() {
            return Some(());
        }
        left.iter_mut().try_for_each(|player| player.looks())?;
        left.iter_mut().try_for_each(|player| player.writes())?;
        left.iter_mut().try_for_each(|player| player.finishes())?;
    }
}

/// Revisions give the order of the writes, so the history of each key is checked as one line: the n-th
/// write that was taken wrote n.
#[test]
fn no_update_is_lost_with_conditional_writes() {
    let place = Place::new();
    let mut broker = place.broker();
    let mut first = Client::connect(&broker);
    for shared in 0..SHARED {
        let zero = json!({"action": "SET", "key": format!("shared^{shared}"), "value": 0});
        first.json(&zero.to_string());
    }
    let mut parts: Vec<Vec<Player>> = (0..THREADS).map(|_| Vec::new()).collect();
    for number in 0..CLIENTS {
        let (client, pending, written) = (None, None, None);
        parts[number % THREADS].push(Player { number, client, pending, written });
    }
    // Once it is killed while all of them work.
    for is_killed in [true, false] {
        parts.iter_mut().flatten().for_each(|player| player.connect(&broker));
        let mut counter = Client::connect(&broker);
        broker = thread::scope(|scope| {
            let working: Vec<_> =
                parts.iter_mut().map(|part| scope.spawn(|| play(part).is_some())).collect();
            let mut broker = broker;
            if is_killed {
                let enough = CLIENTS / SHARED / 3;
                while counter.ask("GET shared^0").parse::<usize>().unwrap() < enough {}
                broker.kill().unwrap();
                broker = place.broker();
            }
            let done: Vec<_> = working.into_iter().map(|work| work.join().unwrap()).collect();
            let is_broken = done.iter().any(|done| !done);
            assert_eq!(is_broken, is_killed, "it was killed at work, and not otherwise");
            broker
        });
    }
    let players: Vec<_> = parts.into_iter().flatten().collect();
    let mut lines: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for player in &players {
        lines.entry(player.shared()).or_default().push(player.written.unwrap());
    }
    // What was answered is there after another kill.
    broker.kill().unwrap();
    let broker = place.broker();
    let mut client = Client::connect(&broker);
    for (key, mut written) in lines {
        written.sort_unstable();
        let values: Vec<_> = written.iter().map(|(_, value)| *value).collect();
        let count = (CLIENTS / SHARED) as u64;
        assert_eq!(values, (1..=count).collect::<Vec<_>>(), "{key}, in the order of revisions");
        let get = json!({"action": "GET", "key": key, "entry": true});
        let there = client.json(&get.to_string())["result"].take();
        let last = written.last().map(|(revision, _)| *revision);
        assert_eq!((there["value"].as_u64(), there["revision"].as_u64()), (Some(count), last));
    }
    for number in 0..CLIENTS {
        assert_eq!(client.ask(&format!("GET own^{number}")), number.to_string());
    }
}
