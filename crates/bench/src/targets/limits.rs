//! The null servers: what no broker can leave out, on threads of this process.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use super::sluice::wire;
use super::{Level, Service, Side, Target, TargetError};
use crate::compare::{Case, Files};
use crate::load::confirm::connect;
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Batch, Consumer, Exchange, Fixed, Message, Template};
use crate::null::{LogFile, nulllog, nulllog64, relay};
use crate::wire::Conn;

/// Bytes of a null server's file that is written beforehand.
const FILE: u64 = 256 << 20;

/// Copies bytes from a publisher to a subscriber.
pub(super) struct Relay;

impl Target for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn side(&self) -> Side {
        Side::Limit
    }

    fn version(&self) -> Result<String, TargetError> {
        Ok("null server: copies bytes, parses nothing".into())
    }

    fn settings(&self, case: Case) -> Option<String> {
        matches!(case, Case::Pass { subscribers: 1, .. }).then(|| "a thread, 256 KiB reads".into())
    }

    fn start(&self, _: Case, _: &Path) -> Result<Box<dyn Service>, TargetError> {
        let addr = relay()?;
        // It takes the first for the publisher.
        let publisher = TcpStream::connect(addr)?;
        let subscriber = TcpStream::connect(addr)?;
        Ok(Box::new(Copying { publisher: Some(publisher), subscriber: Some(subscriber) }))
    }
}

struct Copying {
    publisher: Option<TcpStream>,
    subscriber: Option<TcpStream>,
}

impl Service for Copying {
    fn pid(&self) -> Option<u32> {
        None
    }

    fn publisher(&mut self, message: Message) -> Result<Publisher, TargetError> {
        let stream = self.publisher.take().ok_or(TargetError::Unsupported)?;
        let batch = Batch::new(Template::new(message.blank(), 0, message));
        Ok((stream, Box::new(batch)))
    }

    fn subscriber(&mut self, message: Message) -> Result<Subscriber, TargetError> {
        let stream = self.subscriber.take().ok_or(TargetError::Unsupported)?;
        Ok((stream, Box::new(Fixed(message.bytes))))
    }
}

/// Appends what arrives, syncs once for all of it, answers a byte for each.
pub(super) struct NullLog;

impl Target for NullLog {
    fn name(&self) -> &'static str {
        "nulllog"
    }

    fn side(&self) -> Side {
        Side::Limit
    }

    fn version(&self) -> Result<String, TargetError> {
        Ok("null server: appends what arrived, one sync for all of it, a byte for each".into())
    }

    fn settings(&self, case: Case) -> Option<String> {
        let level = case.queue_level()?;
        let file = match case {
            Case::Confirm { files: Files::Growing, .. } => "a file that grows",
            _ => "256 MiB written beforehand, used round and round",
        };
        match case {
            Case::Confirm { connections: 2.., .. } => {
                Some(format!("nulllog64: a thread a connection, one commits; {file}"))
            }
            Case::Confirm { .. } | Case::Pace { .. } => Some(format!("one thread; {file}")),
            Case::Cycle { .. } => {
                Some(format!("a put at {}, a take that is not synced", level.name()))
            }
            _ => None,
        }
    }

    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        Ok(Box::new(Appending { case, folder: folder.to_owned() }))
    }
}

struct Appending {
    case: Case,
    folder: PathBuf,
}

impl Appending {
    fn file(&self, name: &str, level: Level) -> Result<LogFile, TargetError> {
        let path = self.folder.join(name);
        let synced = level == Level::Sync;
        Ok(match self.case {
            Case::Confirm { files: Files::Growing, .. } => LogFile::growing(&path, synced)?,
            _ => LogFile::prepared(&path, FILE, synced)?,
        })
    }

    fn level(&self) -> Level {
        self.case.queue_level().unwrap_or(Level::Os)
    }
}

impl Service for Appending {
    fn pid(&self) -> Option<u32> {
        None
    }

    /// The bytes are those that Sluice gets.
    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        let exchange = wire::exchange(message, "bench", None)?.answered_by_a_byte();
        let file = self.file("puts", self.level())?;
        let bytes = exchange.request_bytes();
        let addr = match connections {
            1 => nulllog(file, bytes)?,
            _ => nulllog64(file, bytes, connections)?,
        };
        Ok((connect(addr, connections)?, exchange))
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        let addr: SocketAddr = nulllog(self.file("takes", Level::Os)?, Message::NUMBER)?;
        Ok(Box::new(Echo { conn: Conn::open(addr)?, taken: 0 }))
    }
}

/// Makes one round trip a turn and counts on.
struct Echo {
    conn: Conn,
    taken: u64,
}

impl Consumer for Echo {
    fn turn(&mut self, _: usize, each: &mut dyn FnMut(&[u8])) -> std::io::Result<usize> {
        self.taken += 1;
        let number = self.taken.to_le_bytes();
        self.conn.out.extend_from_slice(&number);
        self.conn.flush()?;
        self.conn.next(|input| Ok((!input.is_empty()).then_some(((), 1))))?;
        each(&number);
        Ok(1)
    }

    fn finish(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
