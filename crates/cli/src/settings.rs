//! The broker's settings: defaults < file < flags.
//!
//! This is the only place that knows files, environment and flags; the crates below get plain
//! configs. Flat keys of existing BlipMQ files are taken as they stand.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use miette::{LabeledSpan, NamedSource, Report, miette};
use secrecy::SecretString;
use serde::Deserialize;
use sluice_broker::local::LocalConfig;
use sluice_engine::{Config as EngineConfig, Level};
use sluice_server::Config as ServerConfig;
use sluice_wal::SyncPolicy;

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::machine::half_of_memory;

const FILES: [&str; 2] = ["./sluice.toml", "/etc/sluice/sluice.toml"];
const PORT: u16 = 5555;
/// A few connections with their buffers need as much.
const MEMORY_MIN: u64 = 16 << 20;

/// Everything that `sluice serve` goes by.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) server: ServerConfig,
    pub(crate) local: LocalConfig,
    /// None keeps everything in memory.
    pub(crate) data_dir: Option<PathBuf>,
    /// Where keys with grants are; none if everything is in memory and no file is named.
    pub(crate) keys_file: Option<PathBuf>,
    /// Somebody named it, so it has to be there.
    pub(crate) keys_file_named: bool,
    /// The memory budget, in bytes.
    pub(crate) memory_max: u64,
    /// What the operator should know about how the settings came about.
    pub(crate) notes: Vec<String>,
}

/// Declares the keys of the file once, for the parser and for the suggestion of a near name.
macro_rules! keys {
    ($($(#[$doc:meta])+ $key:ident: $kind:ty,)+) => {
        /// The keys of a configuration file.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File { $($(#[$doc])+ $key: Option<$kind>,)+ }

        const KEYS: &[&str] = &[$(stringify!($key),)+];
    };
}

keys! {
    /// HOST:PORT of the binary and the line door.
    tcp_addr: SocketAddr,
    /// HOST or HOST:PORT of the same.
    bind_addr: String,
    /// Its port.
    port: u16,
    /// HOST or HOST:PORT of the metrics listener.
    metrics_addr: String,
    /// Its port.
    metrics_port: u16,
    /// Where messages are kept.
    data_dir: PathBuf,
    /// A file name of old; the data directory is that with `.d` added.
    wal_path: PathBuf,
    /// always, none, every_n:N or interval_ms:N.
    fsync_policy: String,
    /// The same as fsync_policy = "every_n:N".
    fsync_every_n: u32,
    /// The same as fsync_policy = "interval_ms:N".
    fsync_interval: u32,
    /// Deliveries of a message in all, before it goes to the dead set.
    max_retries: u32,
    /// Delay after the first failure.
    retry_backoff_ms: u64,
    /// Time to acknowledge a delivery over version 1 of the binary protocol.
    v1_ack_timeout_ms: u64,
    /// The keys that clients may show.
    allowed_api_keys: Vec<String>,
    /// The file of keys with grants.
    keys_file: PathBuf,
    /// Bytes of memory, near which publishes are refused; else half of what there is.
    memory_max: u64,
    /// Most subscriptions at a time.
    subscriptions_max: usize,
    /// Most of them by one key; 0 for a quarter.
    subscriptions_per_principal: usize,
    /// Needs a build with the console; this one has none.
    enable_tokio_console: bool,
    /// Largest message.
    max_message_bytes: usize,
    /// Most messages of a subscription.
    max_messages: u64,
    /// Most bytes of a subscription's messages.
    max_bytes: u64,
    /// How long messages may wait; 0 for ever.
    ttl_ms: u64,
    /// How safe messages are when they are confirmed: sync or os.
    durability: String,
    /// Bytes of a log file.
    segment_bytes: u64,
    /// Most bytes of the log that a start replays.
    replay_max: u64,
    /// Bytes that a subscriber at most once may have waiting.
    sub_buffer_bytes: usize,
    /// Most connections; 0 derives it from the descriptor limit.
    connections_max: usize,
    /// Most connections of one address other than loopback.
    per_address: usize,
    /// Most connections of one principal.
    per_principal: usize,
    /// Connections accepted a second; 0 for no limit.
    accept_rate: u32,
    /// Connections accepted at once before accept_rate counts.
    accept_burst: u32,
    /// Bytes of replies that a connection may have waiting.
    out_max_bytes: usize,
    /// Longest line of the line door.
    max_line_bytes: usize,
    /// Idle time after which a line connection is closed; 0 for never.
    idle_timeout_ms: u64,
    /// Time that connections get to finish when the broker drains.
    drain_timeout_ms: u64,
}

impl Settings {
    /// Puts the layers together.
    pub(crate) fn load(args: &ServeArgs) -> Result<Self, Failure> {
        let file = match &args.config {
            Some(path) => Some(path.clone()),
            None => FILES.iter().map(PathBuf::from).find(|path| path.exists()),
        };
        let (file, notes) = match file {
            Some(path) => (read(&path)?, vec![format!("configuration from {}", path.display())]),
            None => (File::default(), Vec::new()),
        };
        Self::merge(file, args, notes)
    }

    fn merge(file: File, args: &ServeArgs, mut notes: Vec<String>) -> Result<Self, Failure> {
        let mut server = ServerConfig::default();
        let from_file = address(&file)?;
        server.tcp_addr = args.tcp_addr.or(from_file).unwrap_or(server.tcp_addr);
        let keys = file.allowed_api_keys.clone().unwrap_or_default();
        server.allowed_api_keys = keys.into_iter().map(SecretString::from).collect();
        server.insecure_no_auth = args.insecure_no_auth;
        server.insecure_plaintext = args.insecure_plaintext;
        set(&mut server.connections_max, file.connections_max);
        set(&mut server.per_address_max, file.per_address);
        set(&mut server.per_principal_max, file.per_principal);
        set(&mut server.accept_rate, file.accept_rate);
        set(&mut server.accept_burst, file.accept_burst);
        set(&mut server.out_max_bytes, file.out_max_bytes);
        set(&mut server.max_message_bytes, file.max_message_bytes);
        set(&mut server.max_line_bytes, file.max_line_bytes);
        set(&mut server.idle_timeout, file.idle_timeout_ms.map(Duration::from_millis));
        set(&mut server.drain_timeout, file.drain_timeout_ms.map(Duration::from_millis));

        let mut local = LocalConfig { engine: engine(&file)?, ..LocalConfig::default() };
        local.engine.session_out_max = server.out_max_bytes;
        local.engine.session_leases_max = server.v1_max_in_flight;
        local.pace.policy = policy(&file, args)?;
        local.accept_clock = args.accept_clock;
        local.wal.allow_unsafe_fs = args.allow_unsafe_fs;
        set(&mut local.wal.segment_bytes, file.segment_bytes);
        set(&mut local.replay_max, file.replay_max);
        // A record is a message with its names around it.
        local.wal.record_max = local.engine.max_message_bytes + (64 << 10);
        local.engine.validate().map_err(Failure::settings)?;
        local.wal.validate().map_err(Failure::settings)?;

        if local.pace.policy != SyncPolicy::Always {
            notes.push(format!(
                "fsync_policy {} confirms messages before they are on disk; only `always` waits",
                local.pace.policy
            ));
        }
        if file.metrics_addr.is_some() || file.metrics_port.is_some() {
            notes.push("metrics_addr and metrics_port are read, this build has no metrics".into());
        }
        if file.enable_tokio_console == Some(true) {
            notes.push("enable_tokio_console is set, this build has no console".into());
        }
        let data_dir = data_dir(&file, args, &mut notes)?;
        let keys_file_named = file.keys_file.is_some();
        let default = data_dir.as_ref().map(|dir| dir.join("keys.toml"));
        let keys_file = file.keys_file.or(default);
        let memory_max = file.memory_max.unwrap_or_else(half_of_memory);
        if memory_max < MEMORY_MIN {
            return Err(Failure::settings(format!("memory_max = {memory_max} is below 16 MiB")));
        }
        Ok(Self { server, local, data_dir, keys_file, keys_file_named, memory_max, notes })
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn engine(file: &File) -> Result<EngineConfig, Failure> {
    let mut engine = EngineConfig::default();
    for queue in [&mut engine.queue, &mut engine.unnamed] {
        set(&mut queue.max_failures, file.max_retries);
        set(&mut queue.backoff.min, file.retry_backoff_ms.map(Duration::from_millis));
        queue.backoff.max = queue.backoff.max.max(queue.backoff.min);
        set(&mut queue.max_messages, file.max_messages);
        set(&mut queue.max_bytes, file.max_bytes);
        queue.ttl = file.ttl_ms.filter(|ttl| *ttl > 0).map(Duration::from_millis);
        queue.level = match file.durability.as_deref() {
            None | Some("sync") => Level::Sync,
            Some("os") => Level::Os,
            Some(other) => {
                return Err(Failure::settings(format!("durability `{other}` is not sync or os")));
            }
        };
    }
    if let Some(millis) = file.v1_ack_timeout_ms {
        if millis < 50 {
            return Err(Failure::settings("v1_ack_timeout_ms is below 50"));
        }
        engine.unnamed.lease = Duration::from_millis(millis);
    }
    set(&mut engine.subscriptions_max, file.subscriptions_max);
    set(&mut engine.subscriptions_per_principal, file.subscriptions_per_principal);
    set(&mut engine.max_message_bytes, file.max_message_bytes);
    set(&mut engine.subscriber_buffer_bytes, file.sub_buffer_bytes);
    Ok(engine)
}

/// The listener's address from the keys that may name it, which must agree.
fn address(file: &File) -> Result<Option<SocketAddr>, Failure> {
    let mut host: Option<IpAddr> = None;
    let mut port = file.port;
    if let Some(bind) = &file.bind_addr {
        if let Ok(ip) = bind.parse::<IpAddr>() {
            host = Some(ip);
        } else {
            let both: SocketAddr =
                bind.replace("localhost", "127.0.0.1").parse().map_err(|_| {
                    Failure::settings(format!("bind_addr `{bind}` is neither HOST nor HOST:PORT"))
                })?;
            host = Some(both.ip());
            if port.is_some_and(|port| port != both.port()) {
                return Err(two_values("bind_addr", "port"));
            }
            port = Some(both.port());
        }
    }
    let old = (host.is_some() || port.is_some()).then(|| {
        SocketAddr::new(host.unwrap_or(IpAddr::from([127, 0, 0, 1])), port.unwrap_or(PORT))
    });
    match (file.tcp_addr, old) {
        (Some(new), Some(old)) if new != old => Err(two_values("tcp_addr", "bind_addr and port")),
        (new, old) => Ok(new.or(old)),
    }
}

fn policy(file: &File, args: &ServeArgs) -> Result<SyncPolicy, Failure> {
    let mut found: Option<SyncPolicy> = None;
    let spelled = file.fsync_policy.as_ref().map(|text| text.parse()).transpose();
    let spelled = spelled.map_err(Failure::settings)?;
    let others = [
        file.fsync_every_n.map(SyncPolicy::EveryN),
        file.fsync_interval.map(SyncPolicy::IntervalMs),
    ];
    for policy in std::iter::once(spelled).chain(others).flatten() {
        if found.is_some_and(|found| found != policy) {
            return Err(two_values("fsync_policy", "fsync_every_n or fsync_interval"));
        }
        found = Some(policy);
    }
    match &args.fsync_policy {
        Some(text) => text.parse().map_err(Failure::settings),
        None => Ok(found.unwrap_or_default()),
    }
}

fn data_dir(
    file: &File,
    args: &ServeArgs,
    notes: &mut Vec<String>,
) -> Result<Option<PathBuf>, Failure> {
    if args.ephemeral {
        notes.push("everything is kept in memory and lost at the end".into());
        return Ok(None);
    }
    if let Some(given) = &args.data_dir {
        return Ok(Some(given.clone()));
    }
    let from_wal_path = file.wal_path.as_ref().map(|path| {
        let mut name = path.clone().into_os_string();
        name.push(".d");
        PathBuf::from(name)
    });
    if let Some(path) = &from_wal_path {
        notes.push(format!("wal_path names a file of old, messages are in {}", path.display()));
    }
    match (&file.data_dir, from_wal_path) {
        (Some(new), Some(old)) if *new != old => Err(two_values("data_dir", "wal_path")),
        (new, old) => Ok(Some(new.clone().or(old).unwrap_or_else(|| "./sluice-data".into()))),
    }
}

fn two_values(one: &str, other: &str) -> Failure {
    Failure::settings(format!("{one} and {other} give two different values for one thing"))
}

fn read(path: &Path) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::settings(format!("can't read {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| Failure::Settings(point_at(&error, path, text)))
}

/// An error that shows the place in the file, and the nearest key for one that is unknown.
fn point_at(error: &toml::de::Error, path: &Path, text: String) -> Report {
    let message = error.message();
    let hint = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next())
        .and_then(nearest)
        .map_or(String::new(), |known| format!("did you mean `{known}`?"));
    let first_line = message.split(", expected one of").next().unwrap_or(message).to_owned();
    let span = error.span().unwrap_or(0..0);
    let label = LabeledSpan::new_with_span(Some("here".into()), span);
    let report = match hint.is_empty() {
        true => miette!(labels = vec![label], "{first_line}"),
        false => miette!(labels = vec![label], help = hint, "{first_line}"),
    };
    report.with_source_code(NamedSource::new(path.display().to_string(), text))
}

/// The known key with the fewest letters changed, if it is near enough to be meant.
fn nearest(unknown: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|known| (distance(unknown, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1)
        .map(|(_, known)| known)
}

/// Levenshtein's distance, row by row.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, b) in to.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, Failure> {
        let file = toml::from_str(text).map_err(|error: toml::de::Error| {
            Failure::Settings(point_at(&error, Path::new("sluice.toml"), text.to_owned()))
        })?;
        Settings::merge(file, &ServeArgs::default(), Vec::new())
    }

    #[test]
    fn the_flat_keys_of_existing_files_are_taken_as_they_stand() {
        let settings = load(
            r#"
            bind_addr = "127.0.0.1"
            port = 6000
            metrics_addr = "127.0.0.1"
            metrics_port = 9100
            wal_path = "old.wal"
            fsync_policy = "every_n:64"
            max_retries = 3
            retry_backoff_ms = 100
            allowed_api_keys = ["dev-key-1"]
            "#,
        )
        .unwrap();
        assert_eq!(settings.server.tcp_addr, "127.0.0.1:6000".parse().unwrap());
        assert_eq!(settings.data_dir, Some("old.wal.d".into()));
        assert_eq!(settings.local.pace.policy, SyncPolicy::EveryN(64));
        assert_eq!(settings.local.engine.unnamed.max_failures, 3);
        assert_eq!(settings.local.engine.unnamed.backoff.min, Duration::from_millis(100));
        assert_eq!(settings.server.allowed_api_keys.len(), 1);
    }

    #[test]
    #[rustfmt::skip]
    fn bad_files_are_refused_with_the_reason() {
        let cases = [
            ("max_retrys = 3",                                  "did you mean `max_retries`?"),
            ("port = \"x\"",                                    "invalid type"),
            ("bind_addr = \"127.0.0.1:5000\"\nport = 5001",     "two different values"),
            ("tcp_addr = \"127.0.0.1:1\"\nport = 2",            "two different values"),
            ("fsync_policy = \"always\"\nfsync_every_n = 3",    "two different values"),
            ("fsync_policy = \"sometimes\"",                    "no sync policy"),
            ("data_dir = \"a\"\nwal_path = \"b\"",              "two different values"),
            ("v1_ack_timeout_ms = 49",                          "below 50"),
            ("memory_max = 1000",                               "below 16 MiB"),
            ("durability = \"memory\"",                         "not sync or os"),
        ];
        for (text, expected) in cases {
            let failure = load(text).unwrap_err();
            let Failure::Settings(report) = failure else { panic!("{text}: {failure}") };
            assert!(format!("{report:?}").contains(expected), "{text}: {report:?}");
        }
    }
}
