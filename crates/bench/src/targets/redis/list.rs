//! A list as a queue: whoever pops a message has it, and if they die it is lost. There is nothing
//! to acknowledge.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::super::daemon::Daemon;
use super::super::{Service, Side, Target, TargetError};
use super::{greeted, putters, recipe, version};
use crate::compare::Case;
use crate::load::{Consumer, Exchange, Message};
use crate::wire::resp::{self, Token};
use crate::wire::{Conn, unexpected};

const LIST: &[u8] = b"bench";

/// A Redis list.
pub(in super::super) struct List;

impl Target for List {
    fn name(&self) -> &'static str {
        "Redis list"
    }

    fn side(&self) -> Side {
        Side::Peer("redis")
    }

    fn version(&self) -> Result<String, TargetError> {
        version()
    }

    fn settings(&self, case: Case) -> Option<String> {
        let level = case.peer_level()?;
        Some(format!("{}; RPUSH, LPOP with a count, no acks", recipe(Some(level)).line()))
    }

    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        Ok(Box::new(Running(Daemon::start(&recipe(case.queue_level()), folder)?)))
    }
}

struct Running(Daemon);

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        Some(self.0.pid())
    }

    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        putters(self.0.addr(), message, connections, &[b"RPUSH", LIST], pushed)
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        Ok(Box::new(Popper(greeted(self.0.addr())?)))
    }

    fn kill(&mut self) -> Result<(), TargetError> {
        Ok(self.0.kill()?)
    }

    fn start_again(&mut self) -> Result<(), TargetError> {
        Ok(self.0.start_again()?)
    }
}

fn pushed(_: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match resp::token(input)? {
        Some((Token::Integer(_), end)) => Ok(Some((end, 1))),
        Some(_) => Err(unexpected("no length of a list", input)),
        None => Ok(None),
    }
}

struct Popper(Conn);

impl Consumer for Popper {
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let count = count.to_string();
        resp::command(&mut self.0.out, &[b"LPOP", LIST, count.as_bytes()]);
        self.0.flush()?;
        let there = resp::count(&mut self.0)?.unwrap_or(0);
        for _ in 0..there {
            resp::bulk(&mut self.0, &mut *each)?;
        }
        Ok(there as usize)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
