//! Sites on loopback, for tests: each on an address of its own, noting what it sees.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Longest head of a request.
const HEAD_MAX: usize = 64 << 10;
/// Requests that were on their way when a pause was asked for still come.
pub const GRACE: Duration = Duration::from_millis(400);

/// What a site does with a request.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// How long it takes.
    pub delay: Duration,
    /// Its status; 0 closes the connection without an answer.
    pub status: u16,
    /// Further lines of its head, each with its line end.
    pub headers: String,
    /// Bytes that follow.
    pub body: usize,
    /// Bytes that it says would follow, if those are others.
    pub length: Option<usize>,
    /// It asks for a pause so long.
    pub pause: Option<Duration>,
}

impl Reply {
    /// 200 with a few bytes, soon.
    pub fn ok() -> Self {
        Self { delay: Duration::from_millis(4), status: 200, body: 100, ..Self::default() }
    }

    /// Another status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok() }
    }

    /// Another place.
    pub fn moved(to: &str) -> Self {
        Self { headers: format!("Location: {to}\r\n"), ..Self::status(302) }
    }

    /// A pause in whole seconds, as a number or as a date.
    pub fn pause(status: u16, seconds: u64, as_date: bool) -> Self {
        let pause = Duration::from_secs(seconds);
        // A date has no parts of a second: it must not come too early.
        let date = SystemTime::now() + pause + Duration::from_secs(1);
        let value = if as_date { httpdate::fmt_http_date(date) } else { seconds.to_string() };
        let headers = format!("Retry-After: {value}\r\n");
        Self { headers, pause: Some(pause), ..Self::status(status) }
    }
}

/// What a site saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Requests.
    pub requests: u64,
    /// Most of them at once.
    pub at_once: u32,
    /// When each began.
    pub begun: Vec<Instant>,
    /// Requests by path.
    pub paths: HashMap<String, u64>,
    /// Requests that came while it had asked for a pause.
    pub in_pauses: u64,
    now: u32,
    /// Between the two nothing may come.
    pause: Option<(Instant, Instant)>,
}

type Handler = dyn Fn(&str, u64) -> Reply + Send + Sync;

/// A site. It ends when it is dropped.
pub struct Site {
    addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Site {
    /// On a free port of `127.0.0.N`. It replies as `handler` says of a path and the how-manieth
    /// request for it, from 1.
    ///
    /// # Errors
    /// There is no such address.
    pub fn start(
        n: u8,
        handler: impl Fn(&str, u64) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (seen, handler) = (Arc::<Mutex<Seen>>::default(), Arc::new(handler));
        let (tell, told) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let noted = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            let serve = async move {
                let listener = TcpListener::bind((format!("127.0.0.{n}"), 0)).await;
                let listening = listener.and_then(|it| it.local_addr().map(|addr| (it, addr)));
                let listener = match listening {
                    Ok((listener, addr)) => {
                        let _ = tell.send(Ok(addr));
                        listener
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        return;
                    }
                };
                tokio::select! {
                    _ = ended => {}
                    () = accept(&listener, &noted, handler) => {}
                }
            };
            if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
                runtime.block_on(serve);
            }
        });
        let addr = told.recv().map_err(io::Error::other)??;
        Ok(Self { addr, seen, end: Some(end), thread: Some(thread) })
    }

    /// `127.0.0.N:PORT`.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What it saw so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, seen: &Arc<Mutex<Seen>>, handler: Arc<Handler>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, handler) = (Arc::clone(seen), Arc::clone(&handler));
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            let _ = serve(stream, &seen, &*handler).await;
        });
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Seen>, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read: Vec<u8> = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if read.first().is_some_and(|byte: &u8| !byte.is_ascii_uppercase()) {
                // As servers do that are asked in TLS and speak none.
                return stream.write_all(b"HTTP/1.1 400 Said\r\n\r\n").await;
            }
            if read.len() > HEAD_MAX || stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = read.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let count = seen.lock().begin(&path);
        let reply = handler(&path, count);
        tokio::time::sleep(reply.delay).await;
        // Counted down before the last byte leaves: the next request may follow it at once.
        seen.lock().end(&reply);
        if reply.status == 0 {
            return Ok(());
        }
        let Reply { status, headers, body, length, .. } = reply;
        let length = length.unwrap_or(body);
        let mut out =
            format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{headers}\r\n")
                .into_bytes();
        out.resize(out.len() + body, b'x');
        stream.write_all(&out).await?;
        if length != body {
            return Ok(());
        }
    }
}

impl Seen {
    fn begin(&mut self, path: &str) -> u64 {
        let now = Instant::now();
        self.requests += 1;
        self.now += 1;
        self.at_once = self.at_once.max(self.now);
        self.begun.push(now);
        self.in_pauses +=
            u64::from(self.pause.is_some_and(|(from, until)| from < now && now < until));
        let count = self.paths.entry(path.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn end(&mut self, reply: &Reply) {
        self.now -= 1;
        if let Some(pause) = reply.pause {
            let now = Instant::now();
            self.pause = Some((now + GRACE, now + pause));
        }
    }
}

/// Ten sites, `127.0.0.1` to `127.0.0.10`, as [`ten`] makes them.
pub struct Ten {
    /// In the order of their addresses: the first is slow, the second asks for pauses, the third
    /// fails, the others are as sites should be.
    pub sites: Vec<Site>,
}

/// Which of [`Ten`] is slow.
pub const SLOW: usize = 0;
/// Which of [`Ten`] asks for pauses.
pub const THROTTLING: usize = 1;
/// Which of [`Ten`] fails.
pub const FAILING: usize = 2;

/// Ten sites: one slow; one that answers 429 to the first request for `/2` and 503 to the first for
/// `/5`, each with a `Retry-After` of a second; one that closes the connection on the first request
/// for a path, answers 500 to the second, 200 to the third, and 404 always for `/1`.
///
/// # Errors
/// There are no such addresses.
pub fn ten() -> io::Result<Ten> {
    let slow = |_: &str, _| Reply { delay: Duration::from_millis(60), ..Reply::ok() };
    let throttling = |path: &str, count| match (path, count) {
        ("/2", 1) => Reply::pause(429, 1, false),
        ("/5", 1) => Reply::pause(503, 1, true),
        _ => Reply::ok(),
    };
    let failing = |path: &str, count| match (path, count) {
        ("/1", _) => Reply::status(404),
        (_, 1) => Reply::status(0),
        (_, 2) => Reply::status(500),
        _ => Reply::ok(),
    };
    let mut sites =
        vec![Site::start(1, slow)?, Site::start(2, throttling)?, Site::start(3, failing)?];
    for n in 4..=10 {
        sites.push(Site::start(n, |_, _| Reply::ok())?);
    }
    Ok(Ten { sites })
}

impl Ten {
    /// A list of so many paths of each, in turn, with a comment and a blank line before.
    pub fn list(&self, paths: usize) -> String {
        let mut list = "# ten sites\n\n".to_owned();
        for path in 0..paths {
            for site in &self.sites {
                list.push_str(&site.url(&format!("/{path}\n")));
            }
        }
        list
    }
}
