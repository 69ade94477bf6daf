//! Sluice through its HTTP door: messages are posted to the queue of the simple endpoints.

use std::net::{SocketAddr, TcpStream};

use super::Place;
use crate::load::confirm::connect;
use crate::load::{Consumer, Exchange, Message};
use crate::process::Broker;
use crate::targets::{Service, TargetError};
use crate::wire::http;

/// The queue of the simple endpoints.
const QUEUE: &str = "default";

/// What its bounds are set to, so that no load meets them.
pub(super) const CONFIG: &str =
    "default_max_messages = 1000000000\ndefault_max_bytes = 1099511627776\n";

/// A broker whose HTTP door is used.
pub(super) struct Posting {
    broker: Broker,
    addr: SocketAddr,
}

impl Posting {
    pub(super) fn new(broker: Broker) -> Result<Self, TargetError> {
        let addr = broker.http_addr().ok_or(TargetError::Unsupported)?;
        Ok(Self { broker, addr })
    }
}

impl Service for Posting {
    fn pid(&self) -> Option<u32> {
        Some(self.broker.pid())
    }

    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        Ok((connect(self.addr, connections)?, http::enqueue(message)))
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        Place::new(self.broker.tcp_addr(), None, QUEUE).consumer()
    }
}
