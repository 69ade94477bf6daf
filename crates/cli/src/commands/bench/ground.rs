//! The broker that is measured: one that runs, or one of its own, whose data goes with it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use secrecy::ExposeSecret;
use sluice_bench::machine::Machine;
use sluice_bench::process::{Broker, Launch};
use sluice_bench::targets::{Attached, Place};
use tempfile::TempDir;

use super::secured;
use crate::args::{BenchArgs, ServerArgs};
use crate::commands::client;
use crate::failure::Failure;

/// Bytes of a message that every broker takes by default.
const MESSAGE_BYTES: u32 = 1 << 20;

/// Where the loads go.
pub(super) struct Ground {
    place: Place,
    addr: SocketAddr,
    /// Dropped in this order: nobody writes into a folder that goes.
    own: Option<(Broker, TempDir)>,
    /// Where its own broker writes.
    pub(super) machine: Option<Machine>,
}

impl Ground {
    /// As the arguments say.
    pub(super) fn find(args: &BenchArgs) -> Result<Self, Failure> {
        let name = format!("bench.{}", random());
        let Some(server) = &args.server else { return Self::start(args, &name) };
        let server = ServerArgs {
            server: server.clone(),
            key_file: args.key_file.clone(),
            tls: args.tls.clone(),
        };
        let key = client::options(&server)?.key.map(|key| key.expose_secret().to_owned());
        let passed = match server.tls.tls() {
            Some(tls) => Some(secured::pass_on(tls, server.server.clone())?),
            None => None,
        };
        let unknown = |error| Failure::Other(format!("{}: {error}", server.server));
        let mut addrs = server.server.to_socket_addrs().map_err(unknown)?;
        let addr =
            addrs.next().ok_or_else(|| Failure::Other(format!("{} is nowhere", server.server)))?;
        let place = Place::new(passed.unwrap_or(addr), key, &name).that_can_be_cut();
        Ok(Self { place, addr, own: None, machine: None })
    }

    fn start(args: &BenchArgs, name: &str) -> Result<Self, Failure> {
        let dir = args.dir.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
        let dir = dir.map_err(|error| Failure::Other(format!("no folder for data: {error}")))?;
        let machine = Machine::read(dir.path()).map_err(Failure::other)?;
        let program = std::env::current_exe().map_err(Failure::other)?;
        let broker = launch(&program, dir.path(), args.size)?.start().map_err(Failure::other)?;
        let addr = broker.tcp_addr();
        let place = Place::new(addr, None, name).that_can_be_cut();
        Ok(Self { place, addr, own: Some((broker, dir)), machine: Some(machine) })
    }

    /// What the loads talk with.
    pub(super) fn attached(&self) -> Attached {
        let pid = self.own.as_ref().map(|(broker, _)| broker.pid());
        Attached { place: self.place.clone(), pid }
    }

    /// Where the broker is, in a word or two.
    pub(super) fn broker(&self) -> String {
        match &self.own {
            Some(_) => "its own broker".to_owned(),
            None => self.addr.to_string(),
        }
    }
}

/// With a configuration of its own: one that lies around is not meant for it.
fn launch(program: &Path, dir: &Path, size: Option<u32>) -> Result<Launch, Failure> {
    let config = dir.join("sluice.toml");
    let mut text = "max_bytes = \"1TiB\"\n".to_owned();
    // Messages that are larger than a broker takes by default are meant to be measured too.
    if let Some(size) = size.filter(|size| *size > MESSAGE_BYTES) {
        text += &format!("max_message_bytes = {size}\n");
    }
    std::fs::write(&config, text).map_err(Failure::other)?;
    Ok(Launch::new(program, &dir.join("data"), &dir.join("log")).arg("--config").arg(config))
}

/// A word that nobody else has chosen.
pub(super) fn random() -> String {
    // Without the system's randomness the process makes do: it only keeps runs apart.
    let number = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{number:016x}")
}
