//! Keys with values: SET and GET.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::super::daemon::Daemon;
use super::super::{Service, Side, Target, TargetError};
use super::{greeted, recipe, version};
use crate::compare::{Case, KeyWork};
use crate::load::keys::{self, KEY};
use crate::load::{Exchange, Message};
use crate::wire::resp::{self, Token};
use crate::wire::unexpected;

/// Redis as a store of keys and values.
pub(in super::super) struct Keys;

impl Target for Keys {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn side(&self) -> Side {
        Side::Peer("redis")
    }

    fn version(&self) -> Result<String, TargetError> {
        version()
    }

    fn settings(&self, case: Case) -> Option<String> {
        let Case::Keys { level, .. } = case else { return None };
        Some(format!("{}; SET, GET", recipe(Some(level)).line()))
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

    fn keys(
        &mut self,
        message: Message,
        work: KeyWork,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        let addr = self.0.addr();
        let streams = (0..connections).map(|_| greeted(addr)?.into_stream());
        Ok((streams.collect::<io::Result<_>>()?, exchange(message, work)))
    }
}

fn exchange(message: Message, work: KeyWork) -> Exchange {
    let mut frame = Vec::new();
    let request = match work {
        KeyWork::Set => {
            let value = keys::blank(message);
            resp::command(&mut frame, &[b"SET", KEY, &value]);
            let value_at = frame.len() - 2 - value.len();
            // `$N CRLF` before the value, and CRLF behind the key.
            let key_at = value_at - format!("\r\n${}\r\n", value.len()).len() - KEY.len();
            keys::request(frame, key_at, Some(value_at))
        }
        KeyWork::Get => {
            resp::command(&mut frame, &[b"GET", KEY]);
            let key_at = frame.len() - 2 - KEY.len();
            keys::request(frame, key_at, None)
        }
    };
    let answer = if work == KeyWork::Set { set } else { got };
    Exchange { request, answer, pack: None }
}

fn set(_: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match resp::token(input)? {
        Some((Token::Simple(b"OK"), end)) => Ok(Some((end, 1))),
        Some(_) => Err(unexpected("no OK", input)),
        None => Ok(None),
    }
}

fn got(number: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match resp::token(input)? {
        Some((Token::Bulk(value), end)) => keys::check(number, value).map(|()| Some((end, 1))),
        Some(_) => Err(unexpected("no value", input)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_numbered_where_they_stand() {
        let message = Message { bytes: 24, content: false };
        let mut out = Vec::new();
        exchange(message, KeyWork::Set).put(7, 1, &mut out);
        exchange(message, KeyWork::Get).put(7, 1, &mut out);
        let set = "*3\r\n$3\r\nSET\r\n$10\r\nbench:0007\r\n$24\r\n00000000000000000007xxxx\r\n";
        let get = "*2\r\n$3\r\nGET\r\n$10\r\nbench:0007\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), format!("{set}{get}"));
        let value = b"$24\r\n00000000000000010007xxxx\r\n";
        assert_eq!(got(7, value).unwrap(), Some((value.len(), 1)));
        assert!(got(8, value).is_err());
    }
}
