//! The bytes of records.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Buf, BufMut};
use sluice_model::{
    DeadReason, Generation, Lane, MessageId, Purge, QueueNo, QueueSettings, Redrive, Seq, Setting,
    Timestamp, Topic,
};

use super::keys::{decode_key, put_key};
use super::limits::{decode_limits, put_limits};
use super::many::{MANY_MAX, acked_runs, put_acked_runs, put_runs, runs};
use super::{Cause, DedupeMark, DedupeScope, PacedRedrive, Record, RecordError, Removal, Target};

const FOUNDED: u8 = 1;
const STARTED: u8 = 2;
const DECLARED: u8 = 3;
const ENDED: u8 = 4;
const PUBLISHED: u8 = 5;
const MOVED: u8 = 6;
const GRANTED: u8 = 7;
const ACKED: u8 = 8;
const RETURNED: u8 = 9;
const BURIED: u8 = 10;
const REMOVED: u8 = 11;
const CONFIGURED: u8 = 12;
const EXTENDED: u8 = 13;
const RESCHEDULED: u8 = 14;
const REDRIVEN: u8 = 15;
const PURGED: u8 = 16;
const REDRIVE_BEGUN: u8 = 17;
const REDRIVE_DONE: u8 = 18;
const GRANTED_MANY: u8 = 19;
const ACKED_MANY: u8 = 20;
/// A record of a key; `keys.rs` has its bytes.
pub(super) const KEY_SET: u8 = 21;
/// Likewise.
pub(super) const KEY_GONE: u8 = 22;
/// A record of limits; `limits.rs` has its bytes, as those of the five behind it.
pub(super) const LIMIT_PUT: u8 = 23;
pub(super) const LIMIT_DELETED: u8 = 24;
pub(super) const PAUSED: u8 = 25;
pub(super) const THROTTLED: u8 = 26;
pub(super) const WEIGHED: u8 = 27;
pub(super) const COUNTED: u8 = 28;

/// A bit of the flags of [`PUBLISHED`]: targets carry their times.
const TIMED: u8 = 1;
/// A bit of the flags of [`PUBLISHED`]: a lane follows the targets.
const LANE: u8 = 2;
/// A bit of the flags of [`PUBLISHED`]: a dedupe mark follows.
const DEDUPE: u8 = 4;

impl Record<'_> {
    /// Appends the head's bytes to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Founded { lease_key } => {
                out.put_u8(FOUNDED);
                out.put_slice(lease_key);
            }
            Self::Started { start, at, unclean } => {
                out.put_u8(STARTED);
                out.put_u32_le(*start);
                put_time(out, *at);
                out.put_u8(u8::from(*unclean));
            }
            Self::Declared { queue, at, name, pattern, owner, settings } => {
                out.put_u8(DECLARED);
                out.put_u32_le(queue.0);
                put_time(out, *at);
                put_str(out, name.as_deref().unwrap_or_default());
                put_str(out, pattern.as_deref().unwrap_or_default());
                put_str(out, owner);
                put_settings(out, settings);
            }
            Self::Configured { queue, settings } => {
                out.put_u8(CONFIGURED);
                out.put_u32_le(queue.0);
                put_settings(out, settings);
            }
            Self::Ended { queue } => {
                out.put_u8(ENDED);
                out.put_u32_le(queue.0);
            }
            Self::Published { at, id, targets, lane, dedupe, content: _ } => {
                out.put_u8(PUBLISHED);
                put_time(out, *at);
                out.put_u32_le(id.start);
                out.put_u64_le(id.counter);
                let more = if lane.is_some() { LANE } else { 0 }
                    | if dedupe.is_some() { DEDUPE } else { 0 };
                put_targets(out, targets, more);
                if let Some(lane) = lane {
                    put_lane(out, lane);
                }
                if let Some(dedupe) = dedupe {
                    put_dedupe(out, dedupe);
                }
            }
            Self::Moved { targets, body: _ } => {
                out.put_u8(MOVED);
                put_targets(out, targets, 0);
            }
            Self::Purged { queue, from, to, what } => {
                out.put_u8(PURGED);
                out.put_u32_le(queue.0);
                out.put_u64_le(from.0);
                out.put_u64_le(to.0);
                out.put_u8(purge_bits(*what));
            }
            Self::RedriveBegun { queue, number, paced } => {
                out.put_u8(REDRIVE_BEGUN);
                out.put_u32_le(queue.0);
                out.put_u32_le(*number);
                put_paced(out, paced);
            }
            Self::RedriveDone { queue, number } => {
                out.put_u8(REDRIVE_DONE);
                out.put_u32_le(queue.0);
                out.put_u32_le(*number);
            }
            Self::GrantedMany { .. } | Self::AckedMany { .. } => self.encode_many(out),
            record => record.encode_one(out),
        }
    }

    /// The same, of a record about messages in rows.
    fn encode_many(&self, out: &mut impl BufMut) {
        match self {
            Self::GrantedMany { queue, runs, generation, at, deadline, bound } => {
                out.put_u8(GRANTED_MANY);
                out.put_u32_le(queue.0);
                put_generation(out, *generation);
                put_time(out, *at);
                put_time(out, *deadline);
                out.put_u8(u8::from(*bound));
                put_runs(out, runs);
            }
            Self::AckedMany { queue, runs } => {
                out.put_u8(ACKED_MANY);
                out.put_u32_le(queue.0);
                put_acked_runs(out, runs);
            }
            _ => {}
        }
    }

    /// The same, of a record about one message, or one key.
    fn encode_one(&self, out: &mut impl BufMut) {
        match self {
            Self::Granted { target, generation, at, deadline, bound } => {
                out.put_u8(GRANTED);
                put_target(out, target);
                put_generation(out, *generation);
                put_time(out, *at);
                put_time(out, *deadline);
                out.put_u8(u8::from(*bound));
            }
            Self::Extended { target, at, deadline } => {
                out.put_u8(EXTENDED);
                put_target(out, target);
                put_time(out, *at);
                put_time(out, *deadline);
            }
            Self::Acked { target, generation } => {
                out.put_u8(ACKED);
                put_target(out, target);
                put_generation(out, *generation);
            }
            Self::Returned { target, cause, at, ready_at, note } => {
                out.put_u8(RETURNED);
                put_target(out, target);
                out.put_u8(cause.as_u8());
                put_time(out, *at);
                put_time(out, *ready_at);
                put_str(out, note.as_deref().unwrap_or_default());
            }
            Self::Buried { target, reason, at, note } => {
                out.put_u8(BURIED);
                put_target(out, target);
                out.put_u8(reason.as_u8());
                put_time(out, *at);
                put_str(out, note.as_deref().unwrap_or_default());
            }
            Self::Rescheduled { target, at, ready_at } => {
                out.put_u8(RESCHEDULED);
                put_target(out, target);
                put_time(out, *at);
                put_time(out, *ready_at);
            }
            Self::Redriven { target, at, fence } => {
                out.put_u8(REDRIVEN);
                put_target(out, target);
                put_time(out, *at);
                put_generation(out, *fence);
            }
            Self::Removed { target, why } => {
                out.put_u8(REMOVED);
                put_target(out, target);
                out.put_u8(why.as_u8());
            }
            Self::KeySet { .. } | Self::KeyGone { .. } => put_key(self, out),
            // The others are of limits.
            _ => put_limits(self, out),
        }
    }
}

impl<'a> Record<'a> {
    /// Reads a head back; bodies stay in the log.
    ///
    /// # Errors
    /// Says why the bytes are no head of a record.
    pub fn decode(mut from: &'a [u8]) -> Result<Self, RecordError> {
        let input = &mut from;
        let record = match input.try_get_u8()? {
            FOUNDED => Self::Founded { lease_key: input.try_get_u128_le()?.to_le_bytes() },
            STARTED => Self::Started {
                start: input.try_get_u32_le()?,
                at: time(input)?,
                unclean: input.try_get_u8()? != 0,
            },
            DECLARED => Self::Declared {
                queue: QueueNo(input.try_get_u32_le()?),
                at: time(input)?,
                name: optional_str(input)?.map(Cow::Borrowed),
                pattern: optional_str(input)?.map(Cow::Borrowed),
                owner: Cow::Borrowed(str(input)?),
                settings: Cow::Owned(settings(input)?),
            },
            CONFIGURED => Self::Configured {
                queue: QueueNo(input.try_get_u32_le()?),
                settings: Cow::Owned(settings(input)?),
            },
            ENDED => Self::Ended { queue: QueueNo(input.try_get_u32_le()?) },
            PUBLISHED => {
                let at = time(input)?;
                let id =
                    MessageId { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? };
                let (targets, flags) = targets(input)?;
                let lane = if flags & LANE != 0 { Some(Cow::Owned(lane(input)?)) } else { None };
                let dedupe =
                    if flags & DEDUPE != 0 { Some(Cow::Owned(dedupe(input)?)) } else { None };
                Self::Published { at, id, targets, lane, dedupe, content: None }
            }
            MOVED => Self::Moved { targets: targets(input)?.0, body: None },
            PURGED => Self::Purged {
                queue: QueueNo(input.try_get_u32_le()?),
                from: Seq(input.try_get_u64_le()?),
                to: Seq(input.try_get_u64_le()?),
                what: purge_of(input.try_get_u8()?),
            },
            REDRIVE_BEGUN => Self::RedriveBegun {
                queue: QueueNo(input.try_get_u32_le()?),
                number: input.try_get_u32_le()?,
                paced: Cow::Owned(paced(input)?),
            },
            REDRIVE_DONE => Self::RedriveDone {
                queue: QueueNo(input.try_get_u32_le()?),
                number: input.try_get_u32_le()?,
            },
            GRANTED_MANY => Self::GrantedMany {
                queue: QueueNo(input.try_get_u32_le()?),
                generation: first_of_many(input)?,
                at: time(input)?,
                deadline: time(input)?,
                bound: input.try_get_u8()? != 0,
                runs: Cow::Owned(runs(input)?),
            },
            ACKED_MANY => Self::AckedMany {
                queue: QueueNo(input.try_get_u32_le()?),
                runs: Cow::Owned(acked_runs(input)?),
            },
            kind @ (KEY_SET | KEY_GONE) => decode_key(kind, input)?,
            kind @ LIMIT_PUT..=COUNTED => decode_limits(kind, input)?,
            kind => Self::decode_one(kind, input)?,
        };
        if input.is_empty() { Ok(record) } else { Err(RecordError::Long(input.len())) }
    }

    /// The same, of a record about one message.
    fn decode_one(kind: u8, input: &mut &'a [u8]) -> Result<Self, RecordError> {
        Ok(match kind {
            GRANTED => Self::Granted {
                target: target(input)?,
                generation: generation(input)?,
                at: time(input)?,
                deadline: time(input)?,
                bound: input.try_get_u8()? != 0,
            },
            EXTENDED => {
                Self::Extended { target: target(input)?, at: time(input)?, deadline: time(input)? }
            }
            ACKED => Self::Acked { target: target(input)?, generation: generation(input)? },
            RETURNED => Self::Returned {
                target: target(input)?,
                cause: Cause::from_u8(input.try_get_u8()?)?,
                at: time(input)?,
                ready_at: time(input)?,
                note: optional_str(input)?.map(Cow::Borrowed),
            },
            BURIED => Self::Buried {
                target: target(input)?,
                reason: byte(input, "DeadReason", DeadReason::from_u8)?,
                at: time(input)?,
                note: optional_str(input)?.map(Cow::Borrowed),
            },
            RESCHEDULED => Self::Rescheduled {
                target: target(input)?,
                at: time(input)?,
                ready_at: time(input)?,
            },
            REDRIVEN => Self::Redriven {
                target: target(input)?,
                at: time(input)?,
                fence: generation(input)?,
            },
            REMOVED => Self::Removed {
                target: target(input)?,
                why: Removal::from_u8(input.try_get_u8()?)?,
            },
            byte => return Err(RecordError::Unknown { what: "record", byte }),
        })
    }
}

pub(crate) fn put_time(out: &mut impl BufMut, time: Timestamp) {
    out.put_u64_le(time.as_millis());
}

pub(crate) fn put_generation(out: &mut impl BufMut, generation: Generation) {
    out.put_u32_le(generation.start);
    out.put_u64_le(generation.counter);
}

fn put_target(out: &mut impl BufMut, target: &Target) {
    out.put_u32_le(target.queue.0);
    out.put_u64_le(target.seq.0);
}

/// Strings are names of bounded length; what is past 65 535 bytes never gets here.
pub(crate) fn put_str(out: &mut impl BufMut, text: &str) {
    let len = u16::try_from(text.len()).expect("names are checked when they are made");
    out.put_u16_le(len);
    out.put_slice(text.as_bytes());
}

fn put_targets(out: &mut impl BufMut, targets: &[Target], more: u8) {
    let timed = targets.iter().any(Target::is_timed);
    out.put_u8(if timed { TIMED } else { 0 } | more);
    out.put_u32_le(u32::try_from(targets.len()).expect("subscriptions_max bounds the targets"));
    for target in targets {
        put_target(out, target);
        if timed {
            put_time(out, target.ready_at);
            put_time(out, target.expires_at);
        }
    }
}

/// Appends what decides order and limits.
pub(crate) fn put_lane(out: &mut impl BufMut, lane: &Lane) {
    out.put_u8(lane.priority);
    out.put_u16_le(lane.cost);
    put_str(out, lane.group.as_deref().unwrap_or_default());
    out.put_u8(u8::try_from(lane.keys.len()).expect("a message has at most 4 keys"));
    for key in &lane.keys {
        put_str(out, key);
    }
}

/// Appends where dedupe ids are compared.
pub(crate) fn put_scope(out: &mut impl BufMut, scope: &DedupeScope) {
    match scope {
        DedupeScope::Topic(topic) => put_str(out, topic.as_str()),
        DedupeScope::Queue(queue) => {
            put_str(out, "");
            out.put_u32_le(queue.0);
        }
        // Queues count from 1.
        DedupeScope::Keys => {
            put_str(out, "");
            out.put_u32_le(0);
        }
    }
}

pub(super) fn put_dedupe(out: &mut impl BufMut, mark: &DedupeMark) {
    put_scope(out, &mark.scope);
    out.put_u128_le(mark.id);
    out.put_u64_le(mark.body);
    put_time(out, mark.until);
}

/// Appends settings: how many, then number and value of each.
pub(crate) fn put_settings(out: &mut impl BufMut, settings: &QueueSettings) {
    out.put_u8(u8::try_from(settings.iter().len()).expect("there are fewer settings"));
    for (setting, value) in settings.iter() {
        out.put_u8(setting.number());
        out.put_u64_le(value);
    }
}

/// Appends a redrive at a pace. What it names comes first as a byte: 0 for ids, else 1.
pub(crate) fn put_paced(out: &mut impl BufMut, paced: &PacedRedrive) {
    put_time(out, paced.asked_at);
    out.put_u32_le(paced.per_second);
    match &paced.which {
        Redrive::Ids(ids) => {
            out.put_u8(0);
            out.put_u32_le(u32::try_from(ids.len()).expect("batch_max bounds the ids"));
            for id in ids {
                out.put_u32_le(id.start);
                out.put_u64_le(id.counter);
            }
        }
        Redrive::Matching { reason, age_min } => {
            out.put_u8(1);
            out.put_u8(reason.map_or(0, DeadReason::as_u8));
            let millis = age_min.map_or(0, |age| age.as_millis());
            out.put_u64_le(u64::try_from(millis).unwrap_or(u64::MAX));
        }
    }
}

fn purge_bits(what: Purge) -> u8 {
    u8::from(what.waiting) | u8::from(what.leased) << 1 | u8::from(what.dead) << 2
}

fn purge_of(bits: u8) -> Purge {
    Purge { waiting: bits & 1 != 0, leased: bits & 2 != 0, dead: bits & 4 != 0 }
}

pub(crate) fn time(input: &mut &[u8]) -> Result<Timestamp, RecordError> {
    Ok(Timestamp::from_millis(input.try_get_u64_le()?))
}

pub(crate) fn generation(input: &mut &[u8]) -> Result<Generation, RecordError> {
    Ok(Generation { start: input.try_get_u32_le()?, counter: input.try_get_u64_le()? })
}

/// A generation that others follow.
fn first_of_many(input: &mut &[u8]) -> Result<Generation, RecordError> {
    let first = generation(input)?;
    let last = first.counter.checked_add(MANY_MAX.into());
    last.map(|_| first).ok_or(RecordError::Run)
}

fn target(input: &mut &[u8]) -> Result<Target, RecordError> {
    Ok(Target::new(QueueNo(input.try_get_u32_le()?), Seq(input.try_get_u64_le()?)))
}

/// Reads what [`put_paced`] wrote.
pub(crate) fn paced(input: &mut &[u8]) -> Result<PacedRedrive, RecordError> {
    let (asked_at, per_second) = (time(input)?, input.try_get_u32_le()?);
    let which = match input.try_get_u8()? {
        0 => {
            let mut ids = Vec::new();
            for _ in 0..input.try_get_u32_le()? {
                let (start, counter) = (input.try_get_u32_le()?, input.try_get_u64_le()?);
                ids.push(MessageId { start, counter });
            }
            Redrive::Ids(ids)
        }
        1 => {
            let reason = match input.try_get_u8()? {
                0 => None,
                byte => {
                    let unknown = RecordError::Unknown { what: "DeadReason", byte };
                    Some(DeadReason::from_u8(byte).ok_or(unknown)?)
                }
            };
            let age_min = Some(Duration::from_millis(input.try_get_u64_le()?));
            Redrive::Matching { reason, age_min: age_min.filter(|age| !age.is_zero()) }
        }
        byte => return Err(RecordError::Unknown { what: "Redrive", byte }),
    };
    Ok(PacedRedrive { asked_at, per_second, which })
}

/// Reads a string that [`put_str`] wrote.
pub(crate) fn str<'a>(input: &mut &'a [u8]) -> Result<&'a str, RecordError> {
    let len = usize::from(input.try_get_u16_le()?);
    let (text, rest) = input.split_at_checked(len).ok_or(RecordError::Short)?;
    *input = rest;
    std::str::from_utf8(text).map_err(|_| RecordError::Utf8)
}

/// Reads a string that may be empty for none.
pub(crate) fn optional_str<'a>(input: &mut &'a [u8]) -> Result<Option<&'a str>, RecordError> {
    Ok(Some(str(input)?).filter(|text| !text.is_empty()))
}

/// Reads a byte and what it stands for.
pub(crate) fn byte<T>(
    input: &mut &[u8],
    what: &'static str,
    meaning: impl FnOnce(u8) -> Option<T>,
) -> Result<T, RecordError> {
    let byte = input.try_get_u8()?;
    meaning(byte).ok_or(RecordError::Unknown { what, byte })
}

fn targets<'a>(input: &mut &[u8]) -> Result<(Cow<'a, [Target]>, u8), RecordError> {
    let flags = input.try_get_u8()?;
    let count = input.try_get_u32_le()?;
    let mut targets = Vec::new();
    for _ in 0..count {
        let mut target = target(input)?;
        if flags & TIMED != 0 {
            target.ready_at = time(input)?;
            target.expires_at = time(input)?;
        }
        targets.push(target);
    }
    Ok((Cow::Owned(targets), flags))
}

/// Reads what [`put_lane`] wrote.
pub(crate) fn lane(input: &mut &[u8]) -> Result<Lane, RecordError> {
    let priority = input.try_get_u8()?;
    let cost = input.try_get_u16_le()?;
    let group = optional_str(input)?.map(Box::from);
    let mut keys = Vec::new();
    for _ in 0..input.try_get_u8()? {
        keys.push(str(input)?.into());
    }
    Ok(Lane { priority, group, keys, cost })
}

/// Reads what [`put_scope`] wrote.
pub(crate) fn scope(input: &mut &[u8]) -> Result<DedupeScope, RecordError> {
    Ok(match optional_str(input)? {
        Some(topic) => DedupeScope::Topic(Topic::new(topic).map_err(|_| RecordError::Utf8)?),
        None => match input.try_get_u32_le()? {
            0 => DedupeScope::Keys,
            queue => DedupeScope::Queue(QueueNo(queue)),
        },
    })
}

pub(super) fn dedupe(input: &mut &[u8]) -> Result<DedupeMark, RecordError> {
    let scope = scope(input)?;
    let (id, body) = (input.try_get_u128_le()?, input.try_get_u64_le()?);
    Ok(DedupeMark { scope, id, body, until: time(input)? })
}

/// Reads what [`put_settings`] wrote.
pub(crate) fn settings(input: &mut &[u8]) -> Result<QueueSettings, RecordError> {
    let mut settings = QueueSettings::default();
    for _ in 0..input.try_get_u8()? {
        let setting = byte(input, "Setting", Setting::from_number)?;
        let value = input.try_get_u64_le()?;
        let out_of_range = RecordError::Unknown { what: setting.name(), byte: setting.number() };
        settings.set(setting, value).map_err(|_| out_of_range)?;
    }
    Ok(settings)
}
