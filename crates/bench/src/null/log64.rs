//! `nulllog64`: the limit for confirmed publishes on many connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::LogFile;

/// A blocking thread for each connection, which reads, and one that commits and answers: what
/// arrives while it waits for the disk is its next batch. One byte answers each whole message of
/// `message_bytes`.
///
/// # Errors
/// There was no port to listen on.
pub fn nulllog64(log: LogFile, message_bytes: usize) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    let shared = Arc::new(Shared::default());
    let committer = Arc::clone(&shared);
    thread::Builder::new().name("commit".into()).spawn(move || committer.commit(log))?;
    thread::Builder::new().name("nulllog64".into()).spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let shared = Arc::clone(&shared);
            // The client sees a failure as a connection that ends early.
            thread::spawn(move || shared.serve(&Arc::new(stream), message_bytes));
        }
    })?;
    Ok(addr)
}

/// What waits for the next commit.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Who is told, and of how many messages.
    answers: Vec<(Arc<TcpStream>, usize)>,
}

#[derive(Default)]
struct Shared {
    next: Mutex<Batch>,
    arrived: Condvar,
}

impl Shared {
    fn serve(&self, stream: &Arc<TcpStream>, message_bytes: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 64 << 10];
        let mut arrived = 0;
        loop {
            let read = stream.as_ref().read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            arrived += read;
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.bytes.extend_from_slice(&buffer[..read]);
            if arrived >= message_bytes {
                next.answers.push((Arc::clone(stream), arrived / message_bytes));
                arrived %= message_bytes;
            }
            drop(next);
            self.arrived.notify_one();
        }
    }

    fn commit(&self, mut log: LogFile) -> io::Result<()> {
        let mut batch = Batch::default();
        loop {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = self
                .arrived
                .wait_while(next, |next| next.bytes.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut batch, &mut next);
            drop(next);
            log.commit(&batch.bytes)?;
            batch.bytes.clear();
            for (stream, count) in batch.answers.drain(..) {
                stream.as_ref().write_all(&vec![1; count])?;
            }
        }
    }
}
