//! The bytes of records of keys and values. The value stands in the head: replay needs it, because
//! values are kept in memory.

use std::borrow::Cow;

use bytes::{Buf, BufMut};
use sluice_model::{ValueKind, var};

use super::codec::{KEY_GONE, KEY_SET, dedupe, put_dedupe};
use super::{KeyMark, Record, RecordError, byte, put_str, put_time, str, time};

/// The bit of the kind of a value that says that a dedupe mark follows.
const MARKED: u8 = 0x80;

/// Appends a record of a key; nothing for any other.
pub(super) fn put_key(record: &Record<'_>, out: &mut impl BufMut) {
    match record {
        Record::KeySet { revision, key, kind, value, expires_at, dedupe } => {
            out.put_u8(KEY_SET);
            out.put_u64_le(*revision);
            put_str(out, key);
            out.put_u8(kind.as_u8() | if dedupe.is_some() { MARKED } else { 0 });
            put_time(out, *expires_at);
            if let Some(key_mark) = dedupe {
                put_dedupe(out, &key_mark.mark);
                out.put_i64_le(key_mark.sum);
            }
            put_bytes(out, value);
        }
        Record::KeyGone { revision, key, expired } => {
            out.put_u8(KEY_GONE);
            out.put_u64_le(*revision);
            put_str(out, key);
            out.put_u8(u8::from(*expired));
        }
        _ => {}
    }
}

/// Reads what [`put_key`] wrote behind the byte of its kind.
pub(super) fn decode_key<'a>(kind: u8, input: &mut &'a [u8]) -> Result<Record<'a>, RecordError> {
    let revision = input.try_get_u64_le()?;
    let key = Cow::Borrowed(str(input)?);
    if kind == KEY_GONE {
        return Ok(Record::KeyGone { revision, key, expired: input.try_get_u8()? != 0 });
    }
    let mut marked = false;
    let kind = byte(input, "ValueKind", |byte| {
        marked = byte & MARKED != 0;
        ValueKind::from_u8(byte & !MARKED)
    })?;
    let expires_at = time(input)?;
    let dedupe = match marked {
        false => None,
        true => {
            let mark = dedupe(input)?;
            Some(Cow::Owned(KeyMark { mark, sum: input.try_get_i64_le()? }))
        }
    };
    let value = Cow::Borrowed(bytes(input)?);
    Ok(Record::KeySet { revision, key, kind, value, expires_at, dedupe })
}

/// Appends bytes with their length before them.
pub(crate) fn put_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    var::put(bytes.len() as u64, out);
    out.put_slice(bytes);
}

/// Reads what [`put_bytes`] wrote.
pub(crate) fn bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (len, rest) = var::read(input)?;
    let len = usize::try_from(len).map_err(|_| RecordError::Short)?;
    let (bytes, rest) = rest.split_at_checked(len).ok_or(RecordError::Short)?;
    *input = rest;
    Ok(bytes)
}
