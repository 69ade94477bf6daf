//! A real broker as a child process: started on a free port, ready when it says so, ended by
//! signal. It outlives neither the value that holds it nor the thread that started it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use crate::{child, usage};

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    tcp_addr: String,
    args: Vec<OsString>,
    log: PathBuf,
}

/// Why there is no broker.
#[derive(Debug, Error)]
pub enum StartError {
    /// The program could not be run.
    #[error("can't run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("it ended with {status} before it was ready:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it wrote to its log.
        log: String,
    },
    /// Its first line was not the one that was due.
    #[error("it said `{0}` where its addresses were due")]
    Line(String),
}

impl Launch {
    /// `program serve` on a free port with data in `data_dir`; its log is written to `log`.
    pub fn new(program: &Path, data_dir: &Path, log: &Path) -> Self {
        let args = vec!["serve".into(), "--data-dir".into(), data_dir.into()];
        let (program, log) = (program.to_owned(), log.to_owned());
        Self { program, tcp_addr: "127.0.0.1:0".into(), args, log }
    }

    /// Has that program run in its place, which runs it.
    #[must_use]
    pub fn by(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Has it listen there, as after a restart that its clients should not notice.
    #[must_use]
    pub fn at(mut self, tcp_addr: &str) -> Self {
        self.tcp_addr = tcp_addr.to_owned();
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It could not be run, or ended before it was ready.
    pub fn start(&self) -> Result<Broker, StartError> {
        let run = |source| StartError::Run { program: self.program.clone(), source };
        let log = File::options().create(true).append(true).open(&self.log).map_err(run)?;
        let mut command = child::command(&self.program);
        // A tester's own settings are not those of the test.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SLUICE_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(&self.args)
            .args(["--tcp-addr", &self.tcp_addr, "--http-addr", "127.0.0.1:0"])
            .args(["--metrics-addr", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(run)?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(run)?;
        }
        if line.is_empty() {
            let status = child.wait().map_err(run)?;
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            return Err(StartError::Ended { status, log });
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut broker = Broker { child, tcp_addr: nowhere, http_addr: addr(&line, "http=") };
        let tcp_addr = addr(&line, "tcp=");
        broker.tcp_addr = tcp_addr.ok_or_else(|| StartError::Line(line.trim().into()))?;
        Ok(broker)
    }
}

/// The address behind `name` in `sluice ready tcp=ADDR ...`.
fn addr(line: &str, name: &str) -> Option<SocketAddr> {
    let mut words = line.strip_prefix("sluice ready ")?.split_whitespace();
    words.find_map(|word| word.strip_prefix(name))?.parse().ok()
}

/// A broker that runs.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    tcp_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
}

impl Broker {
    /// Where its binary and line doors listen.
    pub fn tcp_addr(&self) -> SocketAddr {
        self.tcp_addr
    }

    /// Where its HTTP door listens, if it does.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL: it gets no chance to finish anything.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn kill(mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Waits until it ends by itself; none if it has not by then.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn ends_within(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() > until {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks it with SIGTERM to drain and waits for its end.
    ///
    /// # Errors
    /// It could not be asked or waited for.
    pub fn terminate(mut self) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        self.child.wait()
    }

    /// Has it read its keys again, with SIGHUP.
    ///
    /// # Errors
    /// It could not be told.
    pub fn hang_up(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }

    /// Processor time it has used, on its own behalf and in the kernel.
    ///
    /// # Errors
    /// The system does not say.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        usage::cpu_time(self.pid())
    }

    /// Bytes of its memory that are resident.
    ///
    /// # Errors
    /// The system does not say.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        usage::resident_bytes(self.pid())
    }

    /// Bytes it has had the system write to disk so far.
    ///
    /// # Errors
    /// The system does not say.
    pub fn written_bytes(&self) -> io::Result<u64> {
        usage::written_bytes(self.pid())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Whoever ended it in order has waited for it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_may_have_more_listeners() {
        let line = "sluice ready http=127.0.0.1:1 tcp=127.0.0.1:5555 metrics=127.0.0.1:2\n";
        assert_eq!(addr(line, "tcp="), Some(SocketAddr::from(([127, 0, 0, 1], 5555))));
        assert_eq!(addr(line, "http="), Some(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert_eq!(addr("sluice ready\n", "tcp="), None);
    }
}
