//! Sluice's keys, through the text form of its line door.

use std::io;
use std::net::TcpStream;

use crate::compare::KeyWork;
use crate::load::confirm::connect;
use crate::load::keys::{self, KEY};
use crate::load::{Exchange, Message};
use crate::process::Broker;
use crate::targets::{Service, TargetError};
use crate::wire::{line, unexpected};

/// A broker whose keys are used.
pub(super) struct Keyed(pub(super) Broker);

impl Service for Keyed {
    fn pid(&self) -> Option<u32> {
        Some(self.0.pid())
    }

    fn keys(
        &mut self,
        message: Message,
        work: KeyWork,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        Ok((connect(self.0.tcp_addr(), connections)?, exchange(message, work)))
    }
}

fn exchange(message: Message, work: KeyWork) -> Exchange {
    let (word, value) = match work {
        KeyWork::Set => (&b"SET "[..], Some(keys::blank(message))),
        KeyWork::Get => (&b"GET "[..], None),
    };
    let mut frame = [word, KEY].concat();
    let value_at = value.map(|value| {
        frame.push(b' ');
        let at = frame.len();
        frame.extend(value);
        at
    });
    frame.push(b'\n');
    let answer = if work == KeyWork::Set { set } else { got };
    Exchange { request: keys::request(frame, word.len(), value_at), answer, pack: None }
}

fn set(_: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match line(input) {
        Some((b"OK", end)) => Ok(Some((end, 1))),
        Some((text, _)) => Err(unexpected("no OK", text)),
        None => Ok(None),
    }
}

fn got(number: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let Some((value, end)) = line(input) else { return Ok(None) };
    keys::check(number, value).map(|()| Some((end, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_sets_a_key_and_a_line_reads_it() {
        let message = Message { bytes: 24, content: false };
        let mut out = Vec::new();
        exchange(message, KeyWork::Set).put(12, 1, &mut out);
        exchange(message, KeyWork::Get).put(12, 1, &mut out);
        let lines = "SET bench:0012 00000000000000000012xxxx\nGET bench:0012\n";
        assert_eq!(String::from_utf8(out).unwrap(), lines);
        assert_eq!(set(1, b"OK\n").unwrap(), Some((3, 1)));
        assert!(set(1, b"ERR no\n").is_err());
        assert_eq!(got(12, b"00000000000000000012xxxx\nrest").unwrap(), Some((25, 1)));
        assert_eq!(got(12, b"0000").unwrap(), None);
    }
}
