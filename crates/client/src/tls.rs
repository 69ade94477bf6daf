//! TLS to the broker: who vouches for it, and what is shown to it.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// What the broker calls its protocol.
const PROTOCOL: &[u8] = b"sluice";

/// TLS to the broker. Only who is named here is trusted, nobody else whom the system may trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates in PEM, one of which vouches for the broker's.
    pub ca: PathBuf,
    /// The name in the broker's certificate; none for the host that is connected to.
    pub server_name: Option<String>,
    /// The files of a certificate and its key in PEM, for a broker that asks for one.
    pub shown: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Opens a connection on which nothing has been said, for who speaks the protocol by himself.
    ///
    /// # Errors
    /// The files can't be used, the broker is not there, or one of the two does not trust the other.
    pub async fn open(
        &self,
        server: &str,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Error> {
        let secure = Secure::load(self, server)?;
        let failed = |source| Error::io(format!("no connection to {server}"), source);
        let stream = TcpStream::connect(server).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        secure.connect(stream).await.map_err(failed)
    }
}

/// How TLS connections to one broker begin.
pub(crate) struct Secure {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Secure {
    /// Reads the files.
    ///
    /// # Errors
    /// They can't be used, or there is no such name.
    pub(crate) fn load(tls: &Tls, server: &str) -> Result<Self, Error> {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
        let name =
            ServerName::try_from(name).map_err(|error| failed("the server's name", error))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&tls.ca)? {
            roots.add(certificate).map_err(|error| failed(tls.ca.display(), error))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("TLS", error))?
            .with_root_certificates(roots);
        let mut config = match &tls.shown {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let der = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, error))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, der)
                    .map_err(|error| failed(cert.display(), error))?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// The handshake.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<Socket> {
        let secured = self.connector.connect(self.name.clone(), stream).await?;
        Ok(Socket::Tls(Box::new(secured)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unread(path, error))?;
    match certificates.is_empty() {
        true => Err(unread(path, pem::Error::NoItemsFound)),
        false => Ok(certificates),
    }
}

fn unread(path: &Path, error: pem::Error) -> Error {
    match error {
        pem::Error::Io(source) => Error::io(format!("can't read {}", path.display()), source),
        error => failed(path.display(), error),
    }
}

fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Error {
    let source = io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    Error::io(format!("{what} can't be used"), source)
}

/// A socket, in the clear or behind TLS.
pub(crate) enum Socket {
    Plain(TcpStream),
    /// On the heap: it is many times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Socket::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}
