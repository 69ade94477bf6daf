//! How a run goes, on a terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sluice_fetch::{Host, Mode, Outcome, Watch};

use crate::args::FetchArgs;

/// A bar of the URLs that are done, with what went wrong behind it.
pub(super) struct Bar {
    bar: ProgressBar,
    errors: AtomicU64,
}

impl Bar {
    /// Whether anybody looks.
    pub(super) fn is_wanted(args: &FetchArgs) -> bool {
        !args.no_progress && !args.json && std::io::stderr().is_terminal()
    }

    /// One for so many URLs, if that is known.
    pub(super) fn new(mode: Mode, urls: Option<u64>, wanted: bool) -> Self {
        let (bar, template) = match (wanted, urls) {
            (false, _) => (ProgressBar::hidden(), ""),
            (true, Some(urls)) => {
                (ProgressBar::new(urls), "{prefix} [{bar:32}] {pos}/{len} {per_sec} {msg}")
            }
            (true, None) => (ProgressBar::no_length(), "{prefix} {pos} {per_sec} {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(mode.name());
        if wanted {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, errors: AtomicU64::new(0) }
    }

    /// Takes it from the screen.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Bar {
    fn done(&self, outcome: &Outcome) {
        self.bar.inc(1);
        if !outcome.ok {
            let errors = self.errors.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!("{errors} errors"));
        }
    }

    fn paused(&self, host: &Host, retry_after: Option<Duration>) {
        let time = retry_after.map(|time| format!(" for {} s", time.as_secs())).unwrap_or_default();
        self.bar.set_message(format!("{host} asks for a pause{time}"));
    }

    #[expect(clippy::print_stderr, reason = "standard output is for what it comes to")]
    fn told(&self, text: &str) {
        self.bar.suspend(|| eprintln!("sluice: {text}"));
    }
}
