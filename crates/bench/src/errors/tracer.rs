//! Has `strace` let one system call of a broker fail.
//!
//! It counts the calls of each thread by itself, and the start makes many on the main thread. So a
//! start is traced on that thread alone, from the first call on, and what the other threads do from
//! the moment when they serve.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Phase;
use crate::process::Broker;

/// How long the tracer may take to write its last line.
const TRACE_MAX: Duration = Duration::from_secs(5);
/// The thread of background work, by its name.
const HOUSEKEEPER: &str = "housekeeper";

/// Which call fails, and where that is written down.
#[derive(Debug)]
pub(super) struct Tracer<'a> {
    /// As `strace` names them.
    pub(super) calls: &'a str,
    /// The call that fails, from 1.
    pub(super) call: u64,
    /// The file that is written.
    pub(super) trace: PathBuf,
}

impl Tracer<'_> {
    fn words(&self) -> Vec<String> {
        let Self { calls, call, trace } = self;
        let words = ["-ttt", "-o", &trace.to_string_lossy(), "-e", "signal=none", "-e"];
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.push(format!("trace={calls}"));
        words.extend(["-e".to_owned(), format!("inject={calls}:error=EIO:when={call}")]);
        words
    }

    /// A program in `dir` that runs `program` with a call of its main thread failing.
    pub(super) fn wrap(&self, program: &Path, dir: &Path) -> io::Result<PathBuf> {
        let path = dir.join("failing");
        let words: Vec<String> = self.words().iter().map(|word| format!("'{word}'")).collect();
        let (words, program) = (words.join(" "), program.display());
        fs::write(&path, format!("#!/bin/sh\nexec strace -D -q {words} '{program}' \"$@\"\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(path)
    }

    /// Lets a call of the threads of a phase fail, from now on. Gives the process that does it.
    pub(super) fn attach(&self, broker: &Broker, phase: Phase) -> io::Result<Child> {
        let threads = threads(broker, phase)?;
        let mut strace = Command::new("strace");
        strace.args(self.words());
        for thread in &threads {
            strace.args(["-p", thread]);
        }
        let mut child = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let said = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (mut said, mut left, mut all) = (BufReader::new(said), threads.len(), String::new());
        while left > 0 {
            let before = all.len();
            if said.read_line(&mut all)? == 0 {
                child.wait()?;
                return Err(io::Error::other(format!("strace could not attach: {all}")));
            }
            left -= usize::from(all[before..].contains("attached"));
        }
        // It says when the threads are gone, to nobody.
        std::thread::spawn(move || said.lines().count());
        Ok(child)
    }

    /// What came of it, once the broker has ended. The tracer writes on for a moment.
    pub(super) fn outcome(&self) -> io::Result<Seen> {
        let patience = Instant::now() + TRACE_MAX;
        loop {
            let seen = Seen::read(&fs::read_to_string(&self.trace)?);
            if seen.ended.is_some() || Instant::now() > patience {
                return Ok(seen);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The threads of a broker that a phase looks at.
fn threads(broker: &Broker, phase: Phase) -> io::Result<Vec<String>> {
    let patience = Instant::now() + TRACE_MAX;
    loop {
        let (mut housekeeper, mut others) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(format!("/proc/{}/task", broker.pid()))? {
            let entry = entry?;
            let name = fs::read_to_string(entry.path().join("comm"))?;
            let threads = if name.trim() == HOUSEKEEPER { &mut housekeeper } else { &mut others };
            threads.push(entry.file_name().to_string_lossy().into_owned());
        }
        // A thread names itself when it first runs, which may be after the broker is ready.
        if !housekeeper.is_empty() || Instant::now() > patience {
            return Ok(if phase == Phase::Housekeeping { housekeeper } else { others });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a trace shows: when the first call failed and when the last thread ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    failed: Option<f64>,
    ended: Option<f64>,
}

impl Seen {
    fn read(trace: &str) -> Self {
        let mut seen = Self::default();
        for line in trace.lines() {
            // Where there are several threads, the thread comes first.
            let at = line
                .split_whitespace()
                .take(2)
                .find_map(|word| word.contains('.').then(|| word.parse().ok()).flatten());
            if line.contains("(INJECTED)") {
                seen.failed = seen.failed.or(at);
            }
            if line.contains("+++ exited with") || line.contains("+++ killed by") {
                seen.ended = at;
            }
        }
        seen
    }

    /// Whether a call failed.
    pub(super) fn is_hit(&self) -> bool {
        self.failed.is_some()
    }

    /// How long the broker lived on after the call.
    pub(super) fn lived_on(&self) -> Duration {
        let (failed, ended) = (self.failed.unwrap_or_default(), self.ended.unwrap_or_default());
        Duration::try_from_secs_f64(ended - failed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_tells_when_a_call_failed_and_when_the_broker_was_gone() {
        let alone = "1700000000.250000 fdatasync(5) = 0\n\
                     1700000000.500000 fdatasync(5) = -1 EIO (Input/output error) (INJECTED)\n\
                     1700000000.750000 +++ exited with 4 +++\n";
        let seen = Seen::read(alone);
        assert!(seen.is_hit());
        assert_eq!(seen.lived_on(), Duration::from_millis(250));
        let several = "17 1700000000.250000 fdatasync(5 <unfinished ...>\n\
                       18 1700000000.500000 +++ exited with 0 +++\n\
                       17 1700000000.750000 +++ exited with 0 +++\n";
        let seen = Seen::read(several);
        assert_eq!((seen.is_hit(), seen.ended), (false, Some(1_700_000_000.75)));
    }
}
