//! Acknowledgements over HTTP, one after the other, of messages that were leased beforehand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::timeout;

use super::asking::{Asking, request};
use crate::load::nanoseconds;
use crate::wire::unexpected;

/// Messages that are handed in and taken at once.
const BATCH: usize = 1_000;
/// A lease that outlives any run.
const LEASE_MS: u64 = 3_600_000;
/// How long a client waits for a connection and its answer together.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of acknowledgements.
#[derive(Clone, Debug)]
pub struct Acked {
    /// Those that were good.
    pub taken: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those that were not answered in time, or whose connection broke.
    pub failed: u64,
    /// Nanoseconds from asking to the answer, of those that were answered.
    pub latencies: Histogram<u64>,
}

/// Leases so many messages of a queue of their own, and gives the requests that acknowledge them.
pub(super) async fn lease(addr: SocketAddr, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut asking = Asking::connect(addr).await?;
    ask(&mut asking, "PUT", "/v1/queues/leased", json!({})).await?;
    let messages = vec![json!({"payload": "x"}); BATCH];
    let mut requests = Vec::new();
    while requests.len() < count {
        ask(&mut asking, "POST", "/v1/queues/leased/messages", json!({"messages": messages}))
            .await?;
        let receive = json!({"max": BATCH, "lease_ms": LEASE_MS});
        let got = ask(&mut asking, "POST", "/v1/queues/leased/receive", receive).await?;
        for message in got["messages"].as_array().into_iter().flatten() {
            let body = json!({"tokens": [message["token"]]}).to_string();
            requests.push(request("POST", "/v1/ack", body.as_bytes()));
        }
    }
    Ok(requests)
}

async fn ask(
    asking: &mut Asking,
    method: &str,
    path: &str,
    body: serde_json::Value,
) -> io::Result<serde_json::Value> {
    let answer = asking.ask(&request(method, path, body.to_string().as_bytes())).await?;
    match answer.status {
        200 => answer.json(),
        _ => Err(unexpected("no 200", &answer.body)),
    }
}

/// Acknowledges one message every so often until the time is up or none is left: over one connection,
/// or each over a new one.
pub(super) async fn acknowledge(
    addr: SocketAddr,
    leased: Arc<Mutex<Vec<Vec<u8>>>>,
    every: Duration,
    keeps: bool,
    duration: Duration,
) -> Acked {
    let ends = Instant::now() + duration;
    let (taken, refused, failed) = (0, 0, 0);
    let mut acked = Acked { taken, refused, failed, latencies: nanoseconds() };
    let mut kept = None;
    let mut ticks = tokio::time::interval(every);
    while Instant::now() < ends {
        ticks.tick().await;
        let Some(request) = leased.lock().pop() else { break };
        let began = Instant::now();
        let asked = timeout(PATIENCE, async {
            let mut asking = match kept.take() {
                Some(asking) => asking,
                None => Asking::connect(addr).await?,
            };
            let answer = asking.ask(&request).await?;
            if keeps && !answer.closes {
                kept = Some(asking);
            }
            io::Result::Ok(answer)
        });
        let asked = asked.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match asked {
            Ok(answer) => {
                acked.latencies.saturating_record(began.elapsed().as_nanos() as u64);
                let good = answer.status == 200
                    && answer.json().is_ok_and(|json| json["results"][0]["ok"] == true);
                *if good { &mut acked.taken } else { &mut acked.refused } += 1;
            }
            Err(_) => acked.failed += 1,
        }
    }
    acked
}
