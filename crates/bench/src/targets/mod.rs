//! What is measured: Sluice, its peers, and the null servers that show the machine's limits.
//!
//! Each is a [`Target`]. For a [case](crate::compare::Case) that it can do it starts a [`Service`]
//! with nothing in it, which gives connections that are ready for a [load](crate::load). A client
//! of another protocol of ours is one more service here, and nothing else changes.

mod bare_http;
mod beanstalkd;
mod daemon;
mod jetstream;
mod limits;
mod mosquitto;
mod nats;
mod redis;
mod sluice;

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use sluice_protocol::binary::v2::EncodeError;
use thiserror::Error;

use crate::compare::{Case, KeyWork};
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Consumer, Exchange, LoadError, Message};
use crate::process::StartError;
use crate::v1::ClientError;

pub use bare_http::BARE_HTTP;
pub use daemon::program;
pub(crate) use sluice::rounds;
pub use sluice::{Attached, Place, Sluice, Waiting};

/// When a confirm may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The disk has it.
    Sync,
    /// The kernel has it.
    Os,
}

impl Level {
    /// As Sluice's settings have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Os => "os",
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "synced",
            Self::Os => "level os",
        }
    }
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sluice.
    Ours,
    /// Another broker, and the name that `--peers` knows it by.
    Peer(&'static str),
    /// A null server.
    Limit,
}

/// Why a target did not do what it was started for.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It can't do that.
    #[error("it can't do that")]
    Unsupported,
    /// Messages were lost, doubled, changed or out of order.
    #[error("{0}")]
    Messages(String),
    /// It is not installed.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// It ended, or never listened.
    #[error("{program} does not serve: {log}")]
    Down {
        /// The program.
        program: &'static str,
        /// The end of its log.
        log: String,
    },
    /// Sluice did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Sluice's client could not go on.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A message is too large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A file or socket failed, or what arrived was wrong.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<LoadError> for TargetError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Messages(fault) => Self::Messages(fault),
            LoadError::Io(error) => Self::Io(error),
        }
    }
}

/// Something that can be measured.
pub trait Target: Sync {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Whose it is.
    fn side(&self) -> Side;

    /// Program and version, or why it can't be started.
    ///
    /// # Errors
    /// It is not installed.
    fn version(&self) -> Result<String, TargetError>;

    /// How it would run this case: its settings and what its confirms mean; none if it can't.
    fn settings(&self, case: Case) -> Option<String>;

    /// Starts it for this case, with data in `folder`, which is empty.
    ///
    /// # Errors
    /// It did not start.
    fn start(&self, case: Case, folder: &Path) -> Result<Box<dyn Service>, TargetError>;
}

/// A target that runs. It ends with the value that holds it.
pub trait Service {
    /// Its process; none for a null server that runs inside of this one.
    fn pid(&self) -> Option<u32>;

    /// A publisher of messages that nobody confirms.
    ///
    /// # Errors
    /// It can't, or a connection failed.
    fn publisher(&mut self, _: Message) -> Result<Publisher, TargetError> {
        Err(TargetError::Unsupported)
    }

    /// A subscriber, whose subscription stands.
    ///
    /// # Errors
    /// It can't, or a connection failed.
    fn subscriber(&mut self, _: Message) -> Result<Subscriber, TargetError> {
        Err(TargetError::Unsupported)
    }

    /// How a message is put into the queue, and so many connections that are ready for it.
    ///
    /// # Errors
    /// It can't, or a connection failed.
    fn putters(&mut self, _: Message, _: usize) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        Err(TargetError::Unsupported)
    }

    /// A consumer of the queue.
    ///
    /// # Errors
    /// It can't, or a connection failed.
    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        Err(TargetError::Unsupported)
    }

    /// How a key is set or read, and so many connections that are ready for it.
    ///
    /// # Errors
    /// It can't, or a connection failed.
    fn keys(
        &mut self,
        _: Message,
        _: KeyWork,
        _: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        Err(TargetError::Unsupported)
    }

    /// A consumer whose receives wait for a message.
    ///
    /// # Errors
    /// It can't, or a connection failed.
    fn waiting(&mut self) -> Result<Waiting, TargetError> {
        Err(TargetError::Unsupported)
    }

    /// Lets a key of the queue have so many messages an hour from now on.
    ///
    /// # Errors
    /// It can't, or refused.
    fn limit(&mut self, _an_hour: u32) -> Result<(), TargetError> {
        Err(TargetError::Unsupported)
    }

    /// A connection that is ready and does nothing.
    ///
    /// # Errors
    /// It can't, or a connection failed.
    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        Err(TargetError::Unsupported)
    }

    /// Messages that there is prepared room for; more would be measured on other terms.
    fn room(&self, _request_bytes: usize) -> u64 {
        u64::MAX
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// It could not be waited for.
    fn kill(&mut self) -> Result<(), TargetError> {
        Err(TargetError::Unsupported)
    }

    /// Starts it again on the same data, without waiting until it serves.
    ///
    /// # Errors
    /// It could not be run.
    fn start_again(&mut self) -> Result<(), TargetError> {
        Err(TargetError::Unsupported)
    }
}

/// Names of the peers, as `--peers` takes them.
pub const PEERS: [&str; 4] = ["nats", "redis", "mosquitto", "beanstalkd"];

/// Everything that there is: null servers, Sluice, peers.
pub fn all(program: PathBuf) -> Vec<Box<dyn Target>> {
    vec![
        Box::new(limits::Relay),
        Box::new(limits::NullLog),
        Box::new(bare_http::BareHttp),
        Box::new(sluice::Unlimited { sluice: Sluice { program: program.clone() }, keys: true }),
        Box::new(sluice::Unlimited { sluice: Sluice { program: program.clone() }, keys: false }),
        Box::new(Sluice { program }),
        Box::new(nats::Nats),
        Box::new(jetstream::JetStream),
        Box::new(redis::Keys),
        Box::new(redis::PubSub),
        Box::new(redis::List),
        Box::new(redis::Stream),
        Box::new(mosquitto::Mosquitto),
        Box::new(beanstalkd::Beanstalkd),
    ]
}
