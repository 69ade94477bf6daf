//! What a supervisor is told, if one asks: the protocol of `sd_notify(3)`.
//!
//! ```text
//! READY=1 --SIGHUP--> RELOADING=1 --> READY=1 --SIGTERM--> STOPPING=1
//!    WATCHDOG=1 now and then, by watchdog.rs
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a supervisor may take to take a message.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is told; nobody if no supervisor asked.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// Whoever `NOTIFY_SOCKET` names. One that can't be told is no reason not to serve.
    pub(crate) fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let Some(name) = name else { return Self(None) };
        match Self::to(&name) {
            Ok(notifier) => notifier,
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET can't be used");
                Self(None)
            }
        }
    }

    /// A path, or a name without one behind `@`.
    fn to(name: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let addr = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        Ok(Self(Some((socket, addr))))
    }

    /// The doors are open, or a reload is over.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// A reload begins.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        // By the time it tells this reload from an earlier one.
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The end begins.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The broker makes progress.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        let Self(Some((socket, addr))) = self else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), addr) {
            tracing::warn!(%error, "the supervisor could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_path_is_told_too() {
        let name = format!("sluice-test-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let supervisor = UnixDatagram::bind_addr(&addr).unwrap();
        Notifier::to(OsStr::new(&format!("@{name}"))).unwrap().ready();
        let mut heard = [0; 64];
        let length = supervisor.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
        Notifier::default().ready();
    }
}
