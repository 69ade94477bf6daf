//! `nulllog64`: the limit for confirmed publishes on many connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::LogFile;

/// A blocking thread for each connection, which reads, and one that commits and answers: what
/// arrives while it waits for the disk is its next batch. One byte answers each whole message of
/// `message_bytes`. Serves so many connections and ends with the last of them.
///
/// # Errors
/// There was no port to listen on.
pub fn nulllog64(log: LogFile, message_bytes: usize, connections: usize) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    let next = Mutex::new(Batch { open: connections, ..Batch::default() });
    let shared = Arc::new(Shared { next, arrived: Condvar::new() });
    let committer = Arc::clone(&shared);
    thread::Builder::new().name("commit".into()).spawn(move || committer.commit(log))?;
    thread::Builder::new().name("nulllog64".into()).spawn(move || {
        for stream in listener.incoming().take(connections).flatten() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                // The client sees a failure as a connection that ends early.
                let _ = shared.serve(&Arc::new(stream), message_bytes);
                shared.lock().open -= 1;
                shared.arrived.notify_one();
            });
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
    /// Connections that may still send.
    open: usize,
}

struct Shared {
    next: Mutex<Batch>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
            let mut next = self.lock();
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
            let mut next = self
                .arrived
                .wait_while(self.lock(), |next| next.bytes.is_empty() && next.open > 0)
                .unwrap_or_else(PoisonError::into_inner);
            if next.bytes.is_empty() {
                return Ok(());
            }
            std::mem::swap(&mut batch.bytes, &mut next.bytes);
            std::mem::swap(&mut batch.answers, &mut next.answers);
            drop(next);
            log.commit(&batch.bytes)?;
            batch.bytes.clear();
            for (stream, count) in batch.answers.drain(..) {
                stream.as_ref().write_all(&vec![1; count])?;
            }
        }
    }
}
