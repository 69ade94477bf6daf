//! How far a measurement is: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use sluice_bench::compare::{Case, Progress};

pub(super) struct Shown(ProgressBar);

impl Shown {
    /// It hides itself where standard error is no terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} (~{eta}) {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }
}

impl Progress for Shown {
    fn total(&mut self, runs: usize) {
        self.0.set_length(runs as u64);
    }

    // Drawn between runs only, so that it takes no time from them.
    fn begin(&mut self, case: Case, target: &'static str) {
        self.0.set_message(format!("{case}: {target}"));
        self.0.tick();
    }

    fn end(&mut self) {
        self.0.inc(1);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
