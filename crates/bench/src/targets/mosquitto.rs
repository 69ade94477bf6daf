//! Mosquitto: publish and subscribe by MQTT at QoS 0.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::daemon::{self, Daemon, Recipe};
use super::{Service, Side, Target, TargetError};
use crate::compare::Case;
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Batch, Framed, Front, Message, Template};
use crate::wire::{Conn, mqtt, unexpected};

const PROGRAM: &str = "mosquitto";
const TOPIC: &str = "bench";

/// Mosquitto.
pub(super) struct Mosquitto;

fn recipe() -> Recipe {
    let config = "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
                  max_queued_messages 0\nset_tcp_nodelay true\nlog_type error\nuser root\n";
    let args = vec!["-c".into(), "{dir}/mosquitto.conf".into()];
    Recipe { program: PROGRAM, args, config: Some(("mosquitto.conf", config.into())) }
}

impl Target for Mosquitto {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn side(&self) -> Side {
        Side::Peer("mosquitto")
    }

    fn version(&self) -> Result<String, TargetError> {
        daemon::version(PROGRAM, "-h")
    }

    fn settings(&self, case: Case) -> Option<String> {
        matches!(case, Case::Pass { .. } | Case::Idle).then(|| recipe().line())
    }

    fn start(&self, _: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        let daemon = Daemon::start(&recipe(), folder)?;
        Ok(Box::new(Running { daemon, clients: 0 }))
    }
}

struct Running {
    daemon: Daemon,
    clients: usize,
}

impl Running {
    fn connect(&mut self) -> io::Result<Conn> {
        self.clients += 1;
        let mut conn = Conn::open(self.daemon.addr())?;
        mqtt::connect(&mut conn.out, &format!("bench{}", self.clients));
        conn.flush()?;
        expect(&mut conn, mqtt::CONNACK)?;
        Ok(conn)
    }
}

fn expect(conn: &mut Conn, head: u8) -> io::Result<()> {
    conn.next(|input| match mqtt::packet(input)? {
        // The last byte of both answers is 0 for success at QoS 0.
        Some((packet, end)) if packet.head == head && packet.body.last() == Some(&0) => {
            Ok(Some(((), end)))
        }
        Some(_) => Err(unexpected("mosquitto says", input)),
        None => Ok(None),
    })
}

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        Some(self.daemon.pid())
    }

    fn publisher(&mut self, message: Message) -> Result<Publisher, TargetError> {
        let stream = self.connect()?.into_stream()?;
        let mut frame = Vec::new();
        mqtt::publish(&mut frame, TOPIC, &message.blank());
        Ok((stream, Box::new(Batch::new(Template::with_tail(frame, 0, message)))))
    }

    fn subscriber(&mut self, _: Message) -> Result<Subscriber, TargetError> {
        let mut conn = self.connect()?;
        mqtt::subscribe(&mut conn.out, TOPIC);
        conn.flush()?;
        expect(&mut conn, mqtt::SUBACK)?;
        Ok((conn.into_stream()?, Box::new(Framed::new(front))))
    }

    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        Ok(self.connect()?.into_stream()?)
    }
}

fn front(input: &[u8]) -> io::Result<Option<Front>> {
    let Some((packet, end)) = mqtt::packet(input)? else { return Ok(None) };
    Ok(Some(match packet.published() {
        Some((_, message)) => Front::Message(end - message.len(), end, end),
        None => Front::Other(end, b""),
    }))
}
