//! SIGTERM while many post.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::asking::Asking;
use crate::setup::Place;

const CONNECTIONS: usize = 100;
/// Posts that are answered before the signal.
const BEFORE: usize = 2_000;
const DRAINS_WITHIN: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// Posts until the broker takes no more, and gives what it answered with 202.
fn post(addr: SocketAddr, number: usize, accepted: &AtomicUsize) -> Vec<String> {
    let mut taken = Vec::new();
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut asking = Asking::over(stream);
    loop {
        let body = format!("{number}.{}", taken.len());
        match asking.ask("POST", "/enqueue", body.as_bytes()) {
            Ok((202, _)) => {
                accepted.fetch_add(1, Relaxed);
                taken.push(body);
            }
            Ok((status, answer)) => {
                assert_eq!(status, 503, "{}", String::from_utf8_lossy(&answer));
                return taken;
            }
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "no answer");
                return taken;
            }
        }
    }
}

/// All messages that are there.
fn drained(addr: SocketAddr) -> Vec<String> {
    let mut asking = Asking::over(TcpStream::connect(addr).unwrap());
    let mut there = Vec::new();
    loop {
        match asking.ask("GET", "/dequeue", b"").unwrap() {
            (200, body) => there.push(String::from_utf8(body).unwrap()),
            (status, _) => {
                assert_eq!(status, 204);
                return there;
            }
        }
    }
}

#[test]
fn what_a_hundred_connections_were_answered_before_sigterm_is_there_after_a_restart() {
    let place = Place::new();
    let config = place.config("default_max_messages = 1000000\n");
    let launch = place.launch().arg("--config").arg(config);
    let broker = launch.start().unwrap();
    let addr = broker.http_addr().unwrap();
    let accepted = AtomicUsize::new(0);
    let (taken, took) = thread::scope(|scope| {
        let accepted = &accepted;
        let posting: Vec<_> =
            (0..CONNECTIONS).map(|n| scope.spawn(move || post(addr, n, accepted))).collect();
        while accepted.load(Relaxed) < BEFORE {
            assert!(posting.iter().all(|post| !post.is_finished()), "somebody was refused");
            thread::yield_now();
        }
        let began = Instant::now();
        assert_eq!(broker.terminate().unwrap().code(), Some(0));
        let took = began.elapsed();
        let taken = posting.into_iter().flat_map(|post| post.join().unwrap());
        (taken.collect::<BTreeSet<_>>(), took)
    });
    assert!(took < DRAINS_WITHIN, "{took:?}");

    let broker = launch.start().unwrap();
    let there = drained(broker.http_addr().unwrap());
    let known: BTreeSet<_> = there.iter().cloned().collect();
    assert_eq!(known.len(), there.len(), "some are there twice");
    let lost: Vec<_> = taken.difference(&known).collect();
    assert!(lost.is_empty(), "{} of {}: {lost:?}", lost.len(), taken.len());
    // Beside them at most one of each connection whose answer it did not get.
    assert!(known.len() <= taken.len() + CONNECTIONS);
    assert!(broker.terminate().unwrap().success());
}
