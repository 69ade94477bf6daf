//! The proxy: takes connections, makes one to the broker for each, and harms them as planned.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::link::Link;
use crate::plan::Plan;
use crate::relay::{Counted, relay};
use crate::tally::Tally;

/// Most connections at once; more wait to be taken.
const AT_ONCE_MAX: usize = 1_000;

/// A listener that stands for a broker.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use sluice_chaos::{Plan, Proxy};
///
/// let plan = Plan { seed: 7, cut: Some(10_000), ..Plan::default() };
/// let proxy = Proxy::bind("127.0.0.1:0", "127.0.0.1:5555", plan).await?;
/// println!("connect to {}", proxy.addr());
/// let tally = proxy.run(Some(100), std::future::pending()).await?;
/// println!("{} connections were cut", tally.cut);
/// # Ok(())
/// # }
/// ```
pub struct Proxy {
    listener: TcpListener,
    addr: SocketAddr,
    broker: Arc<str>,
    plan: Plan,
    total: Arc<Mutex<Tally>>,
}

impl Proxy {
    /// Listens on `listen`, for a broker at `broker`; both are `HOST:PORT`.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn bind(listen: &str, broker: &str, plan: Plan) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, broker: broker.into(), plan, total: Arc::default() })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` is done, or that many connections have come and gone. What is open at
    /// `stop` is closed. Dropped, it closes all as well.
    ///
    /// # Errors
    /// No more connections can be taken.
    pub async fn run(
        self,
        connections_max: Option<u64>,
        stop: impl Future<Output = ()>,
    ) -> io::Result<Tally> {
        let (mut listener, mut taken, mut open) = (Some(self.listener), 0, JoinSet::new());
        tokio::pin!(stop);
        loop {
            if connections_max.is_some_and(|max| taken >= max) {
                // Whoever comes now is to hear that nobody is there.
                listener = None;
            }
            if listener.is_none() && open.is_empty() {
                break;
            }
            let may_take = open.len() < AT_ONCE_MAX;
            let accepted = async {
                match &listener {
                    Some(listener) if may_take => listener.accept().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut stop => break,
                accepted = accepted => {
                    let (client, _) = accepted?;
                    let link = Link::new(&self.plan, taken);
                    let counted = Counted { link, total: Arc::clone(&self.total) };
                    open.spawn(pass_on(counted, client, Arc::clone(&self.broker)));
                    taken += 1;
                }
                Some(_) = open.join_next(), if !open.is_empty() => {}
            }
        }
        open.shutdown().await;
        Ok(*self.total.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves a connection until it is over. Whatever fails, its two ends hear that it is gone.
async fn pass_on(mut counted: Counted, client: TcpStream, broker: Arc<str>) {
    let Ok(broker) = TcpStream::connect(&*broker).await else {
        return counted.link.has_no_broker();
    };
    // Without it small pieces would wait for the answers to others.
    if client.set_nodelay(true).and(broker.set_nodelay(true)).is_ok() {
        // A peer that went away is what a proxy is for.
        let _ = relay(&mut counted.link, client, broker).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A broker that sends back all that it hears.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        addr
    }

    /// Says `bytes` on a connection and hears what comes back, until the end.
    async fn heard(addr: SocketAddr, bytes: usize) -> usize {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (mut from, mut to) = stream.into_split();
        let saying = tokio::spawn(async move {
            let _ = to.write_all(&vec![7; bytes]).await;
            to
        });
        let (mut heard, mut buffer) = (0, vec![0; 4_096]);
        while let Ok(Ok(read @ 1..)) = timeout(PATIENCE, from.read(&mut buffer)).await {
            assert!(buffer[..read].iter().all(|byte| *byte == 7));
            heard += read;
            if heard == bytes {
                break;
            }
        }
        drop(saying.await.unwrap());
        heard
    }

    #[tokio::test]
    async fn all_passes_where_nothing_is_planned_and_the_last_connection_ends_it() {
        let proxy = Proxy::bind("127.0.0.1:0", &echo().await, Plan::default()).await.unwrap();
        let addr = proxy.addr();
        let running = tokio::spawn(proxy.run(Some(2), std::future::pending()));
        for _ in 0..2 {
            assert_eq!(heard(addr, 1_000_000).await, 1_000_000);
        }
        let tally = timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
        let passed = (tally.connections, tally.to_broker, tally.to_clients, tally.cut);
        assert_eq!(passed, (2, 2_000_000, 2_000_000, 0));
        assert!(TcpStream::connect(addr).await.is_err(), "nobody is there any more");
    }

    #[tokio::test]
    async fn connections_are_harmed_as_planned_and_the_same_in_each_life() {
        let broker = echo().await;
        let plan = Plan {
            seed: 3,
            cut: Some(4_000),
            half_close: Some(4_000),
            drop_answers: Some(4_000),
            ..Plan::default()
        };
        for _ in 0..2 {
            let proxy = Proxy::bind("127.0.0.1:0", &broker, plan.clone()).await.unwrap();
            let addr = proxy.addr();
            let running = tokio::spawn(proxy.run(Some(40), std::future::pending()));
            for number in 0..40 {
                let heard = heard(addr, 10_000).await as u64;
                assert!(heard <= plan.fault(number).unwrap().after, "{number}: {heard}");
            }
            let tally = timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
            let planned = |is: fn(&crate::Harm) -> bool| {
                let harms = (0..40).filter_map(|number| plan.fault(number));
                harms.filter(|fault| is(&fault.harm)).count() as u64
            };
            let dropped = planned(|harm| matches!(harm, crate::Harm::DropAnswers(_)));
            assert_eq!(tally.answers_dropped, dropped);
            assert_eq!(tally.half_closed, planned(|one| matches!(one, crate::Harm::HalfClose(_))));
            assert_eq!(tally.cut, 40 - tally.half_closed);
        }
    }

    #[tokio::test]
    async fn what_is_open_is_closed_at_the_end_and_counted() {
        let proxy = Proxy::bind("127.0.0.1:0", &echo().await, Plan::default()).await.unwrap();
        let addr = proxy.addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(proxy.run(None, async {
            let _ = stopped.await;
        }));
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        drop(stop);
        let tally = timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
        assert_eq!((tally.connections, tally.to_broker, tally.to_clients), (1, 5, 5));
        assert!(!matches!(timeout(PATIENCE, stream.read(&mut back)).await.unwrap(), Ok(1..)));
    }

    #[tokio::test]
    async fn without_a_broker_connections_end_at_once() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let proxy = Proxy::bind("127.0.0.1:0", &nobody.to_string(), Plan::default()).await.unwrap();
        let addr = proxy.addr();
        let running = tokio::spawn(proxy.run(Some(1), std::future::pending()));
        assert_eq!(heard(addr, 10).await, 0);
        assert_eq!(running.await.unwrap().unwrap().unreachable, 1);
    }
}
