//! The way in: the limits first, then a place.
//!
//! ```text
//! pass --over a limit--> 429 | all taken, all waiting--> 503
//!   '--> a place, in turn --no delay--> at work
//!                         '--delayed--> parked until its time --> at work | too many: 503
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluice_broker::RequestLimits;
use sluice_flow::{Client, EntranceFigures, Pass, RoomFigures, RoomFull};
use sluice_model::{Code, Principal, Refusal};

use super::{Admission, AdmissionConfig, Gate, Permit, RateLimited, Turns};
use crate::config::ConfigError;
use crate::counters::Counters;

/// When one that found no place should come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Limits and places of one server.
///
/// The limits are those of its configuration and those of the broker that are of requests; the
/// latter are followed: they are in force for whoever asks after they were set.
#[derive(Debug)]
pub struct Intake {
    admission: Admission,
    turns: Arc<Turns>,
    gate: Gate,
    config: Mutex<AdmissionConfig>,
    of_broker: Arc<RequestLimits>,
    /// Which version of the broker's limits is in force.
    followed: AtomicU64,
}

impl Intake {
    pub(crate) fn new(
        config: &AdmissionConfig,
        of_broker: Arc<RequestLimits>,
    ) -> Result<Self, ConfigError> {
        let gate = Gate::open(config.clients_max, Instant::now());
        let admission = Admission::new(config.room());
        let followed = AtomicU64::new(0);
        let turns = Turns::new(config.turns, admission.clone());
        let config_now = Mutex::new(*config);
        let this = Self { admission, turns, gate, config: config_now, of_broker, followed };
        this.change(config)?;
        Ok(this)
    }

    /// Puts other limits in force. Who has a place, waits for one or is delayed keeps what it has;
    /// a table of clients that is there keeps its size.
    ///
    /// # Errors
    /// A setting is out of range. Nothing has changed then.
    pub fn change(&self, config: &AdmissionConfig) -> Result<(), ConfigError> {
        config.validate()?;
        let mut known = self.config.lock();
        *known = *config;
        self.put_in_force(&known)?;
        self.admission.change(config.room());
        self.turns.change(config.turns);
        Ok(())
    }

    /// The limits in force, and how often each refused a request or made it wait.
    pub fn limit_figures(&self) -> Vec<EntranceFigures> {
        self.follow();
        self.gate.figures()
    }

    /// Puts the broker's limits in force as they are by now.
    fn follow(&self) {
        if self.followed.load(Acquire) == self.of_broker.version() {
            return;
        }
        let config = self.config.lock();
        // It was checked when it was handed in.
        let followed = self.put_in_force(&config);
        debug_assert!(followed.is_ok(), "a config was not checked");
    }

    /// With the lock on the configuration, so that no older limits follow newer ones.
    fn put_in_force(&self, config: &AdmissionConfig) -> Result<(), ConfigError> {
        let (version, of_broker) = self.of_broker.now();
        let of_broker = of_broker.iter().filter_map(|limit| config.entrance_limit(limit));
        let limits = config.limits()?.into_iter().chain(of_broker).collect();
        self.gate.change(limits, Instant::now());
        self.followed.store(version, Release);
        Ok(())
    }

    /// How many requests are where, and how many ever were.
    pub fn figures(&self) -> RoomFigures {
        self.admission.figures()
    }

    /// Whether so many wait for a place that those who are not here yet had better come slowly.
    pub(crate) fn is_crowded(&self) -> bool {
        let waiting = self.turns.waiting();
        self.admission.is_crowded() || waiting > 0 && waiting >= self.config.lock().queue_size / 2
    }

    /// How many connections wait for a turn, unread.
    pub fn waiting_for_turns(&self) -> usize {
        self.turns.waiting()
    }

    /// Whose turn it is.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// The refusal of who could not even wait, if it would be refused now.
    pub(crate) fn turns_away(&self, counters: &Counters) -> Option<Refusal> {
        self.admission.is_full().then(|| full(RoomFull::Queue, counters))
    }

    /// Whether requests meet a limit at all.
    pub(crate) fn is_limited(&self) -> bool {
        self.follow();
        self.gate.is_limited()
    }

    /// Has a request that can't be delayed meet the limits, as so many as it has items.
    pub(crate) fn count(
        &self,
        client: &Client,
        items: u32,
        counters: &Counters,
    ) -> Result<(), Refusal> {
        self.follow();
        let passed = self.gate.pass_at_once(client, items, Instant::now());
        passed.map_err(|limited| rate_limited(limited, counters))
    }

    /// Counts a request that needs no place, and says what is to be done with it at `now`.
    pub(crate) fn ask(
        &self,
        client: &Client,
        now: Instant,
        counters: &Counters,
    ) -> Result<Pass, Refusal> {
        self.follow();
        self.gate.ask(client, 1, now).map_err(|limited| rate_limited(limited, counters))
    }

    /// Waits as [`Intake::ask`] said. One that is dropped meanwhile has been counted.
    pub(crate) async fn wait_out(
        &self,
        client: &Client,
        asked: Pass,
        counters: &Counters,
    ) -> Result<(), Refusal> {
        let waited = self.gate.wait_out(client, 1, asked).await;
        waited.map_err(|limited| rate_limited(limited, counters))
    }

    /// Lets a request in, in its turn and in its time. Cancel-safe.
    pub(crate) async fn pass(
        &self,
        client: &Client,
        counters: &Counters,
    ) -> Result<Permit, Refusal> {
        let asked = self.ask(client, Instant::now(), counters)?;
        let permit = self.admission.enter().map_err(|reason| full(reason, counters))?.await;
        if asked == Pass::Go {
            return Ok(permit);
        }
        counters.rate_delayed.one();
        let parked = permit.park().map_err(|_permit| full(RoomFull::Parked, counters))?;
        self.wait_out(client, asked, counters).await?;
        Ok(parked.resume().await)
    }
}

/// Whom the limits take somebody for: the key, without one the address.
pub(crate) fn client_of(principal: &Principal, peer: IpAddr) -> Client {
    match principal {
        Principal::Anonymous => Client::address(peer),
        Principal::Key(id) => Client::principal(Arc::clone(id)),
    }
}

fn rate_limited(limited: RateLimited, counters: &Counters) -> Refusal {
    counters.rate_limited.one();
    let text = "too many requests in too short a time";
    let retry_after = Some(limited.retry_after);
    Refusal { retry_after, ..Refusal::new(Code::RateLimited, text) }
}

/// The refusal of who finds no place, or none to wait in.
pub(crate) fn full(reason: RoomFull, counters: &Counters) -> Refusal {
    let text = match reason {
        RoomFull::Queue => {
            counters.rejected_full.one();
            "all workers are busy and the queue in front of them is full"
        }
        RoomFull::Parked => {
            counters.rejected_parked.one();
            "too many requests wait for something to happen"
        }
    };
    Refusal { retry_after: Some(RETRY_AFTER), ..Refusal::new(Code::Overloaded, text) }
}
