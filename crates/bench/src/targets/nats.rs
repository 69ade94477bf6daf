//! Core NATS: publish and subscribe in memory.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::daemon::{self, Daemon, Recipe};
use super::{Service, Side, Target, TargetError};
use crate::compare::Case;
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Batch, Framed, Front, Message, Template};
use crate::wire::nats::{self, Op};
use crate::wire::{Conn, unexpected};

/// Its name in the path.
pub(super) const PROGRAM: &str = "nats-server";
/// What every configuration of ours begins with.
pub(super) const CONFIG: &str = "listen: 127.0.0.1:{port}\nping_interval: \"1h\"\n";

const SUBJECT: &[u8] = b"bench";

/// Core NATS.
pub(super) struct Nats;

fn recipe() -> Recipe {
    let args = vec!["-c".into(), "{dir}/nats.conf".into()];
    Recipe { program: PROGRAM, args, config: Some(("nats.conf", CONFIG.into())) }
}

impl Target for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn side(&self) -> Side {
        Side::Peer("nats")
    }

    fn version(&self) -> Result<String, TargetError> {
        daemon::version(PROGRAM, "--version")
    }

    fn settings(&self, case: Case) -> Option<String> {
        matches!(case, Case::Pass { .. } | Case::Idle).then(|| recipe().line())
    }

    fn start(&self, _: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        Ok(Box::new(Running(Daemon::start(&recipe(), folder)?)))
    }
}

struct Running(Daemon);

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        Some(self.0.pid())
    }

    fn publisher(&mut self, message: Message) -> Result<Publisher, TargetError> {
        let stream = connect(self.0.addr())?.into_stream()?;
        let mut frame = Vec::new();
        nats::publish(&mut frame, SUBJECT, b"", &message.blank());
        Ok((stream, Box::new(Batch::new(Template::with_tail(frame, 2, message)))))
    }

    fn subscriber(&mut self, _: Message) -> Result<Subscriber, TargetError> {
        let mut conn = connect(self.0.addr())?;
        nats::subscribe(&mut conn.out, SUBJECT, 1);
        fence(&mut conn)?;
        Ok((conn.into_stream()?, Box::new(Framed::new(front))))
    }

    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        Ok(connect(self.0.addr())?.into_stream()?)
    }
}

fn front(input: &[u8]) -> io::Result<Option<Front>> {
    Ok(nats::op(input)?.map(|(op, end)| match op {
        Op::Msg(msg) => {
            let payload_end = end - 2;
            Front::Message(payload_end - msg.payload.len(), payload_end, end)
        }
        Op::Ping => Front::Other(end, b"PONG\r\n"),
        _ => Front::Other(end, b""),
    }))
}

/// A connection that the server has taken.
pub(super) fn connect(addr: SocketAddr) -> io::Result<Conn> {
    let mut conn = Conn::open(addr)?;
    conn.out.extend_from_slice(
        b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
          \"lang\":\"rust\",\"version\":\"1\",\"name\":\"bench\"}\r\n",
    );
    fence(&mut conn)?;
    Ok(conn)
}

/// Waits until the server has dealt with all that was sent; nothing but PONG may be due.
pub(super) fn fence(conn: &mut Conn) -> io::Result<()> {
    conn.out.extend_from_slice(b"PING\r\n");
    conn.flush()?;
    let pong = |input: &[u8]| match nats::op(input)? {
        Some((Op::Pong, end)) => Ok(Some((true, end))),
        Some((Op::Msg(msg), _)) => Err(unexpected("a message before the PONG", msg.subject)),
        Some((_, end)) => Ok(Some((false, end))),
        None => Ok(None),
    };
    while !conn.next(pong)? {}
    Ok(())
}
