//! JetStream: the durable queues of NATS, one work queue stream in files.
//!
//! The server of Debian 12 has no `sync_interval: always`: it syncs every two minutes, whatever a
//! publisher waits for. Acks have no answer of their own.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::daemon::{self, Daemon, Recipe};
use super::nats::{CONFIG, PROGRAM, connect, fence};
use super::{Level, Service, Side, Target, TargetError};
use crate::compare::Case;
use crate::load::{Consumer, Exchange, Form, Message, Template};
use crate::wire::nats::{self, Op};
use crate::wire::{Conn, decimal, unexpected};

const QUEUE: &[u8] = b"bench";
/// Where confirms arrive: this and the number in so many digits.
const CONFIRMS: &[u8] = b"_confirm.";
const DIGITS: usize = 12;
const DELIVERIES: &[u8] = b"_deliver";
const REPLIES: &[u8] = b"_reply";
/// How long a take waits where there is less than was asked for.
const EXPIRES_NS: u64 = 100_000_000;

/// JetStream.
pub(super) struct JetStream;

fn recipe() -> Recipe {
    let args = vec!["-c".into(), "{dir}/nats.conf".into()];
    let store = "jetstream { store_dir: \"{dir}/data\", max_file_store: 64GB }\n";
    Recipe { program: PROGRAM, args, config: Some(("nats.conf", format!("{CONFIG}{store}"))) }
}

impl Target for JetStream {
    fn name(&self) -> &'static str {
        "JetStream"
    }

    fn side(&self) -> Side {
        Side::Peer("nats")
    }

    fn version(&self) -> Result<String, TargetError> {
        daemon::version(PROGRAM, "--version")
    }

    fn settings(&self, case: Case) -> Option<String> {
        (case.peer_level() == Some(Level::Os)).then(|| {
            format!(
                "{}; stream: file, workqueue; consumer: pull, explicit acks without an answer; \
                 confirms before fdatasync, which comes every 2 minutes",
                recipe().line()
            )
        })
    }

    fn start(&self, _: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        let daemon = Daemon::start(&recipe(), folder)?;
        let mut conn = connect(daemon.addr())?;
        nats::subscribe(&mut conn.out, REPLIES, 1);
        let stream = r#"{"name":"bench","subjects":["bench"],"retention":"workqueue",
            "storage":"file","num_replicas":1,"discard":"new","max_consumers":-1,"max_msgs":-1,
            "max_bytes":-1}"#;
        ask(&mut conn, b"$JS.API.STREAM.CREATE.bench", stream)?;
        let consumer = r#"{"stream_name":"bench","config":{"durable_name":"c",
            "deliver_policy":"all","ack_policy":"explicit","ack_wait":600000000000,
            "max_ack_pending":1000000,"max_waiting":512,"replay_policy":"instant"}}"#;
        ask(&mut conn, b"$JS.API.CONSUMER.DURABLE.CREATE.bench.c", consumer)?;
        Ok(Box::new(Running(daemon)))
    }
}

/// Asks the server's interface and expects no error.
fn ask(conn: &mut Conn, subject: &[u8], json: &str) -> io::Result<()> {
    nats::publish(&mut conn.out, subject, REPLIES, json.as_bytes());
    conn.flush()?;
    conn.next(|input| match nats::op(input)? {
        Some((Op::Msg(msg), end)) => refusal(msg.payload).map_or(Ok(Some(((), end))), Err),
        Some(_) => Err(unexpected("no answer", input)),
        None => Ok(None),
    })
}

fn refusal(answer: &[u8]) -> Option<io::Error> {
    let error = b"\"error\":";
    answer
        .windows(error.len())
        .any(|part| part == error)
        .then(|| unexpected("JetStream refuses", answer))
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
        // Each connection has a place for its confirms of its own.
        let reply = [CONFIRMS, &[b'0'; DIGITS]].concat();
        nats::publish(&mut frame, QUEUE, &reply, &message.blank());
        let at = b"PUB ".len() + QUEUE.len() + 1 + CONFIRMS.len();
        let request = Template::with_tail(frame, 2, message).numbered(at, Form::Decimal(DIGITS));
        let streams = (0..connections).map(|_| {
            let mut conn = connect(self.0.addr())?;
            nats::subscribe(&mut conn.out, &[CONFIRMS, b"*"].concat(), 1);
            fence(&mut conn)?;
            conn.into_stream()
        });
        Ok((streams.collect::<io::Result<_>>()?, Exchange { request, answer: confirm, pack: None }))
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        let mut conn = connect(self.0.addr())?;
        // Every consumer has an inbox of its own, or it would get what others asked for.
        let inbox = [DELIVERIES, conn.local_port()?.to_string().as_bytes()].concat();
        nats::subscribe(&mut conn.out, &inbox, 1);
        fence(&mut conn)?;
        Ok(Box::new(Pull { conn, inbox, acks: Vec::new() }))
    }

    fn kill(&mut self) -> Result<(), TargetError> {
        Ok(self.0.kill()?)
    }

    fn start_again(&mut self) -> Result<(), TargetError> {
        Ok(self.0.start_again()?)
    }
}

fn confirm(number: u64, input: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match nats::op(input)? {
        Some((Op::Msg(msg), end)) => {
            let digits = msg.subject.strip_prefix(CONFIRMS).unwrap_or_default();
            if decimal::parse(digits) != Some(number) {
                return Err(unexpected(&format!("no confirm of {number}"), input));
            }
            refusal(msg.payload).map_or(Ok(Some((end, 1))), Err)
        }
        Some(_) => Err(unexpected("no confirm", input)),
        None => Ok(None),
    }
}

struct Pull {
    conn: Conn,
    inbox: Vec<u8>,
    /// Acks of what was taken, as they are sent.
    acks: Vec<u8>,
}

impl Consumer for Pull {
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        self.conn.out.append(&mut self.acks);
        let next = format!("{{\"batch\":{count},\"expires\":{EXPIRES_NS}}}");
        let subject = b"$JS.API.CONSUMER.MSG.NEXT.bench.c";
        nats::publish(&mut self.conn.out, subject, &self.inbox, next.as_bytes());
        self.conn.flush()?;
        let acks = &mut self.acks;
        for taken in 0..count {
            let is_message = self.conn.next(|input| match nats::op(input)? {
                Some((Op::Msg(msg), end)) => {
                    if msg.status().is_some() {
                        return Ok(Some((false, end)));
                    }
                    each(msg.payload);
                    nats::publish(acks, msg.reply, b"", b"+ACK");
                    Ok(Some((true, end)))
                }
                Some(_) => Err(unexpected("no message", input)),
                None => Ok(None),
            })?;
            if !is_message {
                return Ok(taken);
            }
        }
        Ok(count)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.conn.out.append(&mut self.acks);
        fence(&mut self.conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_confirm_that_is_due_counts() {
        let input = b"MSG _confirm.000000000007 1 26\r\n{\"stream\":\"bench\",\"seq\":7}\r\n";
        assert_eq!(confirm(7, input).unwrap(), Some((input.len(), 1)));
        assert_eq!(confirm(7, &input[..40]).unwrap(), None);
        assert!(confirm(8, input).is_err());
        let error = b"MSG _confirm.000000000007 1 22\r\n{\"error\":{\"code\":503}}\r\n";
        assert!(confirm(7, error).is_err());
    }
}
