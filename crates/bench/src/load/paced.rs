//! Requests on a schedule that is fixed beforehand: each counts from the moment it was due,
//! whether or not the client came to send it then, so a stall counts for all whom it keeps waiting.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::confirm::Seen;
use super::{Exchange, nanoseconds};

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Requests a second.
    pub rate: u64,
    /// Time before anything counts.
    pub warm_up: Duration,
    /// Time that counts.
    pub duration: Duration,
}

/// Bytes taken from a socket at a time.
const READ: usize = 64 << 10;
/// A server that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Sends on time over one connection, from a thread of its own, and waits for every answer.
///
/// # Errors
/// The connection failed, or an answer was not the one that was due.
pub fn drive(stream: TcpStream, exchange: &Exchange, pace: Pace) -> io::Result<Seen> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let writer = stream.try_clone()?;
    let (tell, sent) = mpsc::channel();
    let started = Instant::now();
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(writer, exchange, pace, started, tell));
        let seen = receive(stream, exchange, pace, started, sent);
        let sender = sender.join().map_err(|_| io::Error::other("the sender panicked"))?;
        // Where both failed, the receiver knows what the server said.
        seen.and_then(|seen| sender.map(|()| seen))
    })
}

fn due(started: Instant, number: u64, rate: u64) -> Instant {
    started + Duration::from_nanos((number as u128 * 1_000_000_000 / rate as u128) as u64)
}

/// `tell` hears how many were sent, each time before they are.
fn send(
    mut stream: TcpStream,
    exchange: &Exchange,
    pace: Pace,
    started: Instant,
    tell: mpsc::Sender<u64>,
) -> io::Result<()> {
    let ends = pace.warm_up + pace.duration;
    let total = (ends.as_nanos() * pace.rate as u128 / 1_000_000_000) as u64;
    let mut sent = 0;
    let mut out = Vec::new();
    while sent < total {
        let now = Instant::now();
        let mut ready = sent;
        while ready < total && due(started, ready, pace.rate) <= now {
            ready += 1;
        }
        exchange.put(sent + 1, ready - sent, &mut out);
        sent = ready;
        if out.is_empty() {
            thread::sleep(due(started, sent, pace.rate).saturating_duration_since(now));
            continue;
        }
        // A receiver that is gone has failed and says why.
        if tell.send(sent).is_err() {
            return Ok(());
        }
        stream.write_all(&out)?;
        out.clear();
    }
    Ok(())
}

fn receive(
    mut stream: TcpStream,
    exchange: &Exchange,
    pace: Pace,
    started: Instant,
    sent: mpsc::Receiver<u64>,
) -> io::Result<Seen> {
    let counts_from = started + pace.warm_up;
    let mut latencies = nanoseconds();
    let (mut answered, mut known, mut counted) = (0_u64, 0, 0);
    let mut last_answer = counts_from;
    let mut input = VecDeque::new();
    let mut buffer = vec![0; READ];
    while let Some(now_known) = if answered < known { Some(known) } else { sent.recv().ok() } {
        known = sent.try_iter().last().unwrap_or(now_known);
        if known <= answered {
            // What was told late has been answered already: nothing is due that could be read.
            continue;
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = Instant::now();
        input.extend(&buffer[..read]);
        while let Some((bytes, count)) = (exchange.answer)(answered + 1, input.make_contiguous())? {
            input.drain(..bytes);
            for number in answered..answered + count {
                let due = due(started, number, pace.rate);
                if due >= counts_from {
                    counted += 1;
                    let latency = now.saturating_duration_since(due);
                    latencies.saturating_record(latency.as_nanos() as u64);
                }
            }
            answered += count;
        }
        last_answer = now;
    }
    let elapsed = last_answer - counts_from;
    Ok(Seen { answered: counted, sent: answered, elapsed, latencies })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::load::{Message, Template};

    /// Answers nothing for a while and then everything at once.
    fn stalls(stall: Duration) -> std::net::SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0; 8];
            stream.read_exact(&mut byte).unwrap();
            thread::sleep(stall);
            stream.write_all(&[1]).unwrap();
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&[1]).unwrap();
            }
        });
        addr
    }

    #[test]
    fn a_stall_counts_for_everybody_whom_it_keeps_waiting() {
        let message = Message { bytes: 8, content: false };
        let request = Template::new(message.blank(), 0, message);
        let exchange =
            Exchange { request, answer: |_, _| Ok(None), pack: None }.answered_by_a_byte();
        let stream = TcpStream::connect(stalls(Duration::from_millis(200))).unwrap();
        let pace =
            Pace { rate: 1000, warm_up: Duration::ZERO, duration: Duration::from_millis(300) };
        let seen = drive(stream, &exchange, pace).unwrap();
        assert_eq!((seen.answered, seen.sent), (300, 300));
        // Half of the 200 that were due meanwhile waited for more than 100 ms.
        assert!(seen.latencies.value_at_quantile(0.7) > 90_000_000);
    }
}
