//! WATCH, WATCHING, CHANGES: what happens to keys, pushed under credit.

use bytes::{BufMut, Bytes, BytesMut};
use sluice_model::{Entry, Key, NameError, Revision, Timestamp, Value, ValueKind, WatchEvent, var};

use super::fields::{
    FieldError, Fields, count, put_frame, put_str8, read, read_entries, read_head,
};
use super::list_frame::ListFrame;
use super::{DecodeError, EncodeError, Fault, FrameType};

/// Of WATCH: all keys that begin with the text.
const BELOW: u8 = 1;
/// Of WATCH: it begins at a revision.
const FROM: u8 = 2;

const PUT: u8 = 1;
const DELETED: u8 = 2;
const EXPIRED: u8 = 3;
const GAP: u8 = 4;

/// WATCH: a consumer of what happens to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchRef<'a> {
    /// A key, or what keys begin with.
    pub keys: &'a str,
    /// It is the latter.
    pub below: bool,
    /// What happened from this revision on comes first; none for from now on.
    pub from: Option<Revision>,
    /// So many changes may be pushed at first.
    pub credit: u32,
}

/// WATCHING: the watch is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The number of the consumer, for CREDIT and CANCEL.
    pub consumer: u64,
    /// The store's last change: without a revision to begin at, what is pushed comes behind it.
    pub revision: Revision,
}

/// CHANGES where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangesRef<'a> {
    count: u16,
    changes: &'a [u8],
}

/// A change of the store, or that some are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRef<'a> {
    /// A key has a value.
    Put {
        /// Which; its form was not checked.
        key: &'a str,
        /// The change's number.
        revision: Revision,
        /// What the value is.
        kind: ValueKind,
        /// The key will not be there from then on.
        expires_at: Option<Timestamp>,
        /// The value.
        value: &'a [u8],
    },
    /// A key was removed.
    Deleted {
        /// Which; its form was not checked.
        key: &'a str,
        /// The change's number.
        revision: Revision,
    },
    /// A key's time was over.
    Expired {
        /// Which; its form was not checked.
        key: &'a str,
        /// The change's number.
        revision: Revision,
    },
    /// Changes before this one are missing.
    Gap {
        /// None from here on is.
        resumed_at: Revision,
    },
}

impl<'a> WatchRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        read(FrameType::Watch, payload, |fields| {
            let flags = fields.flags(BELOW | FROM)?;
            let from = match (flags & FROM != 0, fields.u64("from")?) {
                (true, from) => Some(Revision(from)),
                (false, 0) => None,
                (false, _) => return Err(("from", Fault::Unknown)),
            };
            let credit = fields.u32("credit")?;
            Ok(Self { keys: fields.str8("keys")?, below: flags & BELOW != 0, from, credit })
        })
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// The text is longer than its length can say.
    pub fn put(&self, out: &mut BytesMut, id: u64) -> Result<(), EncodeError> {
        put_frame(out, FrameType::Watch, id, 0, |out| {
            let from = self.from.map_or(0, |_| FROM);
            out.put_u8(from | u8::from(self.below));
            out.put_u64(self.from.unwrap_or_default().0);
            out.put_u32(self.credit);
            put_str8(out, "keys", self.keys)
        })
    }
}

impl Watching {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &[u8]) -> Result<Self, DecodeError> {
        read(FrameType::Watching, payload, |fields| {
            let consumer = fields.u64("consumer")?;
            Ok(Self { consumer, revision: Revision(fields.u64("revision")?) })
        })
    }

    /// Appends the frame.
    pub fn put(&self, out: &mut BytesMut, id: u64) {
        super::frames::put_fixed(out, FrameType::Watching, id, |out| {
            out.put_u64(self.consumer);
            out.put_u64(self.revision.0);
        });
    }
}

impl<'a> ChangesRef<'a> {
    /// Reads a payload in place.
    ///
    /// # Errors
    /// It is not as the document says.
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let frame = FrameType::Changes;
        let mut fields = Fields::new(payload);
        let count = read_head(frame, &mut fields, |fields| {
            fields.flags(0)?;
            count(fields)
        })?;
        let changes = read_entries(frame, fields, count, ChangeRef::read)?;
        Ok(Self { count, changes })
    }

    /// How many there are; one or more.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// They, in the order of their revisions.
    pub fn iter(&self) -> impl Iterator<Item = ChangeRef<'a>> + use<'a> {
        let mut fields = Fields::new(self.changes);
        std::iter::from_fn(move || ChangeRef::read(&mut fields).ok())
    }
}

impl<'a> ChangeRef<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        let (event, revision) = (fields.u8("event")?, Revision(fields.u64("revision")?));
        match event {
            PUT => Ok(Self::Put {
                revision,
                key: fields.str8("key")?,
                kind: ValueKind::from_u8(fields.u8("kind")?).ok_or(("kind", Fault::Unknown))?,
                expires_at: Some(fields.timestamp("expires_at")?)
                    .filter(|at| *at != Timestamp::EPOCH),
                value: fields.var_bytes("value")?,
            }),
            DELETED => Ok(Self::Deleted { revision, key: fields.str8("key")? }),
            EXPIRED => Ok(Self::Expired { revision, key: fields.str8("key")? }),
            GAP => Ok(Self::Gap { resumed_at: revision }),
            _ => Err(("event", Fault::Unknown)),
        }
    }

    /// A copy by itself.
    ///
    /// # Errors
    /// The key is none.
    pub fn to_model(&self) -> Result<WatchEvent, NameError> {
        Ok(match *self {
            Self::Put { key, revision, kind, expires_at, value } => {
                let value = Value { kind, bytes: Bytes::copy_from_slice(value) };
                WatchEvent::Put(Entry { key: Key::new(key)?, value, revision, expires_at })
            }
            Self::Deleted { key, revision } => {
                WatchEvent::Deleted { key: Key::new(key)?, revision }
            }
            Self::Expired { key, revision } => {
                WatchEvent::Expired { key: Key::new(key)?, revision }
            }
            Self::Gap { resumed_at } => WatchEvent::Gap { resumed_at },
        })
    }
}

/// Writes CHANGES change by change; dropped unfinished, it leaves nothing behind.
pub struct ChangesWriter<'a>(ListFrame<'a>);

impl<'a> ChangesWriter<'a> {
    /// Begins what is pushed to a consumer, of at most `length_max` in its length field.
    ///
    /// # Errors
    /// `length_max` is below what an empty one takes.
    pub fn begin(
        out: &'a mut BytesMut,
        consumer: u64,
        length_max: usize,
    ) -> Result<Self, EncodeError> {
        ListFrame::begin(out, FrameType::Changes, consumer, length_max, |out| {
            out.put_u8(0);
            Ok(())
        })
        .map(Self)
    }

    /// Appends a change; false, and nothing appended, where it does not fit.
    #[must_use]
    pub fn push(&mut self, event: &WatchEvent) -> bool {
        let fits = self.0.fits(bytes_of(event));
        if fits {
            put_event(self.0.out, event);
            self.0.counted(1);
        }
        fits
    }

    /// Ends the frame and says how many changes it holds; one without any leaves nothing behind.
    pub fn finish(self) -> u16 {
        if self.0.count() == 0 { 0 } else { self.0.finish(0) }
    }
}

/// Event and revision.
const CHANGE_BYTES: usize = 1 + 8;

fn bytes_of(event: &WatchEvent) -> usize {
    match event {
        WatchEvent::Put(Entry { key, value, .. }) => {
            let length = value.bytes.len();
            CHANGE_BYTES + 1 + key.as_str().len() + 1 + 8 + var::size(length as u64) + length
        }
        WatchEvent::Deleted { key, .. } | WatchEvent::Expired { key, .. } => {
            CHANGE_BYTES + 1 + key.as_str().len()
        }
        WatchEvent::Gap { .. } => CHANGE_BYTES,
    }
}

fn put_event(out: &mut BytesMut, event: &WatchEvent) {
    let (number, revision, key) = match event {
        WatchEvent::Put(entry) => (PUT, entry.revision, Some(&entry.key)),
        WatchEvent::Deleted { key, revision } => (DELETED, *revision, Some(key)),
        WatchEvent::Expired { key, revision } => (EXPIRED, *revision, Some(key)),
        WatchEvent::Gap { resumed_at } => (GAP, *resumed_at, None),
    };
    out.put_u8(number);
    out.put_u64(revision.0);
    if let Some(key) = key {
        let written = put_str8(out, "key", key.as_str());
        debug_assert_eq!(written, Ok(()), "a key has 255 bytes at most");
    }
    if let WatchEvent::Put(Entry { value, expires_at, .. }) = event {
        out.put_u8(value.kind.as_u8());
        out.put_u64(expires_at.unwrap_or(Timestamp::EPOCH).as_millis());
        var::put(value.bytes.len() as u64, out);
        out.put_slice(&value.bytes);
    }
}
