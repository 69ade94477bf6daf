//! The limits of clients and of all together, with a clock and a lock around them.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluice_flow::{
    Client, Clients, Entrance, EntranceFigures, EntranceLimit, Limited, NEVER, Pass,
};
use thiserror::Error;

/// A limit refused the request: 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("rate limited; retry after {} ms", .retry_after.as_millis())]
pub struct RateLimited {
    /// When it makes sense to ask again, at least a millisecond; [`Duration::MAX`] for a request
    /// that no time would let in.
    pub retry_after: Duration,
}

/// Asks the limits for every request.
#[derive(Debug)]
pub struct Gate {
    entrance: Mutex<Entrance>,
    /// Whether there is a limit at all, for those who ask often.
    is_limited: AtomicBool,
    /// What microseconds are counted from.
    start: Instant,
    /// How many clients have a bucket of their own in each table; further ones share one.
    clients_max: u32,
    /// Of the tables of clients.
    seed: (u64, u64),
}

impl Gate {
    /// A gate without limits, with its clock from `start`; each limit of clients that comes has a
    /// table of `clients_max`.
    pub fn open(clients_max: u32, start: Instant) -> Self {
        let seed = (RandomState::new().hash_one(0), RandomState::new().hash_one(1));
        let (entrance, is_limited) = (Mutex::default(), AtomicBool::new(false));
        Self { entrance, is_limited, start, clients_max, seed }
    }

    /// Puts other limits in force at `now`; those who are delayed keep their time.
    pub fn change(&self, limits: Vec<EntranceLimit>, now: Instant) {
        let table = |limit| Clients::new(limit, self.clients_max, self.seed);
        let mut entrance = self.entrance.lock();
        let changed = entrance.change(limits, table, self.micros(now));
        self.is_limited.store(entrance.is_limited(), Relaxed);
        changed.expect("a limit was made only of a burst that comes back in time");
    }

    /// How often each limit refused a request, or made it wait.
    pub fn figures(&self) -> Vec<EntranceFigures> {
        self.entrance.lock().figures().cloned().collect()
    }

    /// Lets a request of `cost` items through, at once or, where limits delay, later.
    ///
    /// One that is dropped while it is delayed has been counted.
    ///
    /// # Errors
    /// A limit refuses it; it is not counted.
    pub async fn pass(&self, client: &Client, cost: u32) -> Result<(), RateLimited> {
        let asked = self.ask(client, cost, Instant::now())?;
        self.wait_out(client, cost, asked).await
    }

    /// Waits as [`Gate::ask`] said, and asks for what comes behind it.
    ///
    /// # Errors
    /// A limit refuses it now that another let it through.
    pub async fn wait_out(
        &self,
        client: &Client,
        cost: u32,
        mut asked: Pass,
    ) -> Result<(), RateLimited> {
        while let Pass::Wait { until, then } = asked {
            tokio::time::sleep_until((self.start + Duration::from_micros(until)).into()).await;
            let Some(ahead) = then else { break };
            let now = Instant::now();
            let micros = self.micros(now).max(until);
            let pass = self.entrance.lock().go_on(client, ahead, cost, micros);
            asked = pass.map_err(|limited| self.refusal(limited, now))?;
        }
        Ok(())
    }

    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.is_limited.load(Relaxed)
    }

    /// Lets a request of `cost` items through at `now`, where nobody can make it wait.
    ///
    /// # Errors
    /// A limit refuses it, or would have delayed it; it is not counted.
    pub fn pass_at_once(
        &self,
        client: &Client,
        cost: u32,
        now: Instant,
    ) -> Result<(), RateLimited> {
        if !self.is_limited() {
            return Ok(());
        }
        let passed = self.entrance.lock().ask_at_once(client, cost, self.micros(now));
        passed.map_err(|limited| self.refusal(limited, now))
    }

    /// Says what is to be done with a request at `now`, for those who have a clock of their own.
    ///
    /// # Errors
    /// A limit refuses it; it is not counted.
    pub fn ask(&self, client: &Client, cost: u32, now: Instant) -> Result<Pass, RateLimited> {
        if !self.is_limited() {
            return Ok(Pass::Go);
        }
        let pass = self.entrance.lock().ask(client, cost, self.micros(now));
        pass.map_err(|limited| self.refusal(limited, now))
    }

    fn micros(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.start).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    fn refusal(&self, limited: Limited, now: Instant) -> RateLimited {
        let wait = match limited.eligible_at {
            NEVER => Duration::MAX,
            at => Duration::from_micros(at.saturating_sub(self.micros(now))),
        };
        RateLimited { retry_after: wait.max(Duration::from_millis(1)) }
    }
}
