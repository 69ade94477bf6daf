//! Posts to `/enqueue` from many connections: as fast as they are answered, or on a schedule that
//! nobody waits for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::asking::{Asking, request};
use crate::load::nanoseconds;

/// Bytes of a message, as in workload I.
const MESSAGE: usize = 24;
/// How long a client waits for a connection and its answer together.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of posts.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Posts that were due.
    pub due: u64,
    /// Of these, not sent, because every socket that the client may have waited already.
    pub unsent: u64,
    /// Answered with 202.
    pub accepted: u64,
    /// Answered with 503.
    pub refused: u64,
    /// Answered with anything else.
    pub other: u64,
    /// Not answered in time, or the connection broke.
    pub failed: u64,
    /// Nanoseconds from sending to 202, with a new connection where there was none.
    pub latencies: Histogram<u64>,
    /// How long it went on.
    pub elapsed: Duration,
}

impl Posted {
    fn none() -> Self {
        let (due, unsent, accepted, refused, other, failed) = (0, 0, 0, 0, 0, 0);
        let (latencies, elapsed) = (nanoseconds(), Duration::ZERO);
        Self { due, unsent, accepted, refused, other, failed, latencies, elapsed }
    }

    /// Answers 202 a second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64()
    }

    fn note(&mut self, status: io::Result<u16>, took: Duration) {
        match status {
            Ok(202) => {
                self.accepted += 1;
                self.latencies.saturating_record(took.as_nanos() as u64);
            }
            Ok(503) => self.refused += 1,
            Ok(_) => self.other += 1,
            Err(_) => self.failed += 1,
        }
    }
}

/// Connections that nobody uses right now, and what came of all.
struct Pool {
    addr: SocketAddr,
    request: Vec<u8>,
    state: Mutex<State>,
}

struct State {
    idle: Vec<Asking>,
    open: usize,
    posted: Posted,
}

impl Pool {
    fn new(addr: SocketAddr) -> Arc<Self> {
        let request = request("POST", "/enqueue", &[b'x'; MESSAGE]);
        let state = Mutex::new(State { idle: Vec::new(), open: 0, posted: Posted::none() });
        Arc::new(Self { addr, request, state })
    }

    /// Posts once, over a connection that is there or a new one, and keeps it if it is good.
    async fn post(self: Arc<Self>, kept: Option<Asking>) {
        let began = Instant::now();
        let asked = timeout(PATIENCE, async {
            let mut asking = match kept {
                Some(asking) => asking,
                None => Asking::connect(self.addr).await?,
            };
            let answer = asking.ask(&self.request).await?;
            io::Result::Ok((answer.status, (!answer.closes).then_some(asking)))
        });
        let asked = asked.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (status, kept) = match asked {
            Ok((status, kept)) => (Ok(status), kept),
            Err(error) => (Err(error), None),
        };
        let state = &mut *self.state.lock();
        state.posted.note(status, began.elapsed());
        match kept {
            Some(asking) => state.idle.push(asking),
            None => state.open -= 1,
        }
    }

    /// Begins a post, unless every socket waits already.
    fn begin(self: &Arc<Self>, sockets_max: usize) -> Option<impl Future<Output = ()> + use<>> {
        let mut state = self.state.lock();
        let kept = state.idle.pop();
        if kept.is_none() {
            if state.open >= sockets_max {
                return None;
            }
            state.open += 1;
        }
        drop(state);
        Some(Arc::clone(self).post(kept))
    }

    fn posted(&self, elapsed: Duration) -> Posted {
        Posted { elapsed, ..self.state.lock().posted.clone() }
    }
}

/// Each connection posts again when it is answered. What the first eighth brought does not count.
pub(super) async fn closed(addr: SocketAddr, connections: usize, duration: Duration) -> Posted {
    let pool = Pool::new(addr);
    let counts_from = Instant::now() + duration / 8;
    let ends = counts_from + duration;
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let pool = Arc::clone(&pool);
        tasks.spawn(async move {
            while Instant::now() < ends {
                let Some(post) = pool.begin(connections) else { return };
                post.await;
            }
        });
    }
    tokio::time::sleep_until(counts_from.into()).await;
    pool.state.lock().posted = Posted::none();
    let began = Instant::now();
    tokio::time::sleep_until(ends.into()).await;
    let posted = pool.posted(began.elapsed());
    while tasks.join_next().await.is_some() {}
    posted
}

/// Posts are due at `rate` a second whatever becomes of earlier ones.
pub(super) async fn open(
    addr: SocketAddr,
    rate: u64,
    sockets_max: usize,
    duration: Duration,
) -> Posted {
    let pool = Pool::new(addr);
    let mut tasks = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (began, mut due, mut unsent) = (Instant::now(), 0, 0);
    while began.elapsed() < duration {
        ticks.tick().await;
        let due_now = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while due < due_now {
            let Some(post) = pool.begin(sockets_max) else {
                unsent += due_now - due;
                due = due_now;
                break;
            };
            tasks.spawn(post);
            due += 1;
        }
        while tasks.try_join_next().is_some() {}
    }
    // What is answered later is none of these seconds' work.
    let posted = pool.posted(began.elapsed());
    tasks.shutdown().await;
    Posted { due, unsent, ..posted }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Accepts the first request of a connection and refuses the second.
    async fn serve(mut stream: TcpStream) {
        let answers = [
            &b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ];
        let mut request = vec![0; super::request("POST", "/enqueue", &[0; MESSAGE]).len()];
        for answer in answers {
            if stream.read_exact(&mut request).await.is_err() {
                return;
            }
            stream.write_all(answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn posts_are_counted_by_what_came_of_them() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        let posted = open(addr, 1_000, 50, Duration::from_millis(200)).await;
        assert!(posted.due >= 100, "{posted:?}");
        let answered = posted.accepted + posted.refused;
        assert!(posted.accepted > posted.refused && posted.refused > 0, "{posted:?}");
        assert!(answered + posted.unsent <= posted.due, "{posted:?}");
        assert_eq!((posted.other, posted.failed), (0, 0), "{posted:?}");
        let posted = closed(addr, 3, Duration::from_millis(100)).await;
        assert!(posted.rate() > 0.0 && posted.refused > 0, "{posted:?}");
    }
}
