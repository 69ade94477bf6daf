//! `relay`: the limit for messages that no disk sees.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

/// Copies what the first connection sends to the second, and parses nothing.
///
/// # Errors
/// There was no port to listen on.
pub fn relay() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::Builder::new().name("relay".into()).spawn(move || copy(&listener))?;
    Ok(addr)
}

fn copy(listener: &TcpListener) -> io::Result<()> {
    let (mut publisher, _) = listener.accept()?;
    let (mut subscriber, _) = listener.accept()?;
    subscriber.set_nodelay(true)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = publisher.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        subscriber.write_all(&buffer[..read])?;
    }
}
