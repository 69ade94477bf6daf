//! Why a payload could not be read or written, as text for ERROR frames and logs.

use sluice_model::Code;
use sluice_model::var::VarError;
use thiserror::Error;

use super::FrameType;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The bytes end before it does.
    #[error("ends early")]
    Short,
    /// A text that is not UTF-8.
    #[error("is not UTF-8")]
    Utf8,
    /// A var that is longer than it need be, or above 64 bits.
    #[error("is not a number in its shortest form")]
    Var,
    /// A bit or number that stands for nothing, or for nothing here.
    #[error("has no meaning here")]
    Unknown,
    /// Too small or too great.
    #[error("is out of range")]
    Range,
    /// It was there before.
    #[error("is there twice")]
    Repeated,
}

impl From<VarError> for Fault {
    fn from(error: VarError) -> Self {
        match error {
            VarError::Short => Self::Short,
            VarError::Invalid => Self::Var,
        }
    }
}

/// Why a payload is not what its frame's type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The other side sends such frames.
    #[error("{frame} is not for this side to send")]
    Direction {
        /// Which frame.
        frame: FrameType,
    },
    /// A field is wrong.
    #[error("invalid {frame}: {field} {fault}")]
    Field {
        /// In which frame.
        frame: FrameType,
        /// Which field, as the document names it.
        field: &'static str,
        /// What is wrong.
        fault: Fault,
    },
    /// A field of one of many messages, ranges or entries is wrong.
    #[error("invalid {frame}: {field} of entry {index} {fault}")]
    Entry {
        /// In which frame.
        frame: FrameType,
        /// The how-manieth entry, from 0.
        index: u32,
        /// Which field, as the document names it.
        field: &'static str,
        /// What is wrong.
        fault: Fault,
    },
    /// The payload goes on behind its last field.
    #[error("invalid {frame}: {bytes} bytes follow its last field")]
    Trailing {
        /// In which frame.
        frame: FrameType,
        /// So many.
        bytes: usize,
    },
    /// A message is longer than is allowed.
    #[error("message {index} has {bytes} bytes, at most {max} are allowed")]
    MessageTooLarge {
        /// The how-manieth message, from 0.
        index: u32,
        /// Its payload's length.
        bytes: u64,
        /// What is allowed.
        max: usize,
    },
}

impl DecodeError {
    /// The code of the ERROR that tells it.
    pub const fn code(&self) -> Code {
        match self {
            Self::MessageTooLarge { .. } => Code::TooLarge,
            Self::Direction { .. }
            | Self::Field { .. }
            | Self::Entry { .. }
            | Self::Trailing { .. } => Code::BadRequest,
        }
    }
}

/// Why a frame could not be written; nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A field is longer than its length can say, or a list than its count.
    #[error("{field} has a length of {length}, at most {max} is allowed")]
    FieldTooLong {
        /// Which field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The most there can be.
        max: usize,
    },
    /// The frame would be longer than is allowed.
    #[error("a frame of {length} bytes is longer than the {max} that are allowed")]
    FrameTooLong {
        /// What would stand in its length field.
        length: usize,
        /// What is allowed.
        max: usize,
    },
}
