//! `nulllog`: the limit for confirmed publishes on one connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::LogFile;

/// Bytes taken from the socket at a time.
const READ: usize = 1 << 20;

/// One blocking thread: appends what arrived to `log`, waits for one sync, answers one byte for
/// each whole message of `message_bytes`. Serves one connection and ends with it.
///
/// # Errors
/// There was no port to listen on.
pub fn nulllog(mut log: LogFile, message_bytes: usize) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::Builder::new().name("nulllog".into()).spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            // The client sees a failure as a connection that ends early.
            let _ = serve(stream, &mut log, message_bytes);
        }
    })?;
    Ok(addr)
}

fn serve(mut stream: TcpStream, log: &mut LogFile, message_bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; READ];
    let mut arrived = 0;
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        log.commit(&buffer[..read])?;
        arrived += read;
        let answers = arrived / message_bytes;
        arrived %= message_bytes;
        // What was read is in the file by now, so its room can hold the answers.
        buffer[..answers].fill(1);
        stream.write_all(&buffer[..answers])?;
    }
}
