//! Two sockets, and what [`Link`] says about them.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::link::{Action, Link, Side};
use crate::tally::Tally;

/// Most bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// A connection's decisions, whose tally is added up when it goes, however it does.
pub(crate) struct Counted {
    pub(crate) link: Link,
    pub(crate) total: Arc<Mutex<Tally>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) += self.link.tally();
    }
}

/// One side's socket, and what is still to be written to it.
struct End {
    stream: TcpStream,
    unwritten: Bytes,
}

impl End {
    const fn new(stream: TcpStream) -> Self {
        Self { stream, unwritten: Bytes::new() }
    }

    /// Writes as much as it takes now. False: not all of it.
    fn write(&mut self) -> io::Result<bool> {
        while self.unwritten.has_remaining() {
            match self.stream.try_write(&self.unwritten) {
                Ok(count) => self.unwritten.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// What is there to be read: nothing yet, or an empty piece at the end.
    fn read(&self) -> io::Result<Option<Bytes>> {
        let mut bytes = BytesMut::with_capacity(READ_BYTES);
        match self.stream.try_read_buf(&mut bytes) {
            Ok(_) => Ok(Some(bytes.freeze())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until it may be read from, if that is wanted, or written to, if that is needed.
    async fn ready(&self, wants: bool) -> io::Result<()> {
        let interest = match (wants, self.unwritten.has_remaining()) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => return std::future::pending().await,
        };
        self.stream.ready(interest).await.map(|_| ())
    }
}

/// Moves bytes as the link says, until it is over.
///
/// # Errors
/// A socket failed; both are closed then.
pub(crate) async fn relay(link: &mut Link, client: TcpStream, broker: TcpStream) -> io::Result<()> {
    let since = Instant::now();
    let (mut client, mut broker) = (End::new(client), End::new(broker));
    loop {
        let now = since.elapsed();
        let mut reset = None;
        for (side, end) in [(Side::Client, &mut client), (Side::Broker, &mut broker)] {
            reset = reset.or(act(link, side, end, now).await?);
        }
        if reset == Some(true) {
            // Both are reset when they are dropped.
            client.stream.set_zero_linger()?;
            broker.stream.set_zero_linger()?;
        }
        if link.is_over() {
            return Ok(());
        }
        let due = async {
            match link.next_time(now) {
                Some(at) => sleep_until(since + at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = client.ready(link.wants(Side::Client)) => ready?,
            ready = broker.ready(link.wants(Side::Broker)) => ready?,
            () = due => {}
        }
        let now = since.elapsed();
        for (side, end) in [(Side::Client, &client), (Side::Broker, &broker)] {
            if link.wants(side)
                && let Some(bytes) = end.read()?
            {
                match bytes.is_empty() {
                    true => link.ended(side),
                    false => link.received(side, bytes, now),
                }
            }
        }
    }
}

/// Does what is due with a side. A cut is left to be done with both: with a reset or without.
async fn act(
    link: &mut Link,
    side: Side,
    end: &mut End,
    now: Duration,
) -> io::Result<Option<bool>> {
    while end.write()? {
        match link.next(side, now) {
            None => break,
            Some(Action::Pass(bytes)) => end.unwritten = bytes,
            Some(Action::Finish) => end.stream.shutdown().await?,
            Some(Action::Cut { reset }) => return Ok(Some(reset)),
        }
    }
    Ok(None)
}
