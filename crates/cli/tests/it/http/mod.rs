//! The HTTP door of the real binary.

mod asking;
mod certificate;
mod drain;
mod readme;
