//! A stream with one consumer group: messages are read, then acknowledged together by one XACK.
//! They stay in the stream, which is what it does fastest.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::super::daemon::Daemon;
use super::super::{Service, Side, Target, TargetError};
use super::{ask, greeted, putters, recipe, version};
use crate::compare::Case;
use crate::load::{Consumer, Exchange, Message};
use crate::wire::resp::{self, Token};
use crate::wire::{Conn, unexpected};

const STREAM: &[u8] = b"bench";
const GROUP: &[u8] = b"g";

/// A Redis stream.
pub(in super::super) struct Stream;

impl Target for Stream {
    fn name(&self) -> &'static str {
        "Redis stream"
    }

    fn side(&self) -> Side {
        Side::Peer("redis")
    }

    fn version(&self) -> Result<String, TargetError> {
        version()
    }

    fn settings(&self, case: Case) -> Option<String> {
        let level = case.peer_level()?;
        let line = recipe(Some(level)).line();
        Some(format!("{line}; XADD, XREADGROUP, one XACK for all of a read, nothing deleted"))
    }

    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        let daemon = Daemon::start(&recipe(case.queue_level()), folder)?;
        let mut conn = greeted(daemon.addr())?;
        ask(&mut conn, &[b"XGROUP", b"CREATE", STREAM, GROUP, b"0", b"MKSTREAM"])?;
        Ok(Box::new(Running { daemon, consumers: 0 }))
    }
}

struct Running {
    daemon: Daemon,
    consumers: usize,
}

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        Some(self.daemon.pid())
    }

    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        let words: [&[u8]; 4] = [b"XADD", STREAM, b"*", b"m"];
        putters(self.daemon.addr(), message, connections, &words, added)
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        self.consumers += 1;
        let name = format!("c{}", self.consumers);
        let conn = greeted(self.daemon.addr())?;
        Ok(Box::new(Reader { conn, name, ids: Vec::new(), taken: 0 }))
    }

    fn kill(&mut self) -> Result<(), TargetError> {
        Ok(self.daemon.kill()?)
    }

    fn start_again(&mut self) -> Result<(), TargetError> {
        Ok(self.daemon.start_again()?)
    }
}

fn added(_: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match resp::token(input)? {
        Some((Token::Bulk(_), end)) => Ok(Some((end, 1))),
        Some(_) => Err(unexpected("no id of an entry", input)),
        None => Ok(None),
    }
}

struct Reader {
    conn: Conn,
    name: String,
    /// Ids of what was taken, as words of a command, and how many.
    ids: Vec<u8>,
    taken: usize,
}

impl Reader {
    /// Adds the XACK of what was taken; says whether an answer to it will come.
    fn add_ack(&mut self) -> bool {
        if self.taken == 0 {
            return false;
        }
        resp::start(&mut self.conn.out, 3 + self.taken);
        for word in [b"XACK".as_slice(), STREAM, GROUP] {
            resp::add(&mut self.conn.out, word);
        }
        self.conn.out.append(&mut self.ids);
        true
    }

    /// Waits for the answer to it.
    fn await_ack(&mut self) -> io::Result<()> {
        let acked = resp::count(&mut self.conn)?;
        if acked != Some(self.taken as u64) {
            let what = format!("{} were to be acknowledged, {acked:?} were", self.taken);
            return Err(io::Error::other(what));
        }
        self.taken = 0;
        Ok(())
    }

    /// `*1 *2 STREAM *n (*2 id *2 m payload)...`, or nil.
    fn entries(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        if resp::count(&mut self.conn)?.is_none() {
            return Ok(0);
        }
        resp::count(&mut self.conn)?;
        resp::bulk(&mut self.conn, |_| ())?;
        let there = resp::count(&mut self.conn)?.unwrap_or(0) as usize;
        for _ in 0..there {
            resp::count(&mut self.conn)?;
            let ids = &mut self.ids;
            resp::bulk(&mut self.conn, |id| resp::add(ids, id))?;
            resp::count(&mut self.conn)?;
            resp::bulk(&mut self.conn, |_| ())?;
            resp::bulk(&mut self.conn, &mut *each)?;
        }
        Ok(there)
    }
}

impl Consumer for Reader {
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let acks = self.add_ack();
        let (name, count) = (self.name.as_bytes(), count.to_string());
        let words: [&[u8]; 9] = [
            b"XREADGROUP",
            b"GROUP",
            GROUP,
            name,
            b"COUNT",
            count.as_bytes(),
            b"STREAMS",
            STREAM,
            b">",
        ];
        resp::command(&mut self.conn.out, &words);
        self.conn.flush()?;
        if acks {
            self.await_ack()?;
        }
        self.taken = self.entries(each)?;
        Ok(self.taken)
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.add_ack() {
            self.conn.flush()?;
            self.await_ack()?;
        }
        Ok(())
    }
}
