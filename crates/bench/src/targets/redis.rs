//! Redis as four things: publish and subscribe, a list as a queue, a stream with a consumer
//! group, and keys with values. Its append-only file is synced before the answer, or once a second.

mod keys;
mod list;
mod stream;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::daemon::{self, Daemon, Recipe};
use super::{Level, Service, Side, Target, TargetError};
use crate::compare::Case;
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Batch, Exchange, Framed, Front, Message, Template};
use crate::wire::resp::{self, Token};
use crate::wire::{Conn, unexpected};

pub(super) use keys::Keys;
pub(super) use list::List;
pub(super) use stream::Stream;

const PROGRAM: &str = "redis-server";
const CHANNEL: &[u8] = b"bench";

/// Redis publish and subscribe.
pub(super) struct PubSub;

/// `level` is none where nothing is written.
fn recipe(level: Option<Level>) -> Recipe {
    let file = match level {
        None => "--appendonly no",
        Some(Level::Sync) => "--appendonly yes --appendfsync always",
        Some(Level::Os) => "--appendonly yes --appendfsync everysec",
    };
    let args = format!(
        "--port {{port}} --bind 127.0.0.1 --dir {{dir}} {file} --auto-aof-rewrite-percentage 0 \
         --maxclients 12000"
    );
    let mut args: Vec<String> = args.split(' ').map(str::to_owned).collect();
    let unlimited = "pubsub 0 0 0";
    args.extend(["--save", "", "--client-output-buffer-limit", unlimited].map(str::to_owned));
    Recipe { program: PROGRAM, args, config: None }
}

fn version() -> Result<String, TargetError> {
    daemon::version(PROGRAM, "--version")
}

impl Target for PubSub {
    fn name(&self) -> &'static str {
        "Redis pub/sub"
    }

    fn side(&self) -> Side {
        Side::Peer("redis")
    }

    fn version(&self) -> Result<String, TargetError> {
        version()
    }

    fn settings(&self, case: Case) -> Option<String> {
        matches!(case, Case::Pass { .. } | Case::Idle).then(|| recipe(None).line())
    }

    fn start(&self, _: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        Ok(Box::new(Running(Daemon::start(&recipe(None), folder)?)))
    }
}

struct Running(Daemon);

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        Some(self.0.pid())
    }

    fn publisher(&mut self, message: Message) -> Result<Publisher, TargetError> {
        let mut conn = Conn::open(self.0.addr())?;
        // Otherwise each PUBLISH is answered with the number of its receivers.
        resp::command(&mut conn.out, &[b"CLIENT", b"REPLY", b"OFF"]);
        conn.flush()?;
        let mut frame = Vec::new();
        resp::command(&mut frame, &[b"PUBLISH", CHANNEL, &message.blank()]);
        let batch = Batch::new(Template::with_tail(frame, 2, message));
        Ok((conn.into_stream()?, Box::new(batch)))
    }

    fn subscriber(&mut self, _: Message) -> Result<Subscriber, TargetError> {
        let mut conn = Conn::open(self.0.addr())?;
        resp::command(&mut conn.out, &[b"SUBSCRIBE", CHANNEL]);
        conn.flush()?;
        resp::count(&mut conn)?;
        resp::bulk(&mut conn, |_| ())?;
        resp::bulk(&mut conn, |_| ())?;
        resp::count(&mut conn)?;
        Ok((conn.into_stream()?, Box::new(Framed::new(front))))
    }

    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        Ok(greeted(self.0.addr())?.into_stream()?)
    }
}

/// A connection that has had an answer.
fn greeted(addr: SocketAddr) -> io::Result<Conn> {
    let mut conn = Conn::open(addr)?;
    ask(&mut conn, &[b"PING"])?;
    Ok(conn)
}

/// Sends a command whose answer is `+...`.
fn ask(conn: &mut Conn, words: &[&[u8]]) -> io::Result<()> {
    resp::command(&mut conn.out, words);
    conn.flush()?;
    conn.next(|input| match resp::token(input)? {
        Some((Token::Simple(_), end)) => Ok(Some(((), end))),
        Some(_) => Err(unexpected("Redis answers", input)),
        None => Ok(None),
    })
}

/// `*3 message CHANNEL payload`
fn front(input: &[u8]) -> io::Result<Option<Front>> {
    let mut end = 0;
    let mut payload = 0;
    for _ in 0..4 {
        let Some((token, bytes)) = resp::token(&input[end..])? else { return Ok(None) };
        if let Token::Bulk(bulk) = token {
            payload = bulk.len();
        }
        end += bytes;
    }
    Ok(Some(Front::Message(end - 2 - payload, end - 2, end)))
}

/// Connections and the exchange of a command that ends with the message.
fn putters(
    addr: SocketAddr,
    message: Message,
    connections: usize,
    words: &[&[u8]],
    answer: crate::load::Answer,
) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
    let blank = message.blank();
    let mut frame = Vec::new();
    resp::command(&mut frame, &[words, &[&blank]].concat());
    let request = Template::with_tail(frame, 2, message);
    let streams = (0..connections).map(|_| greeted(addr)?.into_stream());
    Ok((streams.collect::<io::Result<_>>()?, Exchange { request, answer, pack: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_message_is_the_last_of_its_array() {
        let input = b"*3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n$4\r\na\r\nb\r\nrest";
        let end = input.len() - 4;
        let found = front(input).unwrap();
        assert_eq!(found, Some(Front::Message(end - 6, end - 2, end)));
        assert_eq!(front(&input[..end - 1]).unwrap(), None);
    }
}
