//! hyper that answers 202 to everything, in a process of its own: this program once more.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};

use super::{Service, Side, Target, TargetError};
use crate::child;
use crate::compare::Case;
use crate::load::confirm::connect;
use crate::load::{Exchange, Message};
use crate::wire::http;

/// Reads requests and answers 202.
pub(super) struct BareHttp;

/// What this program has to be called with to run [`crate::null::bare_http`].
pub const BARE_HTTP: &str = "bare-http";

impl Target for BareHttp {
    fn name(&self) -> &'static str {
        "bare hyper"
    }

    fn side(&self) -> Side {
        Side::Limit
    }

    fn version(&self) -> Result<String, TargetError> {
        Ok("null server: reads requests over HTTP, answers 202, keeps nothing".into())
    }

    fn settings(&self, case: Case) -> Option<String> {
        matches!(case, Case::Http { .. }).then(|| "hyper on tokio, a worker a processor".into())
    }

    fn start(&self, _: Case, _: &Path) -> Result<Box<dyn Service>, TargetError> {
        let mut child = child::command(std::env::current_exe()?)
            .arg(BARE_HTTP)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take();
        let mut running = Running { child, addr: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut line = String::new();
        if let Some(out) = out {
            BufReader::new(out).read_line(&mut line)?;
        }
        let down = |_| TargetError::Down { program: BARE_HTTP, log: line.trim().to_owned() };
        running.addr = line.trim().parse().map_err(down)?;
        Ok(Box::new(running))
    }
}

/// Ends with the value.
struct Running {
    child: Child,
    addr: SocketAddr,
}

impl Service for Running {
    fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn putters(
        &mut self,
        message: Message,
        connections: usize,
    ) -> Result<(Vec<TcpStream>, Exchange), TargetError> {
        Ok((connect(self.addr, connections)?, http::enqueue(message)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
