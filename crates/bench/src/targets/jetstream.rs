//! JetStream: the durable queues of NATS, one work queue stream in files.
//!
//! The server of Debian 12, 2.9.10, refuses `sync_interval` as an unknown field of its configuration,
//! so there is no JetStream that syncs first: it syncs every two minutes, whatever a publisher waits
//! for. Acks have no answer of their own.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::daemon::{self, Daemon, Recipe};
use super::nats::{CONFIG, PROGRAM, connect, fence};
use super::{Level, Service, Side, Target, TargetError};
use crate::compare::Case;
use crate::load::{Consumer, Exchange, Message, Template};
use crate::wire::nats::{self, Op};
use crate::wire::{Conn, decimal, unexpected};

const QUEUE: &[u8] = b"bench";
/// Where confirms arrive, in order: the same for all, because each new subject costs the server
/// a search.
const CONFIRMS: &[u8] = b"_confirm";
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
        let is_one = !matches!(case, Case::Confirm { connections: 2.., .. });
        (is_one && case.peer_level() == Some(Level::Os)).then(|| {
            format!(
                "{}; stream: file, workqueue; consumer: pull, explicit acks without an answer; \
                 confirms before fdatasync, which comes every 2 minutes \
                 (sync_interval is unknown to this version)",
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
        // More would get the confirms of each other.
        if connections != 1 {
            return Err(TargetError::Unsupported);
        }
        let mut frame = Vec::new();
        nats::publish(&mut frame, QUEUE, CONFIRMS, &message.blank());
        let request = Template::with_tail(frame, 2, message);
        let streams = (0..connections).map(|_| {
            let mut conn = connect(self.0.addr())?;
            nats::subscribe(&mut conn.out, CONFIRMS, 1);
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
            if let Some(error) = refusal(msg.payload) {
                return Err(error);
            }
            if sequence(msg.payload) != Some(number) {
                return Err(unexpected(&format!("no confirm of {number}"), input));
            }
            Ok(Some((end, 1)))
        }
        // The server measures a round trip, once; it does not miss the answer.
        Some((Op::Ping, end)) => Ok(Some((end, 0))),
        Some(_) => Err(unexpected("no confirm", input)),
        None => Ok(None),
    }
}

/// A message's place in the stream, which begins empty: its number.
fn sequence(confirm: &[u8]) -> Option<u64> {
    let key = b"\"seq\":";
    let at = confirm.windows(key.len()).position(|part| part == key)? + key.len();
    let digits = confirm[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    decimal::parse(&confirm[at..at + digits])
}

struct Pull {
    conn: Conn,
    inbox: Vec<u8>,
    /// Acks of what was taken, as they are sent.
    acks: Vec<u8>,
}

enum Said {
    Message,
    /// There are fewer than were asked for.
    NoMore,
    Nothing,
}

impl Consumer for Pull {
    fn turn(&mut self, count: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        self.conn.out.append(&mut self.acks);
        let next = format!("{{\"batch\":{count},\"expires\":{EXPIRES_NS}}}");
        let subject = b"$JS.API.CONSUMER.MSG.NEXT.bench.c";
        nats::publish(&mut self.conn.out, subject, &self.inbox, next.as_bytes());
        self.conn.flush()?;
        let acks = &mut self.acks;
        let mut taken = 0;
        while taken < count {
            let said = self.conn.next(|input| match nats::op(input)? {
                Some((Op::Msg(msg), end)) if msg.status().is_some() => {
                    Ok(Some((Said::NoMore, end)))
                }
                Some((Op::Msg(msg), end)) => {
                    each(msg.payload);
                    nats::publish(acks, msg.reply, b"", b"+ACK");
                    Ok(Some((Said::Message, end)))
                }
                Some((Op::Ping, end)) => Ok(Some((Said::Nothing, end))),
                Some(_) => Err(unexpected("no message", input)),
                None => Ok(None),
            })?;
            match said {
                Said::Message => taken += 1,
                Said::NoMore => break,
                Said::Nothing => {}
            }
        }
        Ok(taken)
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
        let input = b"MSG _confirm 1 26\r\n{\"stream\":\"bench\",\"seq\":7}\r\n";
        assert_eq!(confirm(7, input).unwrap(), Some((input.len(), 1)));
        assert_eq!(confirm(7, &input[..30]).unwrap(), None);
        assert!(confirm(8, input).is_err());
        assert_eq!(confirm(7, b"PING\r\n").unwrap(), Some((6, 0)));
        let error = b"MSG _confirm 1 22\r\n{\"error\":{\"code\":503}}\r\n";
        assert!(confirm(7, error).is_err());
    }
}
