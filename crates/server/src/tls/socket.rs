//! TLS as the doors of the TCP port see it: read without waiting, written without waiting, and
//! ready or not.
//!
//! What is sent is encrypted piece by piece, and a piece counts as sent when the kernel has the
//! last byte of it: what the broker is told of answers that left holds for TLS as well.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;

use crate::doors::{Fill, Output};

/// A connection after its handshake.
pub(crate) struct TlsSocket {
    stream: TcpStream,
    session: ServerConnection,
    /// Something is decrypted, or the end was seen, and nobody has read it.
    unread: bool,
    /// Bytes from the front of the output that are encrypted and not wholly with the kernel.
    sealed: usize,
}

impl TlsSocket {
    pub(crate) fn new(secured: TlsStream<TcpStream>) -> Self {
        let (stream, session) = secured.into_inner();
        // The handshake may have brought the first of what follows it.
        Self { stream, session, unread: true, sealed: 0 }
    }

    /// Appends what there is, as far as `input` has space, without waiting.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> io::Result<Fill> {
        let before = input.len();
        let ended = loop {
            match self.drain(input) {
                Drained::Full => break false,
                Drained::End => break true,
                Drained::Empty if self.receive()? => {}
                Drained::Empty => break false,
            }
        };
        if input.len() > before {
            return Ok(Fill::Bytes);
        }
        Ok(if ended { Fill::End } else { Fill::Nothing })
    }

    /// Moves what is decrypted.
    fn drain(&mut self, input: &mut BytesMut) -> Drained {
        let mut reader = self.session.reader();
        loop {
            let space = input.capacity() - input.len();
            let chunk = match reader.fill_buf() {
                // An end without a goodbye is one all the same: frames and lines show what is cut.
                Ok([]) => {
                    self.unread = true;
                    return Drained::End;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.unread = true;
                    return Drained::End;
                }
                Err(_) => {
                    self.unread = false;
                    return Drained::Empty;
                }
                Ok(chunk) => chunk,
            };
            if space == 0 {
                self.unread = true;
                return Drained::Full;
            }
            let chunk = chunk.get(..space.min(chunk.len())).unwrap_or_default();
            let taken = chunk.len();
            input.extend_from_slice(chunk);
            reader.consume(taken);
        }
    }

    /// Reads from the socket and decrypts; whether there was anything.
    fn receive(&mut self) -> io::Result<bool> {
        match self.session.read_tls(&mut NoWait(&self.stream)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if let Err(error) = self.session.process_new_packets() {
            // The alert that says so, if the socket takes it.
            let _ = self.session.write_tls(&mut NoWait(&self.stream));
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(true)
    }

    /// Sends as much as the socket takes now, and says whether it took any.
    pub(crate) fn flush(&mut self, output: &mut Output) -> io::Result<bool> {
        let mut progress = false;
        loop {
            if !self.send(&mut progress)? {
                return Ok(progress);
            }
            output.advance(std::mem::take(&mut self.sealed));
            if output.unsent() == 0 {
                return Ok(progress);
            }
            let (slices, count) = output.slices();
            let slices = slices.get(..count).unwrap_or_default();
            self.sealed = self.session.writer().write_vectored(slices)?;
            if self.sealed == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }

    /// Sends what is encrypted; whether all of it went.
    fn send(&mut self, progress: &mut bool) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut NoWait(&self.stream)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => *progress = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Ready when [`Self::read`] may bring something.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.unread {
            true => Poll::Ready(Ok(())),
            false => self.stream.poll_read_ready(context),
        }
    }

    /// Ready when [`Self::flush`] may send something.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(context)
    }

    /// Says goodbye as far as the socket takes it, and gives the socket.
    pub(crate) fn close(mut self) -> TcpStream {
        self.session.send_close_notify();
        // Who takes nothing any more is not told.
        let _ = self.send(&mut false);
        self.stream
    }
}

/// What became of what was decrypted.
enum Drained {
    /// There is more than space.
    Full,
    /// It is all taken.
    Empty,
    /// It is all taken, and nothing follows.
    End,
}

/// A socket that is read and written only as far as it goes at once.
struct NoWait<'a>(&'a TcpStream);

impl Read for NoWait<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for NoWait<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
