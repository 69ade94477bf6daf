//! Values of settings: as they were written, and as they are meant.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sluice_engine::{OnExpire, Order, Overflow};
use sluice_model::Level;
use sluice_server::HttpAddr;
use sluice_wal::SyncPolicy;

/// A value as a file, a variable or a flag has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    Switch(bool),
    Number(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Raw>),
    /// Something that no setting takes, by its name.
    Other(&'static str),
}

/// A value that a setting's kind has read.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Switch(bool),
    Number(u64),
    Fraction(f64),
    Time(Duration),
    /// An address, or the part of one that was given.
    Endpoint {
        host: Option<IpAddr>,
        port: Option<u16>,
    },
    Text(String),
    Secrets(Vec<SecretString>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Switch(one), Self::Switch(two)) => one == two,
            (Self::Number(one), Self::Number(two)) => one == two,
            (Self::Fraction(one), Self::Fraction(two)) => one == two,
            (Self::Time(one), Self::Time(two)) => one == two,
            (
                Self::Endpoint { host: one, port: one_port },
                Self::Endpoint { host: two, port: two_port },
            ) => one == two && one_port == two_port,
            (Self::Text(one), Self::Text(two)) => one == two,
            (Self::Secrets(one), Self::Secrets(two)) => {
                let shown = |secrets: &[SecretString]| {
                    secrets.iter().map(|s| s.expose_secret().to_owned()).collect::<Vec<_>>()
                };
                shown(one) == shown(two)
            }
            _ => false,
        }
    }
}

impl Value {
    /// Both, where they don't contradict each other.
    pub(crate) fn unite(&self, other: &Self) -> Option<Self> {
        let (Self::Endpoint { host, port }, Self::Endpoint { host: host2, port: port2 }) =
            (self, other)
        else {
            return (self == other).then(|| self.clone());
        };
        let hosts_agree = host.is_none() || host2.is_none() || host == host2;
        let ports_agree = port.is_none() || port2.is_none() || port == port2;
        let (host, port) = (host.or(*host2), port.or(*port2));
        (hosts_agree && ports_agree).then_some(Self::Endpoint { host, port })
    }

    /// Whether it leaves a part as it was.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self, Self::Endpoint { host: None, .. } | Self::Endpoint { port: None, .. })
    }
}

/// A place in a config that a setting is written to and read from.
pub(crate) trait Field {
    fn value(&self) -> Value;

    /// Takes the value; the reason if it can't.
    fn set(&mut self, value: &Value) -> Result<(), String>;
}

fn wrong(value: &Value) -> Result<(), String> {
    debug_assert!(false, "a key's kind reads other values than its field takes: {value:?}");
    Err("has the wrong type".to_owned())
}

macro_rules! number_fields {
    ($($kind:ty),+) => {$(
        impl Field for $kind {
            fn value(&self) -> Value {
                Value::Number(u64::try_from(*self).unwrap_or(u64::MAX))
            }

            fn set(&mut self, value: &Value) -> Result<(), String> {
                let Value::Number(number) = value else { return wrong(value) };
                *self = <$kind>::try_from(*number)
                    .map_err(|_| format!("{number} is above {}", <$kind>::MAX))?;
                Ok(())
            }
        }
    )+};
}

number_fields!(u32, u64, usize);

macro_rules! plain_fields {
    ($($kind:ty: $variant:ident($value:ident) => $set:expr, $get:expr;)+) => {$(
        impl Field for $kind {
            fn value(&self) -> Value {
                let get: fn(&$kind) -> _ = $get;
                Value::$variant(get(self))
            }

            fn set(&mut self, value: &Value) -> Result<(), String> {
                let Value::$variant($value) = value else { return wrong(value) };
                *self = $set;
                Ok(())
            }
        }
    )+};
}

plain_fields! {
    bool: Switch(value) => *value, |field| *field;
    f64: Fraction(value) => *value, |field| *field;
    Duration: Time(value) => *value, |field| *field;
    // Zero is how a file says that there is no limit.
    Option<Duration>: Time(value) => Some(*value).filter(|time| !time.is_zero()),
        |field| field.unwrap_or_default();
    String: Text(value) => value.clone(), |field| field.clone();
    PathBuf: Text(value) => PathBuf::from(value), |field| field.display().to_string();
    Vec<SecretString>: Secrets(value) => value.clone(), |field| field.clone();
    HttpAddr: Text(value) => value.parse().map_err(|_| "is no address".to_owned())?,
        |field| field.to_string();
    Vec<String>: Text(value) => names(value), |field| field.join(",");
    SyncPolicy: Text(value) => value.parse().map_err(|error| format!("{error}"))?,
        |field| field.to_string();
}

/// The names between commas.
fn names(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(ToOwned::to_owned).collect()
}

impl Field for SocketAddr {
    fn value(&self) -> Value {
        Value::Endpoint { host: Some(self.ip()), port: Some(self.port()) }
    }

    fn set(&mut self, value: &Value) -> Result<(), String> {
        let Value::Endpoint { host, port } = value else { return wrong(value) };
        self.set_ip(host.unwrap_or(self.ip()));
        self.set_port(port.unwrap_or(self.port()));
        Ok(())
    }
}

/// Enums that are written as one of a few words.
macro_rules! word_fields {
    ($($kind:ty, $words:ident: $($word:literal = $variant:path),+;)+) => {$(
        pub(crate) const $words: &[&str] = &[$($word),+];

        impl Field for $kind {
            fn value(&self) -> Value {
                Value::Text(match self { $($variant => $word),+ }.to_owned())
            }

            fn set(&mut self, value: &Value) -> Result<(), String> {
                let Value::Text(word) = value else { return wrong(value) };
                *self = match word.as_str() {
                    $($word => $variant,)+
                    _ => return Err(format!("`{word}` is not {}", $words.join(" or "))),
                };
                Ok(())
            }
        }
    )+};
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

word_fields! {
    Level, LEVELS: "sync" = Self::Sync, "os" = Self::Os, "memory" = Self::Memory;
    OnExpire, ON_EXPIRE: "drop" = Self::Drop, "dead" = Self::Dead;
    Overflow, OVERFLOW: "reject" = Self::Reject, "drop_oldest" = Self::DropOldest, "dead" = Self::Dead;
    Order, ORDERS: "none" = Self::None, "group_fifo" = Self::GroupFifo;
    LogFormat, LOG_FORMATS: "text" = Self::Text, "json" = Self::Json;
}

/// The host and the port in HOST, HOST:PORT or `[HOST]:PORT`.
pub(crate) fn read_endpoint(text: &str) -> Option<Value> {
    let ip = |text: &str| match text {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => text.parse().ok(),
    };
    if let Some(host) = ip(text) {
        return Some(Value::Endpoint { host: Some(host), port: None });
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => ip(host).filter(IpAddr::is_ipv4)?,
    };
    Some(Value::Endpoint { host: Some(host), port: Some(port.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn endpoints_are_a_host_and_perhaps_a_port() {
        let cases = [
            ("127.0.0.1",      Some(("127.0.0.1", None))),
            ("localhost",      Some(("127.0.0.1", None))),
            ("localhost:80",   Some(("127.0.0.1", Some(80)))),
            ("0.0.0.0:5555",   Some(("0.0.0.0", Some(5555)))),
            ("::1",            Some(("::1", None))),
            ("[::1]:80",       Some(("::1", Some(80)))),
            (":80",            None),
            ("example.org:80", None),
            ("1.2.3.4:",       None),
            ("1.2.3.4:65536",  None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(host, port)| Value::Endpoint { host: host.parse().ok(), port });
            assert_eq!(read_endpoint(text), expected, "{text}");
        }
    }

    #[test]
    fn parts_of_an_endpoint_unite_unless_they_contradict_each_other() {
        let host = read_endpoint("10.0.0.1").unwrap();
        let both = read_endpoint("10.0.0.1:80").unwrap();
        let port = |port| Value::Endpoint { host: None, port: Some(port) };
        assert_eq!(host.unite(&port(80)), Some(both.clone()));
        assert_eq!(both.unite(&port(80)), Some(both.clone()));
        assert_eq!(both.unite(&port(81)), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let value = Value::Secrets(vec!["hunter2".into()]);
        assert!(!format!("{value:?}").contains("hunter2"));
    }
}
