//! Extras: what only some messages have, as numbered fields.

use std::str;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use sluice_model::{Extras, Lane, PRIORITY_DEFAULT, Timestamp, var};

use super::fields::{FieldError, Fields};
use super::{EncodeError, Fault};

/// One field of a message's extras. Texts that were read are UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra<'a> {
    /// A pair of strings; may be there many times.
    Header {
        /// Its name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// How long it may wait, in milliseconds.
    Ttl(u64),
    /// How long it stays hidden at first, in milliseconds.
    Delay(u64),
    /// Until when it stays hidden at first, in milliseconds since 1970.
    DeliverAt(u64),
    /// 0 to 9, 9 first; anything else as it came.
    Priority(u8),
    /// What order and fairness refer to.
    Group(&'a [u8]),
    /// What limits refer to; may be there many times.
    Key(&'a [u8]),
    /// What it counts for.
    Cost(u64),
    /// Makes a second publish with the same id a duplicate.
    DedupeId(&'a [u8]),
}

/// Which fields may be there: a bit for each number.
pub(super) type Allowed = u16;
/// All of them.
pub(super) const PUBLISHED: Allowed = 0x3fe;
/// Those of a delivery at least once: headers, priority, group, keys, cost.
pub(super) const DELIVERED: Allowed = 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8;
/// Those of a delivery at most once: headers.
pub(super) const HEADERS: Allowed = 1 << 1;
/// Those that may be there many times: headers and keys.
const REPEATED: Allowed = 1 << 1 | 1 << 7;

impl<'a> Extra<'a> {
    /// The number that stands for it on the wire.
    pub const fn number(&self) -> u8 {
        match self {
            Self::Header { .. } => 1,
            Self::Ttl(_) => 2,
            Self::Delay(_) => 3,
            Self::DeliverAt(_) => 4,
            Self::Priority(_) => 5,
            Self::Group(_) => 6,
            Self::Key(_) => 7,
            Self::Cost(_) => 8,
            Self::DedupeId(_) => 9,
        }
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(match fields.u8("extras")? {
            1 => {
                let name = fields.str8("header name")?.as_bytes();
                Self::Header { name, value: fields.str16("header value")?.as_bytes() }
            }
            2 => Self::Ttl(fields.var("ttl_ms")?),
            3 => Self::Delay(fields.var("delay_ms")?),
            4 => Self::DeliverAt(fields.var("deliver_at")?),
            5 => Self::Priority(fields.u8("priority")?),
            6 => Self::Group(fields.str8("group")?.as_bytes()),
            7 => Self::Key(fields.str8("key")?.as_bytes()),
            8 => Self::Cost(fields.var("cost")?),
            9 => Self::DedupeId(fields.str8("dedupe id")?.as_bytes()),
            _ => return Err(("extras", Fault::Unknown)),
        })
    }

    /// Its bytes on the wire, number included.
    ///
    /// # Errors
    /// A text is longer than its length can say.
    fn size(&self) -> Result<usize, EncodeError> {
        let str8 = |field, text: &[u8]| within(field, text, usize::from(u8::MAX));
        Ok(1 + match self {
            Self::Header { name, value } => {
                let value = within("header value", value, usize::from(u16::MAX))?;
                str8("header name", name)? + value + 3
            }
            Self::Ttl(value) | Self::Delay(value) | Self::DeliverAt(value) | Self::Cost(value) => {
                var::size(*value)
            }
            Self::Priority(_) => 1,
            Self::Group(text) => 1 + str8("group", text)?,
            Self::Key(text) => 1 + str8("key", text)?,
            Self::DedupeId(text) => 1 + str8("dedupe id", text)?,
        })
    }

    /// Appends it; the lengths were checked by [`Extra::size`].
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.number());
        match self {
            Self::Header { name, value } => {
                out.put_u8(name.len() as u8);
                out.put_slice(name);
                out.put_u16(value.len() as u16);
                out.put_slice(value);
            }
            Self::Ttl(value) | Self::Delay(value) | Self::DeliverAt(value) | Self::Cost(value) => {
                var::put(*value, out);
            }
            Self::Priority(priority) => out.put_u8(*priority),
            Self::Group(text) | Self::Key(text) | Self::DedupeId(text) => {
                out.put_u8(text.len() as u8);
                out.put_slice(text);
            }
        }
    }
}

fn within(field: &'static str, text: &[u8], max: usize) -> Result<usize, EncodeError> {
    let length = text.len();
    if length <= max { Ok(length) } else { Err(EncodeError::FieldTooLong { field, length, max }) }
}

/// A message's extras where they lie, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtrasRef<'a>(&'a [u8]);

impl<'a> ExtrasRef<'a> {
    /// Whoever made this has called [`check`] on the same bytes before.
    pub(super) const fn checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes of the fields.
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The fields in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = Extra<'a>> + use<'a> {
        let mut fields = Fields::new(self.0);
        std::iter::from_fn(move || Extra::read(&mut fields).ok())
    }

    /// The headers in the order in which they came.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.fields().filter_map(|field| match field {
            Extra::Header { name, value } => Some((name, value)),
            _ => None,
        })
    }

    /// The same as the model has them; a cost above 16 bits is as high as they go.
    ///
    /// Whether the values are in their ranges is for [`Extras::validate`] to say.
    pub fn to_model(&self) -> Extras {
        let mut extras = Extras::default();
        for field in self.fields() {
            match field {
                Extra::Header { name, value } => extras.headers.push((text(name), text(value))),
                Extra::Ttl(millis) => extras.ttl = Some(Duration::from_millis(millis)),
                Extra::Delay(millis) => extras.delay = Some(Duration::from_millis(millis)),
                Extra::DeliverAt(at) => extras.deliver_at = Some(Timestamp::from_millis(at)),
                Extra::Priority(priority) => extras.lane.priority = priority,
                Extra::Group(group) => extras.lane.group = Some(text(group).into()),
                Extra::Key(key) => extras.lane.keys.push(text(key).into()),
                Extra::Cost(cost) => extras.lane.cost = u16::try_from(cost).unwrap_or(u16::MAX),
                Extra::DedupeId(id) => extras.dedupe_id = Some(text(id)),
            }
        }
        extras
    }
}

/// What was found to be UTF-8 before.
fn text(bytes: &[u8]) -> String {
    str::from_utf8(bytes).unwrap_or_default().to_owned()
}

/// Reads all fields once: each known, allowed here, and there once unless it may repeat.
pub(super) fn check(bytes: &[u8], allowed: Allowed) -> Result<(), FieldError> {
    let (mut fields, mut seen) = (Fields::new(bytes), 0);
    while !fields.rest().is_empty() {
        let bit = 1 << Extra::read(&mut fields)?.number();
        if bit & allowed == 0 {
            return Err(("extras", Fault::Unknown));
        }
        if bit & seen & !REPEATED != 0 {
            return Err(("extras", Fault::Repeated));
        }
        seen |= bit;
    }
    Ok(())
}

/// The fields of a message that is published, in the order of their numbers; defaults are left out.
pub(super) fn published(extras: Option<&Extras>) -> impl Iterator<Item = Extra<'_>> + Clone {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    extras.into_iter().flat_map(move |extras| {
        let headers = extras
            .headers
            .iter()
            .map(|(name, value)| Extra::Header { name: name.as_bytes(), value: value.as_bytes() });
        headers
            .chain(extras.ttl.map(|ttl| Extra::Ttl(millis(ttl))))
            .chain(extras.delay.map(|delay| Extra::Delay(millis(delay))))
            .chain(extras.deliver_at.map(|at| Extra::DeliverAt(at.as_millis())))
            .chain(lane(&extras.lane))
            .chain(extras.dedupe_id.as_ref().map(|id| Extra::DedupeId(id.as_bytes())))
    })
}

/// The fields of a lane; defaults are left out.
pub(super) fn lane(lane: &Lane) -> impl Iterator<Item = Extra<'_>> + Clone {
    let Lane { priority, group, keys, cost } = lane;
    let priority = (*priority != PRIORITY_DEFAULT).then_some(Extra::Priority(*priority));
    priority
        .into_iter()
        .chain(group.as_ref().map(|group| Extra::Group(group.as_bytes())))
        .chain(keys.iter().map(|key| Extra::Key(key.as_bytes())))
        .chain((*cost != 1).then_some(Extra::Cost(u64::from(*cost))))
}

/// Bytes of all fields together.
///
/// # Errors
/// A text is longer than its length can say.
pub(super) fn size<'a>(mut extras: impl Iterator<Item = Extra<'a>>) -> Result<usize, EncodeError> {
    extras.try_fold(0, |sum, extra| Ok(sum + extra.size()?))
}

/// Appends the length of extras and them; their size was asked for before.
pub(super) fn put<'a>(extras: impl Iterator<Item = Extra<'a>>, bytes: usize, out: &mut BytesMut) {
    var::put(bytes as u64, out);
    extras.for_each(|extra| extra.put(out));
}
