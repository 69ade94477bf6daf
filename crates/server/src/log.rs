//! How what clients chose is shown in logs, and how faults of our own are told.

use std::backtrace::Backtrace;
use std::fmt::{self, Write};

use sluice_model::{Code, Refusal};
use tracing::{debug, error};

/// Most bytes of a client's name that a log line shows.
const SHOWN_BYTES_MAX: usize = 128;

/// A client's name, cut at 128 bytes and with control characters escaped, so that it can neither
/// flood a log nor forge a line.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.floor_char_boundary(SHOWN_BYTES_MAX);
        for c in self.0.get(..end).unwrap_or_default().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        if end < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}

/// Whose fault a refusal with that status is: 500 means that the broker failed, everything else that
/// something was asked that can't be had, or not now.
pub(crate) const fn fault(status: u16) -> &'static str {
    if status == 500 { "server" } else { "client" }
}

/// Logs a refusal: what a client did for those who look closely, and a fault of ours as one. What a failed
/// log leaves in doubt is many refusals of one fault, which is told by itself.
pub(crate) fn refused(id: Option<u64>, refusal: &Refusal) {
    let text = &*refusal.message;
    match refusal.code {
        Code::Internal => server_fault("a request failed", text),
        code => debug!(fault = fault(code.status()), id, code = code.name(), text, "refused"),
    }
}

/// Logs a fault of our own with the way that led there, as one line. What clients do wrong is told
/// without, at a lower level.
pub(crate) fn server_fault(what: &'static str, error: &str) {
    let backtrace = one_line(&Backtrace::force_capture().to_string());
    error!(fault = "server", error, backtrace, "{what}");
}

/// A backtrace on one line: frames are kept apart by `|`.
pub fn one_line(backtrace: &str) -> String {
    backtrace.lines().map(str::trim).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_one_line() {
        assert_eq!(one_line("0: a\n   at x.rs:1\n1: b\n"), "0: a | at x.rs:1 | 1: b");
    }

    #[test]
    fn names_are_cut_and_escaped() {
        assert_eq!(Shown("orders.eu").to_string(), "orders.eu");
        assert_eq!(Shown("a\nb\u{1b}[0m").to_string(), "a\\nb\\u{1b}[0m");
        let long = Shown(&"é".repeat(100)).to_string();
        assert_eq!(long, "é".repeat(64) + "...");
    }
}
