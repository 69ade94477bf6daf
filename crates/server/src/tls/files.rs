//! From the files that were named to what a handshake needs.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use tracing::warn;

use super::TlsConfig;

/// What clients of the TCP port may ask for by ALPN. Whoever means another protocol, as a browser
/// does that was led here, ends with the handshake; who asks for none is served.
const TCP_PROTOCOL: &[u8] = b"sluice";
const HTTP_PROTOCOL: &[u8] = b"http/1.1";

/// Why files can't be served with.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("{} holds no {what} in PEM", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A file is damaged.
    #[error("{} is no PEM file: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is another certificate's.
    #[error("{} is not the key of {}", key.display(), cert.display())]
    WrongKey {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        cert: PathBuf,
    },
    /// What a file holds can't be used.
    #[error("{} can't be used: {reason}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl TlsError {
    /// The file that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Missing { path, .. }
            | Self::Malformed { path, .. }
            | Self::WrongKey { key: path, .. }
            | Self::Unusable { path, .. } => path,
        }
    }
}

/// What handshakes need, one for each port.
pub(super) struct Identity {
    pub(super) tcp: TlsAcceptor,
    pub(super) http: TlsAcceptor,
    /// When the certificate ends, since 1970; none where that can't be read.
    pub(super) not_after: Option<Duration>,
}

impl Identity {
    pub(super) fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let TlsConfig { cert, key, client_ca, .. } = config;
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(cert)?;
        let not_after = chain.first().and_then(not_after);
        let certified = certified(chain, (cert, key), &provider)?;
        let verifier = match super::is_named(client_ca) {
            true => Some(verifier(client_ca, &provider)?),
            false => None,
        };
        let acceptor = |protocol: &[u8]| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| unusable(cert, error))?;
            let builder = match &verifier {
                Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
                None => builder.with_no_client_auth(),
            };
            let mut config = builder.with_cert_resolver(Arc::clone(&certified));
            config.alpn_protocols = vec![protocol.to_vec()];
            Ok(TlsAcceptor::from(Arc::new(config)))
        };
        Ok(Self { tcp: acceptor(TCP_PROTOCOL)?, http: acceptor(HTTP_PROTOCOL)?, not_after })
    }
}

/// The certificate with its key.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    (cert, key): (&Path, &Path),
    provider: &CryptoProvider,
) -> Result<Arc<dyn ResolvesServerCert>, TlsError> {
    warn_if_exposed(key);
    let der = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => missing(key, "private key without a passphrase"),
        error => unreadable(key, error),
    })?;
    let signing = provider.key_provider.load_private_key(der);
    let signing = signing.map_err(|error| unusable(key, error))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        // A key that can't tell its other half is tried by the first client.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(TlsError::WrongKey { key: key.to_owned(), cert: cert.to_owned() });
        }
        Err(error) => return Err(unusable(cert, error)),
    }
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

/// When a certificate ends, since 1970.
fn not_after(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// Who says which clients may come.
fn verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(path, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unreadable(path, error))?;
    match certificates.is_empty() {
        true => Err(missing(path, "certificate")),
        false => Ok(certificates),
    }
}

fn warn_if_exposed(key: &Path) {
    let mode = std::fs::metadata(key).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o007 != 0) {
        warn!(key = %key.display(), "everybody on this machine can read the key of the certificate");
    }
}

fn missing(path: &Path, what: &'static str) -> TlsError {
    TlsError::Missing { path: path.to_owned(), what }
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), reason: error.to_string() }
}

fn unreadable(path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Read { path, source },
        // Its words may show a line of the file.
        pem::Error::IllegalSectionStart { .. } => {
            TlsError::Malformed { path, reason: "a section begins wrongly".to_owned() }
        }
        error => TlsError::Malformed { path, reason: error.to_string() },
    }
}
