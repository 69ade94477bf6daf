//! The publisher and the consumers of steady traffic.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender};

use super::{AHEAD_MAX, Options, Progress, SteadyError};
use crate::v1::Client;

/// What is consumed, and what is not.
const BUSY: &str = "steady.busy";
pub(super) const IDLE: &str = "steady.idle";

/// Publishes before a PING, PINGs in flight, and messages that a consumer takes at once.
const BATCH: u64 = 128;
const FENCES: usize = 8;
const TAKE: usize = 512;

pub(super) struct Publisher {
    client: Client,
    payload: Vec<u8>,
    abandoned_one_in: u64,
    credits: Receiver<u64>,
    credit: u64,
    fences: VecDeque<u64>,
}

impl Publisher {
    pub(super) fn new(
        addr: SocketAddr,
        options: &Options,
        credits: Receiver<u64>,
    ) -> Result<Self, SteadyError> {
        Ok(Self {
            client: Client::connect(addr, None)?,
            payload: vec![b'.'; options.message_bytes],
            abandoned_one_in: options.abandoned_one_in,
            credits,
            credit: AHEAD_MAX,
            fences: VecDeque::new(),
        })
    }

    /// Publishes until it is over, or until no consumer gives credit any more.
    pub(super) fn run(&mut self, progress: &Progress) -> Result<(), SteadyError> {
        'running: while !progress.over.load(Relaxed) {
            while self.credit < BATCH {
                match self.credits.recv() {
                    Ok(credit) => self.credit += credit,
                    Err(_) => break 'running,
                }
            }
            self.send(progress)?;
            if self.fences.len() >= FENCES {
                self.confirm(progress)?;
            }
        }
        while !self.fences.is_empty() {
            self.confirm(progress)?;
        }
        Ok(())
    }

    fn send(&mut self, progress: &Progress) -> Result<(), SteadyError> {
        let sent = progress.sent.load(Relaxed);
        for number in sent + 1..=sent + BATCH {
            let one_in = self.abandoned_one_in;
            let abandoned = one_in > 0 && number % one_in == 0;
            let topic = if abandoned { IDLE } else { BUSY };
            self.client.publish(topic, 1, &self.payload)?;
            self.credit -= u64::from(!abandoned);
            progress.abandoned.fetch_add(u64::from(abandoned), Relaxed);
        }
        progress.sent.fetch_add(BATCH, Relaxed);
        self.client.ping()?;
        self.client.flush()?;
        self.fences.push_back(BATCH);
        Ok(())
    }

    fn confirm(&mut self, progress: &Progress) -> Result<(), SteadyError> {
        self.client.await_pong()?;
        progress.confirmed.fetch_add(self.fences.pop_front().unwrap_or_default(), Relaxed);
        Ok(())
    }
}

pub(super) struct Consumer {
    client: Client,
    subscription: u64,
    credit: Option<Sender<u64>>,
}

impl Consumer {
    pub(super) fn new(addr: SocketAddr, credit: Option<Sender<u64>>) -> Result<Self, SteadyError> {
        let mut client = Client::connect(addr, None)?;
        let subscription = client.subscribe(BUSY, 1)?;
        Ok(Self { client, subscription, credit })
    }

    /// Takes and acknowledges until it is over.
    pub(super) fn run(&mut self, progress: &Progress) -> Result<(), SteadyError> {
        while !progress.over.load(Relaxed) {
            let taken = self.client.take(self.subscription, TAKE)?;
            for message in &taken {
                self.client.ack(self.subscription, message.tag)?;
            }
            if let Some(credit) = &self.credit {
                progress.consumed.fetch_add(taken.len() as u64, Relaxed);
                // Nobody takes it once the publisher is done.
                let _ = credit.send(taken.len() as u64);
            }
        }
        self.client.fence()?;
        // A publisher that waits for credit learns that there will be none.
        self.credit = None;
        Ok(())
    }
}
