//! `nulllog64`: the limit for confirmed publishes on many connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::LogFile;

/// A blocking thread for each connection and one that commits: what arrives while it waits for
/// the disk is its next batch. One byte answers each whole message of `message_bytes`.
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
            thread::spawn(move || shared.serve(stream, message_bytes));
        }
    })?;
    Ok(addr)
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    arrived: u64,
    committed: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    committed: Condvar,
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, message_bytes: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 64 << 10];
        let mut arrived = 0;
        loop {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.append(&buffer[..read]);
            arrived += read;
            let answers = arrived / message_bytes;
            arrived %= message_bytes;
            buffer[..answers].fill(1);
            stream.write_all(&buffer[..answers])?;
        }
    }

    /// Hands bytes to the committer and waits until they are safe.
    fn append(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.extend_from_slice(bytes);
        state.arrived += bytes.len() as u64;
        let mine = state.arrived;
        self.arrived.notify_one();
        let state = self.committed.wait_while(state, |state| state.committed < mine);
        drop(state);
    }

    fn commit(&self, mut log: LogFile) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut state = self
                .arrived
                .wait_while(state, |state| state.pending.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut batch, &mut state.pending);
            let end = state.arrived;
            drop(state);
            log.commit(&batch)?;
            batch.clear();
            self.state.lock().unwrap_or_else(PoisonError::into_inner).committed = end;
            self.committed.notify_all();
        }
    }
}
