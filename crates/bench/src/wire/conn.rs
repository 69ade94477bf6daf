//! A blocking connection that gathers what it sends and parses what arrives in place.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Parsed;

/// Bytes of room for one read.
const READ: usize = 256 << 10;
/// A peer that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    /// What of the input is taken, and where it ends.
    at: usize,
    end: usize,
    /// What is sent next.
    pub out: Vec<u8>,
}

impl Conn {
    /// Connects.
    ///
    /// # Errors
    /// The connection failed.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(addr)?)
    }

    /// Takes over a connection on which nothing is due.
    ///
    /// # Errors
    /// The socket refused.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self { stream, input: Vec::new(), at: 0, end: 0, out: Vec::new() })
    }

    /// Sends what was gathered, in one write.
    ///
    /// # Errors
    /// The connection failed.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits until `parse` finds something at the front of what arrived, and takes it. What it
    /// gives must not borrow; look at the bytes inside of it.
    ///
    /// # Errors
    /// The connection failed or ended, or `parse` failed.
    pub fn next<T>(&mut self, mut parse: impl FnMut(&[u8]) -> Parsed<T>) -> io::Result<T> {
        loop {
            if let Some((found, bytes)) = parse(&self.input[self.at..self.end])? {
                self.at += bytes;
                return Ok(found);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.input.copy_within(self.at..self.end, 0);
        (self.at, self.end) = (0, self.end - self.at);
        if self.input.len() - self.end < READ {
            self.input.resize(self.end + READ, 0);
        }
        let read = self.stream.read(&mut self.input[self.end..])?;
        self.end += read;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// The number of its own end, which no other connection has.
    ///
    /// # Errors
    /// The socket refused.
    pub fn local_port(&self) -> io::Result<u16> {
        Ok(self.stream.local_addr()?.port())
    }

    /// The connection itself. What arrived and was not taken would be lost, so there must be none.
    ///
    /// # Errors
    /// Something is left, or the socket refused.
    pub fn into_stream(self) -> io::Result<TcpStream> {
        if self.at < self.end {
            let left = &self.input[self.at..self.end];
            return Err(super::unexpected("more than was asked for", left));
        }
        self.stream.set_read_timeout(None)?;
        Ok(self.stream)
    }
}
