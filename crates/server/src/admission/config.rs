//! The settings of admission.

use std::time::Duration;

use sluice_flow::{EntranceLimit, LeakyLimit, Rate, RateError, RoomLimits, TokenLimit, Waiting};
use sluice_model::{Limit, LimitMode, LimitScope};

use crate::config::ConfigError;

/// A delay that is longer than this is longer than clients wait.
const DELAY_MAX: Duration = Duration::from_secs(300);
/// Clients with a bucket of their own: a table of so many takes about 850 MiB.
const CLIENTS_MAX: u32 = 1 << 24;

/// How fast requests may come: a token bucket, or with a delay a leaky one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a second; 0 is no limit.
    pub rate: u32,
    /// How many may come at once before the rate counts.
    pub burst: u32,
    /// How long one that comes too fast is delayed at most; zero refuses it at once.
    pub delay_max: Duration,
    /// How many may be delayed at once, of each client or of all.
    pub delayed_max: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { rate: 0, burst: 100, delay_max: Duration::ZERO, delayed_max: 1_000 }
    }
}

impl RateLimit {
    /// The limit, if there is one.
    fn limit(&self) -> Result<Option<LeakyLimit>, RateError> {
        if self.rate == 0 {
            return Ok(None);
        }
        let limit = TokenLimit::new(Rate::per_second(self.rate.into())?, self.burst)?;
        let wait_max = u64::try_from(self.delay_max.as_micros()).unwrap_or(u64::MAX);
        let waiting = Waiting { queue_max: self.delayed_max, wait_max };
        Ok(Some(LeakyLimit::new(limit, waiting)))
    }
}

/// Which requests may begin, which wait, and which are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Requests at work at once.
    pub workers: usize,
    /// Requests that wait for one of these to end.
    pub queue_size: usize,
    /// Connections of the HTTP door that are served at once for each processor before others wait
    /// their turn, unread; 0 has none wait.
    pub turns: usize,
    /// Requests that have given their place back while they wait for something else.
    pub parked_max: usize,
    /// The limit of each client: of its key, without one of its address.
    pub client: RateLimit,
    /// Clients that have a bucket of their own; further ones share one.
    pub clients_max: u32,
    /// The limit of all together.
    pub global: RateLimit,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        let RoomLimits { workers, queue_size, parked_max } = RoomLimits::default();
        let (client, global) = (RateLimit::default(), RateLimit::default());
        Self { workers, queue_size, turns: 64, parked_max, client, clients_max: 10_000, global }
    }
}

impl AdmissionConfig {
    /// A limit of the broker as it is asked at the entrance; none for one of deliveries.
    pub(crate) fn entrance_limit(&self, limit: &Limit) -> Option<EntranceLimit> {
        let (each_client, delayed_max) = match limit.scope() {
            LimitScope::Client => (true, self.client.delayed_max),
            LimitScope::Global => (false, self.global.delayed_max),
            LimitScope::Queue | LimitScope::Key => return None,
        };
        let terms = limit.terms();
        let rate = terms.rate?;
        // What a limit of the broker may say was checked to be kept exactly.
        let rate = Rate::fraction(rate.thousandths(), 1_000, rate.per_ms()).ok()?;
        let tokens = TokenLimit::new(rate, terms.burst()).ok()?;
        let waiting = match terms.mode {
            LimitMode::Refuse => Waiting::NONE,
            LimitMode::Delay(wait) => {
                let wait_max = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
                Waiting { queue_max: delayed_max, wait_max }
            }
        };
        let limit_of = LeakyLimit::new(tokens, waiting);
        Some(EntranceLimit { name: limit.name().into(), each_client, limit: limit_of })
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// Says which one is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (client, global) = (&self.client, &self.global);
        let clients_max = usize::try_from(self.clients_max).unwrap_or(usize::MAX);
        let checks = [
            ("workers", self.workers, self.workers > 0, "at least 1"),
            (
                "clients_max",
                clients_max,
                (1..=CLIENTS_MAX).contains(&self.clients_max),
                "1 to 16777216",
            ),
        ];
        for (name, value, good, range) in checks {
            if !good {
                return Err(ConfigError::OutOfRange { name, value: value.to_string(), range });
            }
        }
        let delays =
            [("client_delay_max", client.delay_max), ("global_delay_max", global.delay_max)];
        for (name, value) in delays {
            if value > DELAY_MAX {
                let (value, range) = (format!("{value:?}"), "at most 5m");
                return Err(ConfigError::OutOfRange { name, value, range });
            }
        }
        self.limits().map(|_| ())
    }

    pub(crate) fn room(&self) -> RoomLimits {
        let Self { workers, queue_size, parked_max, .. } = *self;
        RoomLimits { workers, queue_size, parked_max }
    }

    /// The limits that stand here, under names that no limit of the broker can have.
    pub(crate) fn limits(&self) -> Result<Vec<EntranceLimit>, ConfigError> {
        let limit = |limit: &RateLimit, rate, burst| {
            limit.limit().map_err(|reason| {
                let of_burst =
                    matches!(reason, RateError::NoBurst | RateError::BurstTooLong { .. });
                let name = if of_burst { burst } else { rate };
                ConfigError::Limit { name, reason }
            })
        };
        let client = limit(&self.client, "client_rate", "client_burst")?;
        let global = limit(&self.global, "global_rate", "global_burst")?;
        let named = |name: &'static str, each_client| {
            move |limit| EntranceLimit { name: name.into(), each_client, limit }
        };
        let clients = client.map(named("$client_rate", true));
        Ok(clients.into_iter().chain(global.map(named("$global_rate", false))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_named() {
        type Change = fn(&mut AdmissionConfig);
        let cases: [(&str, Change); 7] = [
            ("workers", |config| config.workers = 0),
            ("clients_max", |config| config.clients_max = 0),
            ("client_delay_max", |config| config.client.delay_max = Duration::from_secs(301)),
            ("global_delay_max", |config| config.global.delay_max = Duration::from_secs(301)),
            ("client_burst", |config| (config.client.rate, config.client.burst) = (1, 0)),
            ("global_burst", |config| (config.global.rate, config.global.burst) = (1, u32::MAX)),
            // A prime number of them: the time between two can't be told exactly.
            ("global_rate", |config| config.global.rate = 4_294_967_291),
        ];
        for (expected, change) in cases {
            let mut config = AdmissionConfig::default();
            assert_eq!(config.validate(), Ok(()));
            change(&mut config);
            match config.validate() {
                Err(ConfigError::OutOfRange { name, .. } | ConfigError::Limit { name, .. }) => {
                    assert_eq!(name, expected);
                }
                outcome => panic!("{expected}: {outcome:?}"),
            }
        }
        // Without a rate there is no bucket that a burst could fill.
        let global = RateLimit { burst: 0, ..RateLimit::default() };
        assert_eq!(AdmissionConfig { global, ..AdmissionConfig::default() }.validate(), Ok(()));
    }
}
