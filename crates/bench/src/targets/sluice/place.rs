//! A broker that runs, and the names that a load uses there.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::consumer::Taker;
use super::flow::{Blocks, Frames};
use super::limited::Waiting;
use super::wire;
use crate::load::pass::{Publisher, Subscriber};
use crate::load::{Consumer, Exchange, Message};
use crate::targets::{Level, Service, TargetError};
use crate::wire::Conn;

/// Where a load goes and who asks. Clones share their connections' fate. It holds a secret, so it is
/// not to be shown.
#[derive(Clone)]
pub struct Place {
    addr: SocketAddr,
    key: Option<String>,
    /// The queue, and the topic.
    name: String,
    held: Option<Held>,
}

/// Connections that can be cut; none once they are.
type Held = Arc<Mutex<Option<Vec<TcpStream>>>>;

impl Place {
    /// The queue and the topic `name` of a broker.
    pub fn new(addr: SocketAddr, key: Option<String>, name: &str) -> Self {
        Self { addr, key, name: name.to_owned(), held: None }
    }

    /// The name of its queue and topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With connections that [`Place::cut`] ends. Each takes a descriptor more.
    #[must_use]
    pub fn that_can_be_cut(self) -> Self {
        Self { held: Some(Arc::new(Mutex::new(Some(Vec::new())))), ..self }
    }

    /// Another queue and topic, with connections that are cut together with these.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Ends every connection there is: whoever waits on one hears of it. There will be no more.
    pub fn cut(&self) {
        let held = self.held.as_ref().and_then(|held| held.lock().take());
        for stream in held.into_iter().flatten() {
            // One that has ended is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Forgets connections, so that they end with those who use them.
    pub fn release(&self) {
        if let Some(streams) = self.held.as_ref().map(|held| held.lock()).as_deref_mut() {
            *streams = streams.take().map(|_| Vec::new());
        }
    }

    fn connect(&self) -> Result<Conn, TargetError> {
        let stream = TcpStream::connect(self.addr)?;
        if let Some(held) = &self.held {
            let copy = stream.try_clone()?;
            held.lock().as_mut().ok_or_else(interrupted)?.push(copy);
        }
        let mut conn = Conn::over(stream)?;
        wire::greet(&mut conn, self.key.as_deref())?;
        Ok(conn)
    }

    /// Makes the queue.
    ///
    /// # Errors
    /// The broker refused, or is not there.
    pub fn declare(&self, level: Level) -> Result<(), TargetError> {
        Ok(wire::declare(&mut self.connect()?, &self.name, level)?)
    }

    /// Messages of the queue that are ready or leased.
    ///
    /// # Errors
    /// The broker refused, or is not there.
    pub fn queued(&self) -> Result<u64, TargetError> {
        let answer = self.control("queue.stats", &json!({ "name": self.name }))?;
        let count = |state: &str| answer["counts"][state].as_u64().unwrap_or(0);
        Ok(count("ready") + count("leased"))
    }

    /// Ends the queue and all that is in it, also after a cut.
    ///
    /// # Errors
    /// The broker refused, or is not there.
    pub fn delete(&self) -> Result<(), TargetError> {
        let body = json!({ "name": self.name, "force": true });
        Self { held: None, ..self.clone() }.control("queue.delete", &body).map(drop)
    }

    fn control(&self, verb: &str, body: &Value) -> Result<Value, TargetError> {
        Ok(wire::control(&mut self.connect()?, verb, &body.to_string())?)
    }

    pub(super) fn publisher(&self, message: Message) -> Result<Publisher, TargetError> {
        let mut conn = self.connect()?;
        // Nobody subscribes yet, so nobody gets this one.
        wire::try_publish(&mut conn, message, &self.name)?;
        let frames = Frames::new(wire::topic_pack(message, &self.name)?);
        Ok((conn.into_stream()?, Box::new(frames)))
    }

    pub(super) fn subscriber(&self) -> Result<Subscriber, TargetError> {
        let mut conn = self.connect()?;
        let consumer = wire::subscribe(&mut conn, &self.name)?;
        Ok((conn.into_stream()?, Box::new(Blocks::new(consumer))))
    }

    pub(super) fn putters(
        &self,
        message: Message,
        connections: usize,
        keys: Option<u64>,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        let streams = (0..connections).map(|_| Ok(self.connect()?.into_stream()?));
        let streams = streams.collect::<Result<_, TargetError>>()?;
        Ok((streams, wire::exchange(message, &self.name, keys)?))
    }

    /// Sets a limit.
    pub(super) fn limit(&self, limit: &Value) -> Result<(), TargetError> {
        self.control("limit.put", limit).map(drop)
    }

    pub(super) fn waiting(&self) -> Result<Waiting, TargetError> {
        Ok(Waiting::new(self.connect()?, self.name.clone()))
    }

    pub(super) fn consumer(&self) -> Result<Box<dyn Consumer>, TargetError> {
        Ok(Box::new(Taker::new(self.connect()?, self.name.clone())))
    }

    pub(super) fn idle(&self) -> Result<TcpStream, TargetError> {
        Ok(self.connect()?.into_stream()?)
    }
}

fn interrupted() -> io::Error {
    io::ErrorKind::Interrupted.into()
}

/// A broker that somebody else has started.
#[derive(Clone)]
pub struct Attached {
    /// Where.
    pub place: Place,
    /// Its process, if it is on this machine and known.
    pub pid: Option<u32>,
}

impl Service for Attached {
    fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn publisher(&mut self, message: Message) -> Result<Publisher, TargetError> {
        self.place.publisher(message)
    }

    fn subscriber(&mut self, _: Message) -> Result<Subscriber, TargetError> {
        self.place.subscriber()
    }

    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        self.place.putters(message, connections, None)
    }

    fn consumer(&mut self) -> Result<Box<dyn Consumer>, TargetError> {
        self.place.consumer()
    }

    fn idle(&mut self) -> Result<TcpStream, TargetError> {
        self.place.idle()
    }
}
