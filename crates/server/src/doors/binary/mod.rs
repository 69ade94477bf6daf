//! The binary door: frames of versions 1 and 2, and which of them a connection speaks.

mod common;
mod connection;
mod door;
mod topics;
mod v1;
mod v2;

pub(crate) use common::Limits;
pub(crate) use connection::serve;
