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
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::info;

use crate::config::ConfigError;
use crate::doors::Shared;

pub use files::TlsError;
pub(crate) use handshake::{Arrival, Port, look, shake_hands};
pub(crate) use socket::TlsSocket;

use files::Identity;

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
        Ok(Some(Self(ArcSwap::from_pointee(Identity::load(config)?))))
    }
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
        tls.0.store(Arc::new(Identity::load(&self.0.config.tls)?));
        self.0.counters.certificate_reloads.one();
        info!(cert = %self.0.config.tls.cert.display(), "certificate reloaded");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
