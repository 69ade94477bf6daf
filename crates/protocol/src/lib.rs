//! Bytes to requests and replies to bytes, one module a door.
//!
//! Pure: no socket, no clock. No input makes a decoder panic, and none reserves what a length
//! merely announces.
//!
//! The names at the root are those that a client of the binary protocol's version 1 imports:
//!
//! ```
//! use bytes::BytesMut;
//! use sluice_protocol::{
//!     Frame, FrameType, HelloPayload, PROTOCOL_VERSION, encode_frame, try_decode_frame,
//! };
//!
//! let hello = Frame {
//!     msg_type: FrameType::Hello,
//!     correlation_id: 1,
//!     payload: HelloPayload { protocol_version: PROTOCOL_VERSION }.encode(),
//! };
//! let mut bytes = BytesMut::new();
//! encode_frame(&hello, &mut bytes)?;
//! assert_eq!(try_decode_frame(&mut bytes)?, Some(hello));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(clippy::indexing_slicing)]

pub mod binary;
pub mod json;
pub mod line;
mod token;

pub use binary::frame::{
    Frame, FrameDecodeError, FrameEncodeError, FrameType, encode_frame, try_decode_frame,
};
pub use binary::v1::{
    AckPayload, AuthPayload, HelloPayload, NackPayload, PROTOCOL_VERSION, PollPayload,
    PublishPayload, SubscribePayload,
};
pub use token::{Token, TokenError};
