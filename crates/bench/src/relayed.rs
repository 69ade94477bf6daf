//! The machine's limit for messages that no disk sees: what passes through [`relay`].

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::null::relay;

/// Bytes per write and read.
const STEP: usize = 64 << 10;

/// Messages of `message_bytes` a second from one publisher through [`relay`] to one subscriber.
///
/// # Errors
/// A socket failed.
pub fn measure(message_bytes: usize, duration: Duration) -> io::Result<f64> {
    let addr = relay()?;
    let mut publisher = TcpStream::connect(addr)?;
    let mut subscriber = TcpStream::connect(addr)?;
    let whole = (STEP / message_bytes).max(1) * message_bytes;
    let batch = vec![b'x'; whole];
    let sender = thread::spawn(move || {
        let started = Instant::now();
        let mut sent = 0;
        while started.elapsed() < duration {
            publisher.write_all(&batch)?;
            sent += batch.len();
        }
        io::Result::Ok(sent)
    });
    let started = Instant::now();
    let mut buffer = vec![0; 4 * STEP];
    let mut received = 0;
    loop {
        let read = subscriber.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        received += read;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let sent = sender.join().map_err(|_| io::Error::other("the publisher panicked"))??;
    if sent != received {
        return Err(io::Error::other(format!("{sent} bytes were sent, {received} arrived")));
    }
    Ok((received / message_bytes) as f64 / elapsed)
}
