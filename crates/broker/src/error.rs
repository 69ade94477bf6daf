//! Why a broker could not start or go on.

use thiserror::Error;

/// Why a broker could not start or go on.
#[derive(Clone, Debug, Error)]
pub enum BrokerError {
    /// A setting is out of its range, or a start was refused as unsafe.
    #[error("{0}")]
    Config(String),
    /// The data directory is in use or can't be used.
    #[error("{0}")]
    Unavailable(String),
    /// The log is damaged and a start would lose acknowledged data.
    #[error("{0}")]
    Corrupt(String),
    /// A write or sync failed: what was not yet confirmed is in doubt, and nothing more is accepted.
    #[error("{0}")]
    Disk(String),
}
