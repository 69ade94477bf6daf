//! Sluice, through version 2 of its binary protocol, its HTTP door, and for keys its line door.
//!
//! A publisher puts what it may send into as few frames as it takes, as any client of version 2
//! does: many messages share a head, and many publishes a confirm.

mod consumer;
mod flow;
mod http;
mod keys;
mod limited;
mod place;
pub(crate) mod rounds;
pub(super) mod wire;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{Level, Service, Side, Target, TargetError};
use crate::compare::{Case, Files};
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Consumer, Exchange, Message};
use crate::process::{Broker, Launch};
use crate::v1::Client;

pub(super) use limited::Unlimited;
pub use limited::Waiting;
pub use place::{Attached, Place};

/// The topic and the queue of a broker that is there for nothing else.
const NAME: &str = "bench";
/// Bytes of one of the broker's segments while prepared ones are measured: two of them, the one
/// in use and the next, are what a repetition may fill.
const SEGMENT: u64 = 512 << 20;
/// Part of two segments that may be filled; the rest is for what the broker writes around it.
const ROOM: u64 = 2 * SEGMENT * 8 / 10;
/// Payload of the messages that fill the first segment.
const FILLING: usize = 256 << 10;
/// The disk counts as quiet after so long without a write.
const QUIET: Duration = Duration::from_millis(400);
const QUIET_MAX: Duration = Duration::from_secs(60);

/// Sluice.
#[derive(Clone, Debug)]
pub struct Sluice {
    /// The binary.
    pub program: PathBuf,
}

impl Sluice {
    fn config(case: Case) -> String {
        let durability = case.queue_level().unwrap_or(Level::Sync).word();
        let mut text = format!("durability = \"{durability}\"\n");
        // What waits here is not to meet the bounds on what may wait.
        text += "v1_max_messages = 1000000000\nmax_bytes = 1099511627776\n";
        if let Case::Http { .. } = case {
            text += http::CONFIG;
        }
        if let Case::Confirm { files: Files::Prepared, .. } = case {
            text += &format!("segment_bytes = {SEGMENT}\n");
        }
        text
    }

    /// A broker with that configuration and all it has in `folder`.
    ///
    /// # Errors
    /// The configuration could not be written.
    pub(crate) fn launch(&self, config: &str, folder: &Path) -> std::io::Result<Launch> {
        let file = folder.join("sluice.toml");
        fs::write(&file, config)?;
        let launch = Launch::new(&self.program, &folder.join("data"), &folder.join("log"));
        Ok(launch.arg("--config").arg(file))
    }
}

impl Target for Sluice {
    fn name(&self) -> &'static str {
        "Sluice"
    }

    fn side(&self) -> Side {
        Side::Ours
    }

    fn version(&self) -> Result<String, TargetError> {
        let output = std::process::Command::new(&self.program).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn settings(&self, case: Case) -> Option<String> {
        let settings = Self::config(case).trim().replace('\n', "; ");
        let door = match case {
            Case::Http { .. } => "POST /enqueue",
            Case::Keys { .. } => "text of the line protocol",
            _ => "binary protocol version 2",
        };
        Some(format!("sluice serve [sluice.toml: {settings}]; {door}"))
    }

    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError> {
        let launch = self.launch(&Self::config(case), folder)?;
        let broker = launch.start()?;
        if let Case::Http { .. } = case {
            return Ok(Box::new(http::Posting::new(broker)?));
        }
        if let Case::Keys { .. } = case {
            return Ok(Box::new(keys::Keyed(broker)));
        }
        if let Case::Confirm { files: Files::Prepared, .. } = case {
            prepare(&broker)?;
        }
        if let Some(level) = case.queue_level() {
            local(broker.tcp_addr()).declare(level)?;
        }
        let is_prepared = matches!(case, Case::Confirm { files: Files::Prepared, .. });
        let keys = limited::keys_of(case);
        if let Case::Keyed { .. } = case {
            local(broker.tcp_addr()).limit(&limited::loose())?;
        }
        Ok(Box::new(Running { launch, broker: Some(broker), is_prepared, keys }))
    }
}

struct Running {
    launch: Launch,
    broker: Option<Broker>,
    is_prepared: bool,
    /// Messages have one of so many keys.
    keys: Option<u64>,
}

impl Running {
    fn place(&self) -> Result<Place, TargetError> {
        let broker = self.broker.as_ref().ok_or(TargetError::Unsupported)?;
        Ok(local(broker.tcp_addr()))
    }
}

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        self.broker.as_ref().map(Broker::pid)
    }

    fn publisher(&mut self, message: Message) -> Result<Publisher, TargetError> {
        self.place()?.publisher(message)
    }

    fn subscriber(&mut self, _: Message) -> Result<Subscriber, TargetError> {
        self.place()?.subscriber()
    }

    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        self.place()?.putters(message, connections, self.keys)
    }

    fn waiting(&mut self) -> Result<Waiting, TargetError> {
        self.place()?.waiting()
    }

    fn limit(&mut self, an_hour: u32) -> Result<(), TargetError> {
        self.place()?.limit(&limited::tight(an_hour))
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        self.place()?.consumer()
    }

    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        self.place()?.idle()
    }

    fn room(&self, request_bytes: usize) -> u64 {
        if self.is_prepared { ROOM / request_bytes as u64 } else { u64::MAX }
    }

    fn kill(&mut self) -> Result<(), TargetError> {
        if let Some(broker) = self.broker.take() {
            broker.kill()?;
        }
        Ok(())
    }

    /// It is ready when it says so, which is before anybody can be served.
    fn start_again(&mut self) -> Result<(), TargetError> {
        self.broker = Some(self.launch.start()?);
        Ok(())
    }
}

/// A broker of ours that asks for no key.
fn local(addr: SocketAddr) -> Place {
    Place::new(addr, None, NAME)
}

/// Has the broker move on to a segment that it has prepared, and prepare the one after it.
fn prepare(broker: &Broker) -> Result<(), TargetError> {
    await_quiet(broker)?;
    let mut client = Client::connect(broker.tcp_addr(), None)?;
    // A topic of its own, so that its messages are gone when its subscription is.
    client.subscribe("filling", 1)?;
    let payload = vec![0; FILLING];
    for _ in 0..SEGMENT / FILLING as u64 {
        client.publish("filling", 1, &payload)?;
        client.fence()?;
    }
    await_quiet(broker)
}

/// Waits until the broker has written nothing for a while. Its figures are all that can be seen
/// from outside of its work in the background.
fn await_quiet(broker: &Broker) -> Result<(), TargetError> {
    let started = Instant::now();
    let mut written = broker.written_bytes()?;
    while started.elapsed() < QUIET_MAX {
        thread::sleep(QUIET);
        let now = broker.written_bytes()?;
        if now == written {
            break;
        }
        written = now;
    }
    Ok(())
}
