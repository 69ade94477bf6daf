//! Kinds of settings: what each takes, and how it is shown.

use std::time::Duration;

use secrecy::SecretString;
use sluice_server::HttpAddr;
use sluice_wal::SyncPolicy;
use tracing_subscriber::EnvFilter;

use super::units::{read_bytes, read_time, show_bytes, show_time};
use super::value::{Raw, Value, read_endpoint};

/// The longest duration: a hundred years, which no clock that it is added to can't hold.
const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Switch,
    Count,
    /// A size, in bytes or with a suffix.
    Bytes,
    /// A duration, in milliseconds or with a suffix.
    Time,
    Fraction,
    Endpoint,
    /// An address, a port alone, or nothing.
    Http,
    /// A list of names, which may stand between commas.
    Names,
    Path,
    /// A path, or nothing for the usual one.
    PathOrNone,
    Policy,
    /// One of these.
    Word(&'static [&'static str]),
    LogFilter,
    Secrets,
}

/// How a spelling of old says the value of the key that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As the key itself does.
    Same,
    /// The port of an address.
    Port,
    /// Milliseconds, without a suffix.
    Millis,
    /// A file; the directory is that with `.d` added.
    FileOfOld,
    /// The number of `every_n:N`.
    EveryN,
    /// The milliseconds of `interval_ms:N`.
    Interval,
}

impl Kind {
    /// Reads a value; the reason if it can't.
    pub(crate) fn read(self, raw: &Raw, reading: Reading) -> Result<Value, String> {
        match reading {
            Reading::Same => self.read_same(raw),
            Reading::Port => {
                let port = count(raw).and_then(|port| u16::try_from(port).ok());
                let port = port.ok_or_else(|| format!("{} is no port", shown(raw)))?;
                Ok(Value::Endpoint { host: None, port: Some(port) })
            }
            Reading::Millis => match count(raw).map(Duration::from_millis) {
                Some(time) if time <= TIME_MAX => Ok(Value::Time(time)),
                _ => Err(format!("{} is no number of milliseconds", shown(raw))),
            },
            Reading::FileOfOld => match raw {
                Raw::Text(path) if !path.is_empty() => Ok(Value::Text(format!("{path}.d"))),
                _ => Err(format!("{} is no path", shown(raw))),
            },
            Reading::EveryN => policy(count(raw), SyncPolicy::EveryN)
                .ok_or_else(|| format!("{} is no number of records", shown(raw))),
            Reading::Interval => {
                let millis = match raw {
                    Raw::Text(text) => read_time(text).and_then(|t| t.as_millis().try_into().ok()),
                    _ => count(raw),
                };
                policy(millis, SyncPolicy::IntervalMs)
                    .ok_or_else(|| format!("{} is no interval", shown(raw)))
            }
        }
    }

    fn read_same(self, raw: &Raw) -> Result<Value, String> {
        let text = match raw {
            Raw::Text(text) => Some(text.as_str()),
            _ => None,
        };
        let value = match self {
            Self::Switch => switch(raw).map(Value::Switch),
            Self::Count => count(raw).map(Value::Number),
            Self::Bytes => count(raw).or_else(|| read_bytes(text?)).map(Value::Number),
            Self::Time => count(raw)
                .map(Duration::from_millis)
                .or_else(|| read_time(text?))
                .filter(|time| *time <= TIME_MAX)
                .map(Value::Time),
            Self::Fraction => fraction(raw).map(Value::Fraction),
            Self::Endpoint => text.and_then(read_endpoint),
            Self::Http => {
                let addr: Option<HttpAddr> = text.and_then(|text| text.parse().ok());
                addr.map(|addr| Value::Text(addr.to_string()))
            }
            Self::Names => names(raw).map(Value::Text),
            Self::Path => text.filter(|path| !path.is_empty()).map(|path| Value::Text(path.into())),
            Self::PathOrNone => text.map(|path| Value::Text(path.into())),
            Self::Policy => {
                let policy: Option<SyncPolicy> = text.and_then(|text| text.parse().ok());
                policy.map(|policy| Value::Text(policy.to_string()))
            }
            Self::Word(words) => {
                text.filter(|text| words.contains(text)).map(|word| Value::Text(word.to_owned()))
            }
            Self::LogFilter => text
                .filter(|text| !text.is_empty() && EnvFilter::try_new(text).is_ok())
                .map(|text| Value::Text(text.to_owned())),
            Self::Secrets => secrets(raw).map(Value::Secrets),
        };
        value.ok_or_else(|| match self {
            // What was given may be a secret.
            Self::Secrets => format!("takes {}", self.takes()),
            _ => format!("{} is not {}", shown(raw), self.takes()),
        })
    }

    /// What it takes, in words.
    pub(crate) fn takes(self) -> String {
        match self {
            Self::Switch => "true or false".into(),
            Self::Count => "a whole number".into(),
            Self::Bytes => "a size such as 65536, 64KiB or 2g".into(),
            Self::Time => "a duration such as 250ms, 5s, 10m or 1h, up to a hundred years".into(),
            Self::Fraction => "a number".into(),
            Self::Endpoint => "HOST or HOST:PORT, with an IP address or localhost as host".into(),
            Self::Http => "HOST:PORT with an IP address or localhost as host, :PORT, or off".into(),
            Self::Names => "a list of names".into(),
            Self::Path | Self::PathOrNone => "a path".into(),
            Self::Policy => "a sync policy: always, every_n:N, interval_ms:N or none".into(),
            Self::Word(words) => words.join(" or "),
            Self::LogFilter => {
                "error, warn, info, debug, trace, or filters such as sluice_broker=debug".into()
            }
            Self::Secrets => "a list of texts".into(),
        }
    }

    /// A value for people. Of secrets only how many there are.
    pub(crate) fn show(self, value: &Value) -> String {
        match value {
            Value::Switch(switch) => switch.to_string(),
            Value::Number(number) if self == Self::Bytes => show_bytes(*number),
            Value::Number(number) => number.to_string(),
            Value::Fraction(fraction) => fraction.to_string(),
            Value::Time(time) => show_time(*time),
            Value::Endpoint { host: Some(host), port: Some(port) } => {
                std::net::SocketAddr::new(*host, *port).to_string()
            }
            Value::Endpoint { host, port } => {
                let host = host.map(|host| host.to_string());
                host.or_else(|| port.map(|port| port.to_string())).unwrap_or_default()
            }
            Value::Text(text) => text.clone(),
            Value::Secrets(secrets) if secrets.is_empty() => "none".into(),
            Value::Secrets(secrets) => format!("{} (not shown)", secrets.len()),
        }
    }

    /// A value as a TOML file says it. Secrets are left out.
    pub(crate) fn toml(self, value: &Value) -> String {
        match value {
            Value::Switch(_) | Value::Number(_) if self != Self::Bytes => self.show(value),
            Value::Fraction(fraction) => format!("{fraction:?}"),
            Value::Secrets(_) => "[]".into(),
            _ => format!("{:?}", self.show(value)),
        }
    }
}

fn policy(number: Option<u64>, policy: fn(u32) -> SyncPolicy) -> Option<Value> {
    let number = u32::try_from(number?).ok().filter(|number| *number > 0)?;
    Some(Value::Text(policy(number).to_string()))
}

fn switch(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Switch(switch) => Some(*switch),
        Raw::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn count(raw: &Raw) -> Option<u64> {
    match raw {
        Raw::Number(number) => u64::try_from(*number).ok(),
        Raw::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn fraction(raw: &Raw) -> Option<f64> {
    match raw {
        // Whole numbers of a size that a factor may have are exact.
        Raw::Number(number) => i32::try_from(*number).ok().map(f64::from),
        Raw::Fraction(fraction) => Some(*fraction),
        Raw::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// A list of texts; as one text they stand between commas.
fn secrets(raw: &Raw) -> Option<Vec<SecretString>> {
    match raw {
        Raw::Text(text) => {
            Some(text.split(',').map(|secret| SecretString::from(secret.trim())).collect())
        }
        Raw::List(items) => items
            .iter()
            .map(|item| match item {
                Raw::Text(text) => Some(SecretString::from(text.as_str())),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// A list of names as one text, between commas.
fn names(raw: &Raw) -> Option<String> {
    match raw {
        Raw::Text(text) => Some(text.clone()),
        Raw::List(items) => {
            let name = |item: &Raw| match item {
                Raw::Text(name) => Some(name.clone()),
                _ => None,
            };
            items.iter().map(name).collect::<Option<Vec<_>>>().map(|names| names.join(","))
        }
        _ => None,
    }
}

/// What was written, cut to a length that a message can carry.
fn shown(raw: &Raw) -> String {
    match raw {
        Raw::Switch(switch) => format!("`{switch}`"),
        Raw::Number(number) => format!("`{number}`"),
        Raw::Fraction(fraction) => format!("`{fraction}`"),
        Raw::Text(text) => format!("`{}`", text.chars().take(64).collect::<String>()),
        Raw::List(_) => "a list".into(),
        Raw::Other(name) => (*name).into(),
    }
}
