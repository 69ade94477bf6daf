//! How it is run.

use std::path::PathBuf;
use std::time::Duration;

use super::case::{Case, Files, Scale};

/// How it is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where temporary folders are made, on the file system to measure.
    pub dir: PathBuf,
    /// What is measured.
    pub cases: Vec<Case>,
    /// Repetitions of each pair of case and target.
    pub repetitions: usize,
    /// Time of each that counts, where a case takes time.
    pub duration: Duration,
    /// Time into files that grow.
    pub growing: Duration,
    /// How much there is where a case takes amounts.
    pub scale: Scale,
    /// Each pair runs once more, untimed, with every byte checked.
    pub content: bool,
}

impl Plan {
    /// Time of one run that counts.
    pub(crate) fn duration(&self, case: Case) -> Duration {
        match case {
            Case::Confirm { files: Files::Growing, .. } => self.growing,
            _ => self.duration,
        }
    }
}
