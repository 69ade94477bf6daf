//! A publisher that always has publishes in flight, and knows which were confirmed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::message::{Id, topic_name};
use super::{KillError, gone};
use crate::random::Random;
use crate::v1::{Client, ClientError};

/// Most publishes before a PING, and most PINGs in flight.
const BATCH_MAX: u64 = 32;
const FENCES_MAX: u64 = 8;

pub(super) struct Publisher {
    number: u32,
    topics: Vec<String>,
    random: Random,
    /// By number, whether a PONG behind it arrived.
    confirmed: Vec<bool>,
    /// The first of this connection that was not; what earlier ones left stays so.
    unconfirmed_from: usize,
}

impl Publisher {
    pub(super) fn new(number: u32, topics: u64, random: Random) -> Self {
        let topics = (0..topics).map(|topic| topic_name(Some(topic))).collect();
        Self { number, topics, random, confirmed: Vec::new(), unconfirmed_from: 0 }
    }

    pub(super) fn sent(&self) -> u64 {
        self.confirmed.len() as u64
    }

    /// By number, whether it was confirmed.
    pub(super) fn confirmed(&self) -> &[bool] {
        &self.confirmed
    }

    pub(super) fn confirmed_count(&self) -> u64 {
        self.confirmed.iter().filter(|confirmed| **confirmed).count() as u64
    }

    /// Whether the last that it sent was not confirmed.
    pub(super) fn was_cut_short(&self) -> bool {
        self.confirmed.last() == Some(&false)
    }

    /// Publishes until the broker is gone.
    pub(super) fn publish(&mut self, addr: SocketAddr, sent: &AtomicU64) -> Result<(), KillError> {
        let mut client = match Client::connect(addr, None) {
            Err(error) => return gone(error),
            Ok(client) => client,
        };
        self.unconfirmed_from = self.confirmed.len();
        let most = 1 + self.random.below(FENCES_MAX) as usize;
        let mut fences = VecDeque::new();
        let error = loop {
            if let Err(error) = self.send(&mut client, sent) {
                break error;
            }
            fences.push_back(self.sent());
            if fences.len() >= most
                && let Err(error) = self.await_fence(&mut client, &mut fences)
            {
                break error;
            }
        };
        gone(error)?;
        // Confirms that arrived before the end count.
        while !fences.is_empty() {
            match self.await_fence(&mut client, &mut fences) {
                Ok(()) => {}
                Err(error) => return gone(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, client: &mut Client, sent: &AtomicU64) -> Result<(), ClientError> {
        let mut payload = Vec::new();
        let batch = 1 + self.random.below(BATCH_MAX);
        for _ in 0..batch {
            let id = Id { publisher: self.number, number: self.sent() };
            id.payload(&mut payload);
            let topic = &self.topics[id.topic(self.topics.len() as u64) as usize];
            client.publish(topic, 1, &payload)?;
            self.confirmed.push(false);
        }
        sent.fetch_add(batch, Ordering::Relaxed);
        client.ping()?;
        client.flush()
    }

    /// Takes the oldest PONG and confirms what went before its PING on this connection.
    fn await_fence(
        &mut self,
        client: &mut Client,
        fences: &mut VecDeque<u64>,
    ) -> Result<(), ClientError> {
        client.await_pong()?;
        let end = fences.pop_front().unwrap_or_default() as usize;
        self.confirmed[self.unconfirmed_from..end].fill(true);
        self.unconfirmed_from = end;
        Ok(())
    }
}
