//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

use sluice_broker::BrokerError;
use sluice_broker::local::{RestoreError, StartError};
use sluice_client::{Error, PublishError};
use sluice_server::ServerError;
use sluice_wal::{BackupError, WalError};
use thiserror::Error;

use crate::commands::client::{hint, refused_hint};
use crate::keys::KeyFileError;
use crate::settings::Problem;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The configuration can't be used. Shown with the place in the file.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<miette::Report>),
    /// A setting is unsafe and nobody accepted it.
    #[error("{0}")]
    Unsafe(String),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The log is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The disk failed while the broker ran.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The broker could not be talked to, or refused.
    #[error("{0}{hint}", hint = hint(.0))]
    Client(#[from] Error),
    /// A message was not taken, or nobody knows.
    #[error("{error} ({done} were confirmed before){hint}", hint = publish_hint(.error))]
    Publish {
        /// So many were safe before it.
        done: u64,
        /// What became of it.
        error: PublishError,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Client(_) | Self::Publish { .. } | Self::Other(_) => 1,
            Self::Unsafe(_) | Self::Usage(_) => 2,
            Self::Corrupt(_) => 3,
            Self::Disk(_) => 4,
            Self::Settings(_) => 78,
        })
    }

    pub(crate) fn other(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }

    pub(crate) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    pub(crate) fn settings(error: impl std::fmt::Display) -> Self {
        Self::all_settings(vec![Problem::new(error)])
    }

    pub(crate) fn all_settings(problems: Vec<Problem>) -> Self {
        Self::Settings(problems.into_iter().map(Problem::report).collect())
    }
}

fn publish_hint(error: &PublishError) -> &'static str {
    match error {
        PublishError::Rejected(refused) => refused_hint(refused),
        PublishError::Indeterminate(_) => "\nwith --dedupe-id it can be published again safely",
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        match error {
            KeyFileError::Io { .. } => Self::Other(error.to_string()),
            KeyFileError::Exposed { .. } => Self::Unsafe(error.to_string()),
            KeyFileError::Syntax { .. }
            | KeyFileError::Id { .. }
            | KeyFileError::Hashes { .. }
            | KeyFileError::Twice { .. }
            | KeyFileError::Grant { .. } => Self::settings(error),
        }
    }
}

/// Whether the device under a file failed.
fn device_failed(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let failed = [Errno::IO, Errno::NXIO, Errno::ROFS].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| failed.contains(&code))
}

impl From<WalError> for Failure {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Corrupt(_) => Self::Corrupt(error.to_string()),
            WalError::UnsafeFs { .. } => Self::Unsafe(error.to_string()),
            WalError::Poisoned => Self::Disk(error.to_string()),
            // What is in the way of a file is for the operator to remove; a device that fails, or
            // became read-only because it did, is a disk failure whoever touches it first.
            WalError::Io { ref source, .. } if device_failed(source) => {
                Self::Disk(error.to_string())
            }
            WalError::Locked { .. } | WalError::Version { .. } | WalError::Io { .. } => {
                Self::Other(error.to_string())
            }
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Damaged { .. } => Self::Corrupt(error.to_string()),
            BackupError::None | BackupError::Version { .. } | BackupError::Space { .. } => {
                Self::Other(error.to_string())
            }
            BackupError::Log(error) => error.into(),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Backup(error) => error.into(),
            RestoreError::Record { .. } => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Log(error) => error.into(),
            StartError::Record { .. } => {
                Self::Corrupt(format!("{error}\nsluice log verify shows what there is"))
            }
            StartError::NoSpace => Self::Other(error.to_string()),
            StartError::Clock { .. } => Self::settings(error),
        }
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Disk(text) => Self::Disk(text),
            BrokerError::Corrupt(text) => Self::Corrupt(text),
            BrokerError::Config(text) => Self::settings(text),
            BrokerError::Unavailable(text) => Self::Other(text),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Config(error) if error.is_unsafe() => Self::Unsafe(error.to_string()),
            ServerError::Config(error) => Self::settings(error),
            ServerError::Tls(error) => Self::settings(error),
            ServerError::Bind { ref source, .. } => Self::Other(format!("{error}: {source}")),
            ServerError::Broker(error) => error.into(),
        }
    }
}
