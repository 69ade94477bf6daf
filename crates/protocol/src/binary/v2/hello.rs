//! HELLO and WELCOME: what each side takes.

use bytes::{BufMut, BytesMut};

use super::fields::{FieldError, Fields, put_frame, put_str8, read};
use super::{DecodeError, EncodeError, FRAME_MAX_MIN, Fault, FrameType, PROTOCOL_VERSION};
use crate::binary::frame::LENGTH_MAX;

/// HELLO: what the client speaks and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The greatest length that a frame to the client may have; 0 for the protocol's own.
    pub frame_max: u32,
    /// The client's own name, for logs; may be empty.
    pub name: &'a str,
}

/// WELCOME: what the broker is and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The greatest length that a frame to the broker may have.
    pub frame_max: u32,
    /// The longest payload of a message.
    pub message_max: u32,
    /// Most messages of a PUBLISH frame.
    pub batch_max: u16,
    /// Most deliveries that a connection may hold.
    pub in_flight_max: u32,
    /// AUTH comes next.
    pub auth: bool,
    /// The broker's name and version, for logs.
    pub broker: &'a str,
}

const AUTH: u8 = 1;

impl<'a> Hello<'a> {
    /// Reads a payload of version 2; one of another version is an error.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Hello, payload, |fields| {
            version(fields)?;
            let frame_max = fields.u32("frame_max")?;
            if frame_max != 0 && frame_max < FRAME_MAX_MIN {
                return Err(("frame_max", Fault::Range));
            }
            Ok(Self { frame_max, name: fields.str8("name")? })
        })
    }

    /// The greatest length that a frame to the client may have.
    pub fn length_max(&self) -> usize {
        match usize::try_from(self.frame_max) {
            Ok(0) | Err(_) => LENGTH_MAX,
            Ok(frame_max) => frame_max.min(LENGTH_MAX),
        }
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// The name is longer than its length can say.
    pub fn put(&self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        put_frame(out, FrameType::Hello, id, 0, |out| {
            out.put_u16(PROTOCOL_VERSION);
            out.put_u32(self.frame_max);
            put_str8(out, "name", self.name)
        })
    }
}

impl<'a> Welcome<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Welcome, payload, |fields| {
            version(fields)?;
            Ok(Self {
                frame_max: fields.u32("frame_max")?,
                message_max: fields.u32("message_max")?,
                batch_max: fields.u16("batch_max")?,
                in_flight_max: fields.u32("in_flight_max")?,
                auth: fields.flags(AUTH)? != 0,
                broker: fields.str8("broker")?,
            })
        })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// The broker's name is longer than its length can say.
    pub fn put(&self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        put_frame(out, FrameType::Welcome, id, 0, |out| {
            out.put_u16(PROTOCOL_VERSION);
            out.put_u32(self.frame_max);
            out.put_u32(self.message_max);
            out.put_u16(self.batch_max);
            out.put_u32(self.in_flight_max);
            out.put_u8(if self.auth { AUTH } else { 0 });
            put_str8(out, "broker", self.broker)
        })
    }
}

fn version(fields: &mut Fields<'_>) -> Result<(), FieldError> {
    match fields.u16("version")? {
        PROTOCOL_VERSION => Ok(()),
        _ => Err(("version", Fault::Unknown)),
    }
}
