//! A peer as a child process: on a free port of the loopback interface, with its data in a folder
//! of its own. It never outlives the value that holds it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::TargetError;
use crate::child;

/// A peer that does not listen after so long does not serve.
const START_MAX: Duration = Duration::from_secs(20);
/// How often a port that was taken meanwhile is replaced.
const PORTS: usize = 3;
/// What of a log is shown.
const LOG_SHOWN: u64 = 1000;

/// How to start a peer. `{port}` and `{dir}` in arguments and configuration are replaced.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) program: &'static str,
    pub(super) args: Vec<String>,
    /// Name and text of a file in its folder.
    pub(super) config: Option<(&'static str, String)>,
}

impl Recipe {
    /// For people: arguments and configuration on one line.
    pub(super) fn line(&self) -> String {
        let mut words: Vec<&str> = vec![self.program];
        words.extend(self.args.iter().map(String::as_str));
        let mut line = words.join(" ");
        if let Some((name, text)) = &self.config {
            let settings: Vec<&str> = text.lines().map(str::trim).collect();
            line += &format!(" [{name}: {}]", settings.join("; "));
        }
        line
    }
}

/// Where a program is: in the path, or where Debian keeps servers.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The first line with a digit that a program says about its version.
pub(super) fn version(name: &'static str, arg: &str) -> Result<String, TargetError> {
    let program = program(name).ok_or(TargetError::Missing(name))?;
    let output = Command::new(program).arg(arg).stdin(Stdio::null()).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find(|line| line.contains(|letter: char| letter.is_ascii_digit()));
    Ok(line.unwrap_or(name).trim().to_owned())
}

/// A peer that runs.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    addr: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts it and waits until it listens.
    pub(super) fn start(recipe: &Recipe, folder: &Path) -> Result<Self, TargetError> {
        let mut failed = None;
        for _ in 0..PORTS {
            let mut daemon = Self::try_start(recipe, folder)?;
            match daemon.await_port() {
                Ok(()) => return Ok(daemon),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(TargetError::Unsupported))
    }

    fn try_start(recipe: &Recipe, folder: &Path) -> Result<Self, TargetError> {
        let program = program(recipe.program).ok_or(TargetError::Missing(recipe.program))?;
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let dir = folder.to_string_lossy();
        let fill =
            |text: &str| text.replace("{port}", &addr.port().to_string()).replace("{dir}", &dir);
        if let Some((name, text)) = &recipe.config {
            fs::write(folder.join(name), fill(text))?;
        }
        let args: Vec<String> = recipe.args.iter().map(|arg| fill(arg)).collect();
        let log = folder.join("log");
        let child = spawn(&program, &args, &log)?;
        Ok(Self { name: recipe.program, program, args, addr, log, child })
    }

    fn await_port(&mut self) -> Result<(), TargetError> {
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(self.addr).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > until {
                let program = self.name;
                return Err(TargetError::Down { program, log: tail(&self.log) });
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts it again on the same port and data.
    pub(super) fn start_again(&mut self) -> io::Result<()> {
        self.child = spawn(&self.program, &self.args, &self.log)?;
        Ok(())
    }
}

fn spawn(program: &Path, args: &[String], log: &Path) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = child::command(program);
    command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

fn tail(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(LOG_SHOWN)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_else(|error| error.to_string())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was killed in order has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_shows_every_setting() {
        let config = "a 1\nb 2\n".to_owned();
        let args = vec!["-c".into(), "{dir}/x.conf".into()];
        let recipe = Recipe { program: "peer", args, config: Some(("x.conf", config)) };
        assert_eq!(recipe.line(), "peer -c {dir}/x.conf [x.conf: a 1; b 2]");
    }

    #[test]
    fn a_program_that_is_not_there_is_missing() {
        assert!(program("sh").is_some());
        assert!(matches!(version("no-such-peer", "-v"), Err(TargetError::Missing("no-such-peer"))));
    }
}
