//! The binary door: length-prefixed frames, the same for every version of the protocol.

mod cursor;
pub mod frame;
pub mod v1;
pub mod v2;
