//! Whether the settings as a whole make sense.
//!
//! Ranges are known to the crates whose configs they bind, each of which names the first field that
//! is wrong. To find all, a key that was named gets its default back and the configs are asked anew.

use std::time::Duration;

use sluice_engine::ConfigError as EngineError;
use sluice_flow::BackoffError;
use sluice_server::ConfigError as ServerError;

use super::Settings;
use super::key::{self, Key};
use super::merge::Origins;
use super::problem::Problem;

/// Fields of configs that go by another name than their key.
const FIELDS: [(&str, &str); 6] = [
    ("lease_ms", "lease"),
    ("max_failures", "max_retries"),
    ("per_address_max", "per_address"),
    ("per_principal_max", "per_principal"),
    // The longest record follows from the largest message.
    ("record_max", "max_message_bytes"),
    ("unnamed.lease", "v1_ack_timeout"),
];

/// Everything that is out of range. What is merely unsafe is left to [`unsafe_as_it_is`].
pub(crate) fn out_of_range(settings: &Settings, origins: &Origins) -> Vec<Problem> {
    let mut settings = settings.clone();
    let mut problems = Vec::new();
    while let Some((key, message)) = first(&settings) {
        // The crates name their fields, which may be called otherwise.
        let message = match key {
            Some(key) if !message.contains(key.name) => format!("{}: {message}", key.name),
            _ => message,
        };
        problems.push(locate(Problem::new(message), key, origins));
        let Some(key) = key else { break };
        let before = (key.get)(&settings);
        let default = (key.get)(&Settings::default());
        let repaired = (key.set)(&mut settings, &default).is_ok();
        settings.derive(origins);
        if !repaired || (key.get)(&settings) == before {
            break;
        }
    }
    problems
}

/// Why the settings are refused unless somebody accepts it.
pub(crate) fn unsafe_as_it_is(settings: &Settings, origins: &Origins) -> Option<Problem> {
    let error = settings.server.validate().err().filter(ServerError::is_unsafe)?;
    Some(locate(Problem::new(error), named("tcp_addr"), origins))
}

/// Why the certificate can't be served with. It reads the files.
pub(crate) fn certificate(settings: &Settings, origins: &Origins) -> Option<Problem> {
    let tls = &settings.server.tls;
    let error = tls.check().err()?;
    let files = [(&tls.key, "tls_key"), (&tls.client_ca, "tls_client_ca")];
    let file = files.into_iter().find(|(path, _)| *path == error.path());
    let key = file.map_or("tls_cert", |(_, name)| name);
    Some(locate(Problem::new(format!("{key}: {error}")), named(key), origins))
}

fn locate(problem: Problem, key: Option<&Key>, origins: &Origins) -> Problem {
    key.map_or(&[][..], |key| origins.of(key)).iter().fold(problem, Problem::at)
}

/// The first thing that is wrong, and the key that has to do with it.
fn first(settings: &Settings) -> Option<(Option<&'static Key>, String)> {
    if let Err(error) = settings.server.validate()
        && !error.is_unsafe()
    {
        let field = match &error {
            ServerError::OutOfRange { name, .. }
            | ServerError::TlsIncomplete { name, .. }
            | ServerError::Limit { name, .. } => name,
            _ => "allowed_api_keys",
        };
        return Some((named(field), error.to_string()));
    }
    if let Err(error) = settings.local.engine.validate() {
        let field = match &error {
            EngineError::Range { name: "lease_ms", .. } if lease_is_good(settings) => {
                "unnamed.lease"
            }
            EngineError::Range { name, .. } => name,
            // No key says what no queue can have.
            EngineError::Backoff(BackoffError::Order { .. }) => "retry_backoff_max",
            EngineError::Backoff(BackoffError::Factor(_)) => "retry_factor",
            EngineError::Backoff(BackoffError::Jitter(_)) => "retry_jitter",
        };
        return Some((named(field), error.to_string()));
    }
    if let Err(error) = settings.local.wal.validate() {
        return Some((named(error.name), error.to_string()));
    }
    let (name, _, reason) = own(settings).into_iter().find(|(_, wrong, _)| *wrong)?;
    Some((named(name), format!("{name} {reason}")))
}

/// What no crate checks by itself.
fn own(settings: &Settings) -> [(&'static str, bool, &'static str); 5] {
    let local = &settings.local;
    let record_max = u64::try_from(local.wal.record_max).unwrap_or(u64::MAX);
    [
        ("v1_ack_timeout", local.engine.unnamed.lease < Duration::from_millis(50), "is below 50ms"),
        ("sync_lazy", local.pace.sync_lazy > Duration::from_secs(1), "is above 1s"),
        (
            "waiting_max",
            local.pace.waiting_max < record_max,
            "is below max_message_bytes and 64KiB: the largest message would always be refused",
        ),
        // A few connections with their buffers need as much.
        ("memory_max", (1..16 << 20).contains(&settings.memory_max), "is below 16MiB"),
        // What a checkpoint itself adds to the log would call for the next one.
        ("replay_max", local.replay_max < 64 << 10, "is below 64KiB"),
    ]
}

fn lease_is_good(settings: &Settings) -> bool {
    settings.local.engine.queue.validate().is_ok()
}

fn named(field: &str) -> Option<&'static Key> {
    let name = FIELDS.iter().find(|(known, _)| *known == field).map_or(field, |(_, name)| name);
    key::find(name).map(|(key, _)| key)
}
