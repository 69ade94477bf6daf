//! A socket that never waits, for a thread that has thousands of them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::asking::Head;
use crate::wire::unexpected;

/// An answer that is longer is none.
const ANSWER_MAX: usize = 64 << 10;

/// A connection to the HTTP door that asks one thing at a time.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// When it was asked for what is not answered yet, if anything.
    pub(super) asked: Option<Instant>,
    /// What has come of an answer that came in pieces.
    input: Vec<u8>,
}

impl Socket {
    /// Begins to connect.
    pub(super) fn open(addr: SocketAddr) -> io::Result<Self> {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &addr) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { stream: socket.into(), asked: None, input: Vec::new() })
    }

    /// Sends a request, unless the connection is not there yet.
    pub(super) fn say(&mut self, request: &[u8]) -> io::Result<bool> {
        match self.stream.write(request) {
            Ok(written) if written == request.len() => Ok(true),
            Ok(_) => Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes what has come, by way of `room`, which all may share: the head of the answer, if that is
    /// there to its end.
    pub(super) fn hear(&mut self, room: &mut [u8]) -> io::Result<Option<Head>> {
        let bytes = match self.stream.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let whole = |input: &[u8]| {
            let head = Head::of(input)?;
            io::Result::Ok(head.filter(|head| input.len() >= head.bytes + head.body))
        };
        if self.input.is_empty()
            && let Some(head) = whole(&room[..bytes])?
        {
            return Ok(Some(head));
        }
        self.input.extend_from_slice(&room[..bytes]);
        let head = whole(&self.input)?;
        if head.is_some() {
            self.input = Vec::new();
        } else if self.input.len() > ANSWER_MAX {
            return Err(unexpected("no end of an answer", &self.input));
        }
        Ok(head)
    }
}
