//! Child processes that do not outlive this one, however it ends.
//!
//! A value that kills its child when it is dropped is not dropped where a signal ends the process.
//! The kernel does it then: `PR_SET_PDEATHSIG` of prctl(2).

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// A program that gets SIGKILL when the thread that started it ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    bind(&mut command, Signal::KILL);
    command
}

/// Has a program get `signal` when the thread that started it ends. It holds for what the program
/// replaces itself with, not for its own children.
#[expect(unsafe_code, reason = "only the child can ask for it, between fork and exec")]
pub fn bind(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(signal))?;
        // Who died before that is not noticed any more.
        if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: the closure makes two system calls, neither allocates nor takes a lock, and it
    // touches no memory but its own copies.
    unsafe {
        command.pre_exec(ask);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let start = || command("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // `cat` waits for its input, which stays open here.
        let mut child = std::thread::spawn(start).join().unwrap();
        let input = child.stdin.take();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
        drop(input);
    }
}
