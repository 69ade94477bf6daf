//! The doors' settings and what makes them valid.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sluice_flow::RateError;
use sluice_model::NAME_BYTES_MAX;
use sluice_protocol::binary::frame::{LENGTH_MAX, LENGTH_MIN};
use thiserror::Error;

use crate::admission::AdmissionConfig;
use crate::auth::ApiKey;
use crate::doors::{HttpAddr, HttpConfig};
use crate::metrics::MetricsConfig;
use crate::tls::TlsConfig;

/// The door for commands on the same machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where its socket is made, in a directory that belongs to the broker alone.
    pub socket: PathBuf,
    /// Where backups go, to be told to those who ask for one.
    pub backups: PathBuf,
}

/// Settings of the doors.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the binary and the line door listen; port 0 takes a free one.
    pub tcp_addr: SocketAddr,
    /// The HTTP door.
    pub http: HttpConfig,
    /// Metrics.
    pub metrics: MetricsConfig,
    /// TLS on both.
    pub tls: TlsConfig,
    /// Which of its requests may begin.
    pub admission: AdmissionConfig,
    /// The admin door; none for a broker without a data directory.
    pub admin: Option<Admin>,
    /// The keys that clients may show and do everything with. Without these and a key file everyone
    /// on this machine is let in.
    pub allowed_api_keys: Vec<SecretString>,
    /// The keys of a key file; an empty one lets nobody in.
    pub keys: Option<Vec<ApiKey>>,
    /// Lets a listener that others can reach go without keys.
    pub insecure_no_auth: bool,
    /// Lets a listener that others can reach take keys in the clear.
    pub insecure_plaintext: bool,
    /// Most connections at once; 0 derives it from the limit on descriptors.
    pub connections_max: usize,
    /// Most connections at once from one address (of IPv6, one /64); loopback is exempt.
    pub per_address_max: usize,
    /// Most connections at once with one key.
    pub per_principal_max: usize,
    /// Connections accepted per second; 0 is no limit.
    pub accept_rate: u32,
    /// How many connections may come at once before `accept_rate` counts.
    pub accept_burst: u32,
    /// Where keys are configured: the time to send a first line, or to authenticate.
    pub first_frame_timeout: Duration,
    /// How long a line client, or one that hasn't sent a byte yet, may be silent; zero is for ever.
    pub idle_timeout: Duration,
    /// How long a client may take none of the answers that wait for it.
    pub write_timeout: Duration,
    /// How long a drain waits for the replies in flight.
    pub drain_timeout: Duration,
    /// Bytes that may wait to be sent on a connection before nothing more is read from it.
    pub out_max_bytes: usize,
    /// The greatest length of a frame.
    pub frame_max: usize,
    /// The longest message.
    pub max_message_bytes: usize,
    /// The longest line, its end not counted.
    pub max_line_bytes: usize,
    /// Deliveries that a connection may hold, and whose tags are remembered.
    pub max_in_flight: usize,
    /// Most messages of a batch, as clients are told.
    pub batch_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tcp_addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5555),
            http: HttpConfig::default(),
            metrics: MetricsConfig::default(),
            tls: TlsConfig::default(),
            admission: AdmissionConfig::default(),
            admin: None,
            allowed_api_keys: Vec::new(),
            keys: None,
            insecure_no_auth: false,
            insecure_plaintext: false,
            connections_max: 0,
            per_address_max: 1_024,
            per_principal_max: 4_096,
            accept_rate: 0,
            accept_burst: 100,
            first_frame_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(10),
            out_max_bytes: 1024 * 1024,
            frame_max: LENGTH_MAX,
            max_message_bytes: 1024 * 1024,
            max_line_bytes: 64 * 1024,
            max_in_flight: 65_536,
            batch_max: 1_000,
        }
    }
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A number is out of its range.
    #[error("{name} is {value}, it must be {range}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// A rate or a burst can't be kept.
    #[error("{name}: {reason}")]
    Limit {
        /// The setting.
        name: &'static str,
        /// Why not.
        reason: RateError,
    },
    /// Anyone who reaches the listener could use it.
    #[error(
        "{addr} can be reached from other machines and no keys are configured; \
         create one with `sluice key create`, listen on loopback, or accept it with \
         --insecure-no-auth"
    )]
    OpenToNetwork {
        /// The listener.
        addr: SocketAddr,
    },
    /// Keys and messages would cross the network in the clear.
    #[error(
        "{addr} can be reached from other machines and TLS is not configured; \
         give it --tls-cert and --tls-key, listen on loopback, or accept it with \
         --insecure-plaintext"
    )]
    PlaintextToNetwork {
        /// The listener.
        addr: SocketAddr,
    },
    /// A file is named that is of no use without another.
    #[error("{name} is given and {missing} is not")]
    TlsIncomplete {
        /// The setting that is there.
        name: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// A key has no characters, or more than a frame can carry.
    #[error("allowed_api_keys has a key of {bytes} bytes, it must have 1 to 65535")]
    KeyLength {
        /// Its length.
        bytes: usize,
    },
    /// Two different keys would be taken for one client.
    #[error("two keys have the same id {id} or the same secret; replace one of them")]
    KeyIdTaken {
        /// The id of both.
        id: String,
    },
}

impl ConfigError {
    /// Whether the settings are readable but unsafe, which a flag can accept.
    pub const fn is_unsafe(&self) -> bool {
        matches!(self, Self::OpenToNetwork { .. } | Self::PlaintextToNetwork { .. })
    }
}

impl Config {
    /// Whether everyone is let in.
    pub fn is_open(&self) -> bool {
        self.allowed_api_keys.is_empty() && self.keys.is_none()
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// Says which one is out of range, or why the whole is unsafe.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_ranges()?;
        for key in &self.allowed_api_keys {
            let bytes = key.expose_secret().len();
            if bytes == 0 || bytes > usize::from(u16::MAX) {
                return Err(ConfigError::KeyLength { bytes });
            }
        }
        self.http.validate()?;
        self.tls.validate()?;
        self.admission.validate()?;
        self.check_exposure(self.tcp_addr)?;
        if self.metrics.listens {
            self.check_exposure(self.metrics.addr)?;
        }
        match self.http.addr {
            HttpAddr::At(addr) => self.check_exposure(addr),
            HttpAddr::Off | HttpAddr::Port(_) => Ok(()),
        }
    }

    /// Whether a listener may be opened there.
    fn check_exposure(&self, addr: SocketAddr) -> Result<(), ConfigError> {
        if is_loopback(addr.ip()) {
            return Ok(());
        }
        match self.is_open() {
            true if !self.insecure_no_auth => Err(ConfigError::OpenToNetwork { addr }),
            false if !self.tls.is_on() && !self.insecure_plaintext => {
                Err(ConfigError::PlaintextToNetwork { addr })
            }
            _ => Ok(()),
        }
    }

    /// Whether others can reach a listener without keys, or keys cross the network in the clear.
    pub(crate) fn is_exposed(&self) -> bool {
        let http = self.http_listener().map(|(addr, _)| addr);
        let metrics = self.metrics.listens.then_some(self.metrics.addr);
        let reached = [Some(self.tcp_addr), http, metrics]
            .into_iter()
            .flatten()
            .any(|addr| !is_loopback(addr.ip()));
        reached && (self.is_open() || !self.tls.is_on())
    }

    /// Where the HTTP door listens, if it does. Of a bare port that is all interfaces where nothing
    /// speaks against it, else loopback, with the reason.
    pub(crate) fn http_listener(&self) -> Option<(SocketAddr, Option<ConfigError>)> {
        match self.http.addr {
            HttpAddr::Off => None,
            HttpAddr::At(addr) => Some((addr, None)),
            HttpAddr::Port(port) => {
                let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
                let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
                match self.check_exposure(everywhere) {
                    Ok(()) => Some((everywhere, None)),
                    Err(reason) => Some((loopback, Some(reason))),
                }
            }
        }
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        // Around the message of a PUBLISH: type, correlation id, QoS, length of the topic, topic.
        let around_message = LENGTH_MIN + 3 + NAME_BYTES_MAX;
        let message_fits = self.max_message_bytes.saturating_add(around_message) <= self.frame_max;
        let checks = [
            (
                "frame_max",
                self.frame_max,
                (1_024..=LENGTH_MAX).contains(&self.frame_max),
                "1 KiB to 16 MiB",
            ),
            (
                "max_message_bytes",
                self.max_message_bytes,
                message_fits,
                "at least 267 bytes below frame_max",
            ),
            (
                "max_line_bytes",
                self.max_line_bytes,
                (64..=LENGTH_MAX).contains(&self.max_line_bytes),
                "64 bytes to 16 MiB",
            ),
            ("out_max_bytes", self.out_max_bytes, self.out_max_bytes >= 1_024, "at least 1 KiB"),
            ("per_address_max", self.per_address_max, self.per_address_max > 0, "at least 1"),
            ("per_principal_max", self.per_principal_max, self.per_principal_max > 0, "at least 1"),
            ("max_in_flight", self.max_in_flight, self.max_in_flight > 0, "at least 1"),
        ];
        for (name, value, good, range) in checks {
            if !good {
                return Err(ConfigError::OutOfRange { name, value: value.to_string(), range });
            }
        }
        let timeouts = [
            ("first_frame_timeout", self.first_frame_timeout),
            ("write_timeout", self.write_timeout),
        ];
        for (name, value) in timeouts {
            if value.is_zero() {
                let (value, range) = (format!("{value:?}"), "above zero");
                return Err(ConfigError::OutOfRange { name, value, range });
            }
        }
        Ok(())
    }
}

/// Whether only this machine can reach or have the address.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = Config::default();
        change(&mut config);
        config.validate()
    }

    #[test]
    fn the_defaults_are_valid_and_listen_on_loopback() {
        assert_eq!(with(|_| ()), Ok(()));
        assert!(is_loopback(Config::default().tcp_addr.ip()));
        assert!(is_loopback("::ffff:127.0.0.1".parse().unwrap()));
    }

    #[test]
    #[rustfmt::skip]
    fn a_listener_that_others_reach_needs_keys_and_tls_or_a_flag() {
        // address, keys, no_auth, plaintext or TLS: is it refused as unsafe?
        let cases = [
            ("127.0.0.1:0",   false, false, false, false),
            ("[::1]:0",       true,  false, false, false),
            ("0.0.0.0:0",     false, false, false, true),
            ("0.0.0.0:0",     false, false, true,  true),
            ("0.0.0.0:0",     false, true,  false, false),
            ("192.0.2.1:0",   true,  false, false, true),
            ("192.0.2.1:0",   true,  true,  false, true),
            ("[::]:0",        true,  false, true,  false),
        ];
        for (addr, keys, no_auth, plaintext, refused) in cases {
            for tls in [false, true] {
                let result = with(|config| {
                    config.tcp_addr = addr.parse().unwrap();
                    config.allowed_api_keys = if keys { vec!["key".into()] } else { Vec::new() };
                    config.insecure_no_auth = no_auth;
                    match tls {
                        true if plaintext => {
                            config.tls.cert = "cert.pem".into();
                            config.tls.key = "key.pem".into();
                        }
                        _ => config.insecure_plaintext = plaintext,
                    }
                });
                let is_refused = result.is_err_and(|error| error.is_unsafe());
                assert_eq!(is_refused, refused, "{addr} {keys} {no_auth} {plaintext} {tls}");
            }
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 8] = [
            ("frame_max", |config| config.frame_max = LENGTH_MAX + 1),
            ("max_message_bytes", |config| config.max_message_bytes = LENGTH_MAX),
            ("max_line_bytes", |config| config.max_line_bytes = 0),
            ("out_max_bytes", |config| config.out_max_bytes = 0),
            ("per_address_max", |config| config.per_address_max = 0),
            ("max_in_flight", |config| config.max_in_flight = 0),
            ("first_frame_timeout", |config| config.first_frame_timeout = Duration::ZERO),
            ("write_timeout", |config| config.write_timeout = Duration::ZERO),
        ];
        for (expected, change) in cases {
            let named = matches!(
                with(change),
                Err(ConfigError::OutOfRange { name, .. }) if name == expected
            );
            assert!(named, "{expected}");
        }
        assert!(with(|config| config.allowed_api_keys = vec!["".into()]).is_err());
    }

    #[test]
    fn debug_shows_no_key() {
        let config = Config { allowed_api_keys: vec!["hunter2".into()], ..Config::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
