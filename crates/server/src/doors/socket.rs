//! A socket of the TCP port, in the clear or behind TLS.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Fill, LINGER, Output};
use crate::tls::TlsSocket;

/// A socket. Reading and writing take what goes at once; waiting is apart.
pub(crate) enum Socket {
    Plain(TcpStream),
    /// On the heap, or every connection in the clear would be as large.
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// Appends what there is, as far as `input` has space, without waiting. Says how it went.
    pub(crate) fn read(
        &mut self,
        context: &mut Context<'_>,
        input: &mut BytesMut,
    ) -> io::Result<Fill> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(socket) => return socket.read(input),
        };
        match pin!(stream.read_buf(input)).poll(context) {
            Poll::Ready(Ok(0)) => Ok(Fill::End),
            Poll::Ready(Ok(_)) => Ok(Fill::Bytes),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Fill::Nothing),
        }
    }

    /// Sends as much as it takes now, and says whether it took any.
    pub(crate) fn flush(&mut self, output: &mut Output) -> io::Result<bool> {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(socket) => return socket.flush(output),
        };
        let mut progress = false;
        while output.unsent() > 0 {
            let (slices, count) = output.slices();
            let slices = slices.get(..count).unwrap_or_default();
            // Mostly it is one, for which the kernel has a shorter way.
            let sent = match slices {
                [slice] => stream.try_write(slice),
                slices => stream.try_write_vectored(slices),
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => output.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            progress = true;
        }
        Ok(progress)
    }

    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_read_ready(context),
            Self::Tls(socket) => socket.poll_readable(context),
        }
    }

    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_write_ready(context),
            Self::Tls(socket) => socket.poll_writable(context),
        }
    }

    /// Waits until a read may bring something. Cancel-safe.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    /// Ends it so that the client gets what was sent last.
    pub(crate) async fn linger(self) {
        match self {
            Self::Plain(stream) => linger(stream).await,
            Self::Tls(socket) => linger(socket.close()).await,
        }
    }

    /// Ends it at once.
    pub(crate) fn close(self) {
        if let Self::Tls(socket) = self {
            socket.close();
        }
    }
}

/// Closes our half and reads and forgets until the client closes its own, for a while: closing with
/// bytes unread makes the kernel throw our last answer away.
pub(crate) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let rest = async {
        stream.shutdown().await?;
        // On the heap: it would make every connection's task as much larger.
        let mut forgotten = BytesMut::with_capacity(2 * 1024);
        while stream.read_buf(&mut forgotten).await? > 0 {
            forgotten.clear();
        }
        io::Result::Ok(())
    };
    // Either the client has closed or its time is up; there is nothing left to do about it.
    let _ = timeout(LINGER, rest).await;
}
