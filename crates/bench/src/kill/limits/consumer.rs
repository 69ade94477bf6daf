//! A consumer that notes every lease that it saw: when it came, and when it stopped to use it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::Http;
use super::judge::Lease;
use super::{KillError, LEASE_MS, QUEUE, ended, now};
use crate::process::Broker;
use crate::random::Random;

/// Messages asked for at once.
const TAKE: u64 = 4;
/// Longest time that a message is worked on, in microseconds.
const WORK_MAX: u64 = 6_000;
/// Of a hundred messages, so many are let go.
const ABANDONED_PERCENT: u64 = 4;

pub(super) struct Consumer {
    random: Random,
    pub(super) leases: Vec<Lease>,
    pub(super) acked: u64,
    pub(super) abandoned: u64,
}

impl Consumer {
    pub(super) fn new(random: Random) -> Self {
        Self { random, leases: Vec::new(), acked: 0, abandoned: 0 }
    }

    /// Works until the broker is gone.
    pub(super) fn consume(&mut self, broker: &Broker, stop: &AtomicBool) -> Result<(), KillError> {
        self.work(broker, stop, ABANDONED_PERCENT)
    }

    /// Works until it is told to stop, and lets nothing go.
    pub(super) fn drain(&mut self, broker: &Broker, stop: &AtomicBool) -> Result<(), KillError> {
        self.work(broker, stop, 0)
    }

    fn work(
        &mut self,
        broker: &Broker,
        stop: &AtomicBool,
        abandoned_percent: u64,
    ) -> Result<(), KillError> {
        let Some(mut http) = ended(Http::connect(broker).map_err(Into::into))? else {
            return Ok(());
        };
        while !stop.load(Ordering::Relaxed) {
            let receive = json!({"max": TAKE, "wait_ms": 100, "lease_ms": LEASE_MS});
            let path = format!("/v1/queues/{QUEUE}/receive");
            let Some(answer) = ended(http.ask("POST", &path, &receive))? else { return Ok(()) };
            let came_at = now()?;
            let messages = answer["messages"].as_array().cloned().unwrap_or_default();
            let first = self.leases.len();
            for message in &messages {
                self.leases.push(seen(message, came_at)?);
            }
            for (message, at) in messages.iter().zip(first..) {
                if self.random.chance(abandoned_percent) {
                    self.abandoned += 1;
                    continue;
                }
                thread::sleep(Duration::from_micros(self.random.below(WORK_MAX)));
                // From here on it is used no more, whatever becomes of the ack.
                self.leases[at].until = now()?.min(self.leases[at].until);
                let ack = json!({"tokens": [message["token"]]});
                let Some(answer) = ended(http.ask("POST", "/v1/ack", &ack))? else {
                    return Ok(());
                };
                self.acked += u64::from(answer["results"][0]["ok"] == true);
            }
        }
        Ok(())
    }
}

/// A lease as it came; it is held until its deadline unless it is acknowledged before.
fn seen(message: &Value, came_at: u64) -> Result<Lease, KillError> {
    let number = |name: &str| message[name].as_u64();
    let key = |at: usize| message["keys"][at].as_str().map(str::to_owned);
    let read = || {
        let deadline = number("deadline_at")?;
        // Granted and given its deadline at one moment of the broker.
        let granted_at = deadline.checked_sub(LEASE_MS)?;
        let (at_once, window) = (key(0)?, key(1)?);
        Some(Lease { at_once, window, granted_at, came_at, until: deadline })
    };
    read()
        .ok_or_else(|| KillError::Broken(format!("a message is not what was published: {message}")))
}
