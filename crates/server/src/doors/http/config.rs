//! The settings of the HTTP door.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::KeyStore;
use crate::config::ConfigError;

/// Where the HTTP door listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpAddr {
    /// Nowhere.
    Off,
    /// There; port 0 takes a free one.
    At(SocketAddr),
    /// On this port: of all interfaces where that is safe or was accepted, else of loopback.
    Port(u16),
}

/// A text is no address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAddrError;

impl FromStr for HttpAddr {
    type Err = HttpAddrError;

    fn from_str(text: &str) -> Result<Self, HttpAddrError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(port) = text.strip_prefix(':') {
            return port.parse().map(Self::Port).map_err(|_| HttpAddrError);
        }
        let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let addr = local.as_deref().unwrap_or(text).parse();
        addr.map(Self::At).map_err(|_| HttpAddrError)
    }
}

impl fmt::Display for HttpAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(addr) => addr.fmt(f),
            Self::Port(port) => write!(f, ":{port}"),
        }
    }
}

/// Settings of the HTTP door.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where it listens; nowhere until somebody says where.
    pub addr: HttpAddr,
    /// Hosts that clients may ask for beside localhost and the addresses of this machine.
    pub allowed_hosts: Vec<String>,
    /// Most messages of the queue `default`.
    pub default_max_messages: u64,
    /// Most bytes of its messages.
    pub default_max_bytes: u64,
    /// The longest body of a message for the queue `default`.
    pub max_body: usize,
    /// The longest body of a request in JSON.
    pub max_json: usize,
    /// The longest head of a request.
    pub head_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
    /// How long a head may take from its first byte, or from the connection's begin.
    pub head_timeout: Duration,
    /// How long a body may take before its pace is looked at.
    pub body_grace: Duration,
    /// Bytes a second that a body must come with from then on.
    pub body_rate_min: u64,
    /// How long an answer may make no progress.
    pub response_timeout: Duration,
    /// How long a connection may be open between two requests.
    pub idle_timeout: Duration,
    /// The longest that a receive may wait.
    pub wait_max: Duration,
    /// Where snapshots of the queue `default` are kept; none for a broker without a directory.
    pub snapshots: Option<PathBuf>,
    /// Most snapshots.
    pub snapshots_max: usize,
    /// The largest snapshot.
    pub snapshot_max_bytes: u64,
    /// What keeps the keys that can be made and revoked; none where they can't.
    pub key_store: Option<Arc<dyn KeyStore>>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            addr: HttpAddr::Off,
            allowed_hosts: Vec::new(),
            default_max_messages: 50_000,
            default_max_bytes: 256 << 20,
            max_body: 128 << 10,
            max_json: 16 << 20,
            head_max: 16 << 10,
            headers_max: 100,
            head_timeout: Duration::from_secs(3),
            body_grace: Duration::from_secs(5),
            body_rate_min: 1 << 10,
            response_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(60),
            wait_max: Duration::from_secs(300),
            snapshots: None,
            snapshots_max: 64,
            snapshot_max_bytes: 1 << 30,
            key_store: None,
        }
    }
}

impl HttpConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// Says which one is out of range.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let above_zero = [
            ("head_timeout", self.head_timeout),
            ("response_timeout", self.response_timeout),
            ("http_idle_timeout", self.idle_timeout),
            ("wait_max", self.wait_max),
        ];
        for (name, value) in above_zero {
            if value.is_zero() {
                let (value, range) = (format!("{value:?}"), "above zero");
                return Err(ConfigError::OutOfRange { name, value, range });
            }
        }
        let bytes = 1..=16 << 20;
        let checks = [
            ("max_body", self.max_body, bytes.contains(&self.max_body), "1 byte to 16 MiB"),
            (
                "max_json",
                self.max_json,
                (1 << 10..=64 << 20).contains(&self.max_json),
                "1 KiB to 64 MiB",
            ),
            (
                "head_max",
                self.head_max,
                (1 << 10..=1 << 20).contains(&self.head_max),
                "1 KiB to 1 MiB",
            ),
            ("headers_max", self.headers_max, (8..=1_000).contains(&self.headers_max), "8 to 1000"),
        ];
        for (name, value, good, range) in checks {
            if !good {
                return Err(ConfigError::OutOfRange { name, value: value.to_string(), range });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for text in ["off", ":8080", "127.0.0.1:0", "[::1]:80"] {
            assert_eq!(text.parse::<HttpAddr>().unwrap().to_string(), text);
        }
        assert_eq!("localhost:1".parse(), Ok(HttpAddr::At("127.0.0.1:1".parse().unwrap())));
        for wrong in ["", "on", ":", ":x", "localhost", "127.0.0.1", "example.org:80"] {
            assert_eq!(wrong.parse::<HttpAddr>(), Err(HttpAddrError), "{wrong}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        type Change = fn(&mut HttpConfig);
        let cases: [(&str, Change); 6] = [
            ("head_timeout", |http| http.head_timeout = Duration::ZERO),
            ("wait_max", |http| http.wait_max = Duration::ZERO),
            ("max_body", |http| http.max_body = 0),
            ("max_json", |http| http.max_json = 1),
            ("head_max", |http| http.head_max = 1),
            ("headers_max", |http| http.headers_max = 1),
        ];
        for (expected, change) in cases {
            let mut http = HttpConfig::default();
            assert_eq!(http.validate(), Ok(()));
            change(&mut http);
            let named = matches!(
                http.validate(),
                Err(ConfigError::OutOfRange { name, .. }) if name == expected
            );
            assert!(named, "{expected}");
        }
    }
}
