//! Histories of clients of one key, recorded over sockets and through kills, searched for an order that
//! explains them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use serde_json::{Value, json};

use super::Client;
use crate::linear::{Done, What, is_linearizable};
use crate::setup::Place;

const KEYS: u64 = 6;
/// Clients of each key.
const CLIENTS: u64 = 8;
/// Times that the broker is started; all but the last time it is killed at work.
const LIVES: u64 = 3;
/// What a client does in one of them, at most: the search takes 128 of each key.
const TIMES: u64 = 5;

/// Somebody who works on one key.
struct Player {
    key: String,
    number: u64,
    made: u64,
    /// The value that it read last, and its revision.
    seen: Option<(String, u64)>,
    history: Vec<Done>,
}

impl Player {
    /// Works until the broker is gone.
    fn work(&mut self, addr: SocketAddr, clock: &AtomicU64) {
        let Ok(stream) = std::net::TcpStream::connect(addr) else { return };
        let mut client = Client::over(stream);
        for _ in 0..TIMES {
            let (mut what, request) = self.next();
            let asked = clock.fetch_add(1, SeqCst);
            let said = client.try_json(&request);
            let answered = said.is_some().then(|| clock.fetch_add(1, SeqCst));
            match (&mut what, &said) {
                // Nobody knows what was read, and it did nothing.
                (What::Read(_), None) => return,
                (What::Read(seen), Some(said)) => {
                    let value = said["result"]["value"].as_str().map(str::to_owned);
                    let revision = said["result"]["revision"].as_u64();
                    self.seen = value.clone().zip(revision);
                    *seen = value;
                }
                (What::Put(_), said) => assert!(said.as_ref().is_none_or(is_done)),
                (
                    What::Swap { done, .. } | What::PutNew { done, .. } | What::Delete(done),
                    said,
                ) => *done = said.as_ref().map(is_done),
            }
            self.history.push(Done { what, asked, answered });
            if answered.is_none() {
                return;
            }
        }
    }

    fn next(&mut self) -> (What, Value) {
        self.made += 1;
        let (key, value) = (&self.key, format!("{}.{}", self.number, self.made));
        let dice = (self.number * 7 + self.made * 13) ^ (self.made * self.made * 5);
        match (dice % 5, &self.seen) {
            (0, _) => {
                let request = json!({"action": "SET", "key": key, "value": value});
                (What::Put(value), request)
            }
            (1, Some((before, revision))) => {
                let request = json!({"action": "SET", "key": key, "value": value,
                    "if_revision": revision});
                (What::Swap { before: before.clone(), after: value, done: None }, request)
            }
            (2, _) => {
                let request =
                    json!({"action": "SET", "key": key, "value": value, "if_absent": true});
                (What::PutNew { value, done: None }, request)
            }
            (3, _) => (What::Delete(None), json!({"action": "DEL", "key": key})),
            _ => (What::Read(None), json!({"action": "GET", "key": key, "entry": true})),
        }
    }
}

fn is_done(said: &Value) -> bool {
    let refused = said["error"]["code"].as_str();
    assert!(matches!(refused, None | Some("conflict" | "not_found")), "{said}");
    refused.is_none()
}

#[test]
fn the_histories_of_eight_clients_of_a_key_are_linearizable_through_kills() {
    let place = Place::new();
    let clock = AtomicU64::new(0);
    let mut players: Vec<_> = (0..KEYS * CLIENTS)
        .map(|number| Player {
            key: format!("k{}", number % KEYS),
            number,
            made: 0,
            seen: None,
            history: Vec::new(),
        })
        .collect();
    let mut cut_short = 0;
    for life in 1..=LIVES {
        let broker = place.broker();
        let (addr, begun) = (broker.tcp_addr(), clock.load(SeqCst));
        thread::scope(|scope| {
            let working: Vec<_> = players
                .iter_mut()
                .map(|player| scope.spawn(|| player.work(addr, &clock)))
                .collect();
            // In the middle of it, as both the questions and the answers are counted.
            while clock.load(SeqCst) - begun < KEYS * CLIENTS * TIMES && life < LIVES {
                thread::yield_now();
            }
            if life == LIVES {
                working.into_iter().for_each(|work| work.join().unwrap());
            }
            broker.kill().unwrap();
        });
        let without =
            |player: &&Player| player.history.last().is_some_and(|last| last.answered.is_none());
        cut_short += players.iter().filter(without).count();
    }
    assert!(cut_short > 0, "no kill came while somebody waited for an answer");
    for key in 0..KEYS {
        let of_key = |player: &&Player| player.number % KEYS == key;
        let histories = players.iter().filter(of_key).map(|player| &player.history);
        let history: Vec<Done> = histories.flatten().cloned().collect();
        assert!(history.len() > 40, "{}", history.len());
        assert!(is_linearizable(&history), "k{key}: {history:#?}");
    }
}
