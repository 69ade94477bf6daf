//! The task of a connection: a socket for the core, again and again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sluice_flow::Random;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use crate::error::Error;
use crate::options::Options;
use crate::shared::Shared;
use crate::tls::{Secure, Socket};

/// Room for what is read at once.
const READ_BYTES: usize = 128 << 10;
/// How long a broker may take to see that this side has closed.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A connection's task.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) server: String,
    /// None for connections in the clear.
    pub(crate) secure: Option<Secure>,
    pub(crate) options: Options,
    pub(crate) draws: Random,
}

impl Driver {
    /// Connects, says how that went, and serves until nobody needs the connection any more.
    pub(crate) async fn run(mut self, first: oneshot::Sender<Result<(), Error>>) {
        let why = match self.connect().await {
            Ok(connected) => {
                // Whoever does not wait any more drops the handles next.
                let _ = first.send(Ok(()));
                self.serve_on(connected).await
            }
            Err(error) => {
                let _ = first.send(Err(error.clone()));
                error
            }
        };
        self.shared.core().close(&why);
        self.shared.room.notify_waiters();
        self.shared.ended.send_replace(true);
    }

    /// Serves this connection and those after it; why there will be no more.
    async fn serve_on(&mut self, connected: Connected) -> Error {
        let (mut connected, mut tries) = (connected, 0);
        loop {
            let since = Instant::now();
            match connected.serve(&self.shared, &self.options).await {
                Ok(()) => return Error::Closed,
                Err(lost) => {
                    self.shared.core().disconnected(&lost);
                    self.shared.room.notify_waiters();
                    if self.shared.core().is_finishing() {
                        return lost;
                    }
                    // One that ends every connection at once is asked less and less often.
                    if since.elapsed() >= self.options.reconnect.max {
                        tries = 0;
                    }
                    match self.connect_again(lost, &mut tries).await {
                        Ok(again) => connected = again,
                        Err(error) => return error,
                    }
                }
            }
        }
    }

    /// Connects, after a pause that grows with `tries`.
    async fn connect_again(&mut self, lost: Error, tries: &mut u32) -> Result<Connected, Error> {
        let (since, mut last) = (Instant::now(), lost);
        loop {
            *tries = tries.saturating_add(1);
            let pause = self.options.reconnect.delay(*tries, self.draws.number());
            if self.options.give_up_after.is_some_and(|max| since.elapsed() + pause > max) {
                return Err(last);
            }
            if !self.waits(pause).await {
                return Err(last);
            }
            match self.connect().await {
                Ok(connected) => return Ok(connected),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => last = error,
            }
        }
    }

    /// Waits so long; false as soon as nobody needs a connection any more.
    async fn waits(&self, pause: Duration) -> bool {
        let waited = sleep(pause);
        tokio::pin!(waited);
        loop {
            if self.shared.core().is_finishing() {
                return false;
            }
            tokio::select! {
                () = &mut waited => return true,
                () = self.shared.work.notified() => {}
            }
        }
    }

    async fn connect(&self) -> Result<Connected, Error> {
        let connecting = timeout(self.options.connect_timeout, self.greeted());
        let connected = connecting.await.unwrap_or(Err(Error::Timeout));
        if let Err(error) = &connected {
            self.shared.core().disconnected(error);
        }
        connected
    }

    /// A connection on which HELLO and AUTH went well.
    async fn greeted(&self) -> Result<Connected, Error> {
        let failed = |error| Error::io(format!("can't reach {}", self.server), error);
        let stream = TcpStream::connect(&self.server).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let stream = match &self.secure {
            None => Socket::Plain(stream),
            Some(secure) => secure.connect(stream).await.map_err(failed)?,
        };
        let mut connected = Connected { stream, read: BytesMut::new(), written: BytesMut::new() };
        self.shared.core().begin()?;
        loop {
            connected.written.clear();
            {
                let mut core = self.shared.core();
                if core.is_ready() {
                    return Ok(connected);
                }
                core.take_output(&mut connected.written, Instant::now());
            }
            connected.stream.write_all(&connected.written).await.map_err(broken)?;
            connected.stream.flush().await.map_err(broken)?;
            connected.read.reserve(READ_BYTES);
            if connected.stream.read_buf(&mut connected.read).await.map_err(broken)? == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            self.shared.core().receive(&mut connected.read, Instant::now())?;
        }
    }
}

/// A socket whose connection is ready.
struct Connected {
    stream: Socket,
    read: BytesMut,
    written: BytesMut,
}

impl Connected {
    /// Moves bytes until the connection is lost, or nobody needs it.
    async fn serve(self, shared: &Shared, options: &Options) -> Result<(), Error> {
        let Self { mut stream, mut read, mut written } = self;
        let watched = watching(shared, options.silence_max);
        match &mut stream {
            Socket::Plain(stream) => {
                let (from, to) = stream.split();
                tokio::select! {
                    result = reading(from, &mut read, shared) => result?,
                    result = writing(to, &mut written, shared) => result?,
                    result = watched => result?,
                }
            }
            Socket::Tls(stream) => {
                let (from, to) = tokio::io::split(stream);
                tokio::select! {
                    result = reading(from, &mut read, shared) => result?,
                    result = writing(to, &mut written, shared) => result?,
                    result = watched => result?,
                }
            }
        }
        let closing = async {
            // What was sent last is safe from a reset once the broker has closed too.
            if stream.shutdown().await.is_ok() {
                let mut rest = vec![0; 16 << 10];
                while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
            }
        };
        let _ = timeout(CLOSE_MAX, closing).await;
        Ok(())
    }
}

/// Reads until the connection is lost.
async fn reading(
    mut from: impl AsyncRead + Unpin,
    buffer: &mut BytesMut,
    shared: &Shared,
) -> Result<(), Error> {
    loop {
        buffer.reserve(READ_BYTES);
        if from.read_buf(buffer).await.map_err(broken)? == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let now = Instant::now();
        let (received, released) = shared.change(|core| {
            let received = core.receive(buffer, now);
            (received, core.publishes.take_released())
        });
        if released {
            shared.room.notify_waiters();
        }
        received?;
    }
}

/// Writes until nobody needs the connection. What comes while the socket is busy is written at
/// once after it.
async fn writing(
    mut to: impl AsyncWrite + Unpin,
    out: &mut BytesMut,
    shared: &Shared,
) -> Result<(), Error> {
    loop {
        out.clear();
        let (next, finished, released) = {
            let mut core = shared.core();
            core.take_output(out, Instant::now());
            let released = core.publishes.take_released();
            (core.next_time(), core.is_finished(), released)
        };
        if released {
            shared.room.notify_waiters();
        }
        if !out.is_empty() {
            to.write_all(out).await.map_err(broken)?;
            // Of TLS a part may wait to be sent.
            to.flush().await.map_err(broken)?;
        } else if finished {
            return Ok(());
        } else {
            let due = async {
                match next {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shared.work.notified() => {}
                () = due => {}
            }
        }
    }
}

/// Fails when the broker is silent for so long although it was asked.
async fn watching(shared: &Shared, silence_max: Duration) -> Result<(), Error> {
    let every = silence_max / 2;
    loop {
        let silent = shared.core().silent_for(Instant::now());
        if silent < every {
            sleep(every - silent).await;
            continue;
        }
        if !shared.change(crate::core::Core::probe) {
            return Err(Error::Timeout);
        }
        sleep(every).await;
    }
}

fn broken(source: io::Error) -> Error {
    Error::io("the connection to the broker was lost", source)
}
