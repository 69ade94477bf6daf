//! Why a load did not end well.

use std::io;

use thiserror::Error;

/// Why a load did not end well. Only the first of them is said of the target's promises.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Messages were lost, doubled, changed or out of order.
    #[error("{0}")]
    Messages(String),
    /// A connection failed, or the server refused or said what it must not.
    #[error(transparent)]
    Io(#[from] io::Error),
}
