//! TLS: the certificate that is shown, who may come, and a socket that the doors can read.
//!
//! ```text
//! files.rs: paths --> Identity --> ArcSwap, replaced whole while the doors are open
//! handshake.rs: socket --> TLS, or a reason that is counted
//! socket.rs: TLS as the doors of the TCP port see it; the HTTP door takes it as a stream
//! ```
//!
//! A handshake takes the identity that is in force when it begins; a connection keeps its own.

mod files;
mod handshake;
mod socket;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::config::ConfigError;
use crate::doors::Shared;

pub use files::TlsError;
pub(crate) use handshake::{Arrival, Port, look, shake_hands};
pub(crate) use socket::TlsSocket;

use files::Identity;

/// A certificate that ends so soon is warned of, when it is read.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

/// Settings of TLS. It is on with a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate and those between it and a root, in PEM; empty for no TLS.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Certificates in PEM, one of which must vouch for each client's; empty to ask for none.
    pub client_ca: PathBuf,
    /// How long a client may take from its connection to the end of the handshake.
    pub handshake_timeout: Duration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

impl TlsConfig {
    /// Whether there is a certificate to show.
    pub fn is_on(&self) -> bool {
        is_named(&self.cert)
    }

    /// Reads the files and finds out whether they can be served with.
    ///
    /// # Errors
    /// A file can't be read, or they don't belong together.
    pub fn check(&self) -> Result<(), TlsError> {
        if self.is_on() {
            Identity::load(self)?;
        }
        Ok(())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let named = [
            ("tls_cert", &self.cert, "tls_key", &self.key),
            ("tls_key", &self.key, "tls_cert", &self.cert),
            ("tls_client_ca", &self.client_ca, "tls_cert", &self.cert),
        ];
        for (name, path, missing, other) in named {
            if is_named(path) && !is_named(other) {
                return Err(ConfigError::TlsIncomplete { name, missing });
            }
        }
        if self.handshake_timeout.is_zero() {
            let (name, range) = ("tls_handshake_timeout", "above zero");
            return Err(ConfigError::OutOfRange { name, value: "0ns".to_owned(), range });
        }
        Ok(())
    }
}

fn is_named(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// The identity in force.
pub(crate) struct Tls(ArcSwap<Identity>);

impl Tls {
    /// That of `config`, if TLS is on.
    ///
    /// # Errors
    /// It can't be served with.
    pub(crate) fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        if !config.is_on() {
            return Ok(None);
        }
        let identity = Identity::load(config)?;
        warn_of_its_end(&config.cert, identity.not_after);
        Ok(Some(Self(ArcSwap::from_pointee(identity))))
    }

    /// When the certificate that is shown now ends, since 1970.
    pub(crate) fn not_after(&self) -> Option<Duration> {
        self.0.load().not_after
    }
}

fn warn_of_its_end(cert: &Path, not_after: Option<Duration>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let Some(left) = not_after.and_then(|end| left_if_soon(end, now)) else { return };
    let (cert, days) = (cert.display(), left.as_secs() / (24 * 3_600));
    match left.is_zero() {
        true => warn!(%cert, "the certificate has ended, clients refuse it"),
        false => warn!(%cert, days, "the certificate ends soon"),
    }
}

/// How much time is left until an end that comes soon.
fn left_if_soon(end: Duration, now: Duration) -> Option<Duration> {
    Some(end.saturating_sub(now)).filter(|left| *left < ENDS_SOON)
}

/// A handle on a server's certificate.
#[derive(Clone)]
pub struct Certificates(pub(crate) Arc<Shared>);

impl Certificates {
    /// Reads the files anew; connections from now on get what they hold. Those that are open go on.
    /// Without TLS there is nothing to do.
    ///
    /// # Errors
    /// They can't be served with; what was read before stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        let Some(tls) = &self.0.tls else { return Ok(()) };
        let cert = &self.0.config.tls.cert;
        let identity = Identity::load(&self.0.config.tls)?;
        warn_of_its_end(cert, identity.not_after);
        tls.0.store(Arc::new(identity));
        self.0.counters.certificate_reloads.one();
        info!(cert = %cert.display(), "certificate reloaded");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_warned_of_below_fourteen_days() {
        let at = Duration::from_secs;
        let end = at(2_000_000_000);
        assert_eq!(left_if_soon(end, end - ENDS_SOON), None);
        assert_eq!(left_if_soon(end, end - at(90_000)), Some(at(90_000)));
        assert_eq!(left_if_soon(end, end + at(5)), Some(Duration::ZERO));
    }

    #[test]
    #[rustfmt::skip]
    fn a_certificate_and_its_key_are_named_together() {
        let cases = [
            ("",  "",  "",  None),
            ("c", "k", "",  None),
            ("c", "k", "a", None),
            ("c", "",  "",  Some("tls_cert is given and tls_key is not")),
            ("",  "k", "",  Some("tls_key is given and tls_cert is not")),
            ("",  "",  "a", Some("tls_client_ca is given and tls_cert is not")),
        ];
        for (cert, key, client_ca, expected) in cases {
            let [cert, key, client_ca] = [cert, key, client_ca].map(PathBuf::from);
            let config = TlsConfig { cert, key, client_ca, ..TlsConfig::default() };
            let said = config.validate().err().map(|error| error.to_string());
            assert_eq!(said.as_deref(), expected, "{config:?}");
        }
    }
}
