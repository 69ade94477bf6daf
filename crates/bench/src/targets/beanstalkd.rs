//! beanstalkd: a work queue with a log, which is synced before each answer or never.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::daemon::{self, Daemon, Recipe};
use super::{Level, Service, Side, Target, TargetError};
use crate::compare::Case;
use crate::load::{Consumer, Exchange, Message, Template};
use crate::wire::beanstalk::{self, Answer};
use crate::wire::{Conn, unexpected};

const PROGRAM: &str = "beanstalkd";

/// beanstalkd.
pub(super) struct Beanstalkd;

fn recipe(case: Case) -> Recipe {
    let sync = match case.queue_level() {
        Some(Level::Sync) => "-f0",
        _ => "-F",
    };
    let args = ["-l", "127.0.0.1", "-p", "{port}", "-b", "{dir}", sync].map(str::to_owned);
    Recipe { program: PROGRAM, args: args.into(), config: None }
}

impl Target for Beanstalkd {
    fn name(&self) -> &'static str {
        "beanstalkd"
    }

    fn side(&self) -> Side {
        Side::Peer("beanstalkd")
    }

    fn version(&self) -> Result<String, TargetError> {
        daemon::version(PROGRAM, "-v")
    }

    fn settings(&self, case: Case) -> Option<String> {
        let can = case.peer_level().is_some() || case == Case::Idle;
        can.then(|| format!("{}; put, reserve-with-timeout 0, delete", recipe(case).line()))
    }

    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        Ok(Box::new(Running(Daemon::start(&recipe(case), folder)?)))
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
        let mut frame = Vec::new();
        beanstalk::put(&mut frame, &message.blank());
        let request = Template::with_tail(frame, 2, message);
        let streams = (0..connections).map(|_| Conn::open(self.0.addr())?.into_stream());
        Ok((
            streams.collect::<io::Result<_>>()?,
            Exchange { request, answer: inserted, pack: None },
        ))
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        Ok(Box::new(Worker { conn: Conn::open(self.0.addr())?, taken: Vec::new() }))
    }

    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        Ok(Conn::open(self.0.addr())?.into_stream()?)
    }

    fn kill(&mut self) -> Result<(), TargetError> {
        Ok(self.0.kill()?)
    }

    fn start_again(&mut self) -> Result<(), TargetError> {
        Ok(self.0.start_again()?)
    }
}

fn inserted(_: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match beanstalk::answer(input)? {
        Some((Answer::Inserted(_), end)) => Ok(Some((end, 1))),
        Some(_) => Err(unexpected("no answer to a put", input)),
        None => Ok(None),
    }
}

struct Worker {
    conn: Conn,
    taken: Vec<u64>,
}

impl Worker {
    fn add_deletes(&mut self) -> usize {
        for id in &self.taken {
            beanstalk::delete(&mut self.conn.out, *id);
        }
        let count = self.taken.len();
        self.taken.clear();
        count
    }

    fn await_deletes(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            self.conn.next(|input| match beanstalk::answer(input)? {
                Some((Answer::Deleted, end)) => Ok(Some(((), end))),
                Some(_) => Err(unexpected("no answer to a delete", input)),
                None => Ok(None),
            })?;
        }
        Ok(())
    }
}

impl Consumer for Worker {
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let deletes = self.add_deletes();
        for _ in 0..count {
            beanstalk::reserve(&mut self.conn.out);
        }
        self.conn.flush()?;
        self.await_deletes(deletes)?;
        for _ in 0..count {
            let id = self.conn.next(|input| match beanstalk::answer(input)? {
                Some((Answer::Reserved { id, job }, end)) => {
                    each(job);
                    Ok(Some((Some(id), end)))
                }
                Some((Answer::TimedOut, end)) => Ok(Some((None, end))),
                Some(_) => Err(unexpected("no answer to a reserve", input)),
                None => Ok(None),
            })?;
            self.taken.extend(id);
        }
        Ok(self.taken.len())
    }

    fn finish(&mut self) -> io::Result<()> {
        let deletes = self.add_deletes();
        self.conn.flush()?;
        self.await_deletes(deletes)
    }
}
