//! A directory of its own for each test, and the binary run in it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sluice_bench::process::{Broker, Launch};
use sluice_bench::v1::Client;
use tempfile::TempDir;

/// The binary under test.
pub(crate) const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");

/// `serve`, every door on a port of its own.
pub(crate) const SERVE: [&str; 7] = [
    "serve",
    "--tcp-addr",
    "127.0.0.1:0",
    "--http-addr",
    "127.0.0.1:0",
    "--metrics-addr",
    "127.0.0.1:0",
];

/// A test's own directory.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a configuration file.
    pub(crate) fn config(&self, text: &str) -> PathBuf {
        let path = self.path("sluice.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn launch(&self) -> Launch {
        Launch::new(Path::new(SLUICE), &self.data(), &self.path("log"))
    }

    /// A broker that is ready.
    pub(crate) fn broker(&self) -> Broker {
        self.launch().start().unwrap()
    }

    /// `sluice` with these arguments and nothing of the tester's environment.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.program(SLUICE, args)
    }

    /// A line of a shell script, in the same way.
    pub(crate) fn shell(&self, line: &str) -> Command {
        self.program("sh", ["-c", line])
    }

    fn program(&self, program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["SLUICE_", "RATELIMMQ_", "QUEUE_MAX_"].iter().any(|ours| name.starts_with(ours)) {
                command.env_remove(&*name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What such a command comes to.
    pub(crate) fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
        self.command(args).output().unwrap().into()
    }

    /// A client command against `broker`.
    pub(crate) fn client(&self, broker: &Broker, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("SLUICE_SERVER", broker.tcp_addr().to_string());
        command
    }

    /// What such a command comes to.
    pub(crate) fn ask(&self, broker: &Broker, args: &[&str]) -> Outcome {
        self.client(broker, args).output().unwrap().into()
    }

    /// What one that must succeed prints.
    #[track_caller]
    pub(crate) fn ok(&self, broker: &Broker, args: &[&str]) -> String {
        let outcome = self.ask(broker, args);
        outcome.assert(0, &[]);
        outcome.out
    }
}

/// A child process that is fed from memory.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    wait(child)
}

pub(crate) fn wait(child: Child) -> Outcome {
    child.wait_with_output().unwrap().into()
}

/// A subscription that keeps what is published, whoever takes it over.
pub(crate) fn subscribe(broker: &Broker, topic: &str) -> Client {
    let mut client = Client::connect(broker.tcp_addr(), None).unwrap();
    client.subscribe(topic, 1).unwrap();
    client
}

/// What a subscription without a name still gets, of so many messages.
pub(crate) fn received(broker: &Broker, topic: &str, count: usize) -> Vec<String> {
    let mut client = Client::connect(broker.tcp_addr(), None).unwrap();
    let subscription = client.subscribe(topic, 1).unwrap();
    let mut received = Vec::new();
    while received.len() < count {
        for message in client.take(subscription, count - received.len()).unwrap() {
            received.push(String::from_utf8(message.message.to_vec()).unwrap());
            client.ack(subscription, message.tag).unwrap();
        }
    }
    client.fence().unwrap();
    received
}

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Outcome {
    /// Fails the test unless it ended with `code` and said each of `words` on standard error.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        // Wherever a terminal's width made the report break its lines.
        let err = self.err.replace('│', " ");
        let err = err.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(err.contains(word), "no `{word}` in {self:#?}");
        }
    }
}
