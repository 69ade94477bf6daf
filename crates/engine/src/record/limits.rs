//! The bytes of records of limits, and of what is done by hand.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Buf, BufMut};
use sluice_model::{
    KeyPattern, Limit, LimitMatch, LimitMode, LimitScope, LimitTerms, Paused, QueueNo,
    QueuePattern, RateTerm, Timestamp, WindowTerm,
};

use super::codec::{COUNTED, LIMIT_DELETED, LIMIT_PUT, PAUSED, THROTTLED, WEIGHED};
use super::{
    Record, RecordError, byte, lane, optional_str, put_lane, put_str, put_time, str, time,
};

/// Bits of the terms of a limit: what follows.
const RATE: u8 = 1;
const BURST: u8 = 2;
const WINDOW: u8 = 4;
const CONCURRENCY: u8 = 8;
const DELAY: u8 = 16;

/// Appends a record of limits; nothing for any other.
pub(super) fn put_limits(record: &Record<'_>, out: &mut impl BufMut) {
    match record {
        Record::LimitPut { at, limit } => {
            out.put_u8(LIMIT_PUT);
            put_time(out, *at);
            put_limit(out, limit);
        }
        Record::LimitDeleted { at, name, matches } => {
            out.put_u8(LIMIT_DELETED);
            put_time(out, *at);
            put_str(out, name);
            out.put_u8(u8::from(matches.is_some()));
            if let Some(matches) = matches {
                put_match(out, matches);
            }
        }
        Record::Paused { queue, key, at, pause } => {
            out.put_u8(PAUSED);
            out.put_u32_le(queue.0);
            put_str(out, key.as_deref().unwrap_or_default());
            put_time(out, *at);
            out.put_u8(u8::from(pause.is_some()));
            if let Some(pause) = pause {
                put_paused(out, pause);
            }
        }
        Record::Throttled { queue, key, at, retry_after } => {
            out.put_u8(THROTTLED);
            out.put_u32_le(queue.0);
            put_str(out, key);
            put_time(out, *at);
            let millis = |after: &Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            out.put_u8(u8::from(retry_after.is_some()));
            out.put_u64_le(retry_after.as_ref().map_or(0, millis));
        }
        Record::Weighed { queue, group, weight } => {
            out.put_u8(WEIGHED);
            out.put_u32_le(queue.0);
            put_str(out, group);
            out.put_u16_le(*weight);
        }
        Record::Counted { queue, at, lane, count } => {
            out.put_u8(COUNTED);
            out.put_u32_le(queue.0);
            put_time(out, *at);
            put_lane(out, lane);
            out.put_u32_le(*count);
        }
        _ => {}
    }
}

/// Reads what [`put_limits`] wrote behind the byte of its kind.
pub(super) fn decode_limits<'a>(kind: u8, input: &mut &'a [u8]) -> Result<Record<'a>, RecordError> {
    Ok(match kind {
        LIMIT_PUT => Record::LimitPut { at: time(input)?, limit: Cow::Owned(limit(input)?) },
        LIMIT_DELETED => Record::LimitDeleted {
            at: time(input)?,
            name: Cow::Borrowed(str(input)?),
            matches: match input.try_get_u8()? {
                0 => None,
                _ => Some(Cow::Owned(matches(input)?)),
            },
        },
        PAUSED => Record::Paused {
            queue: QueueNo(input.try_get_u32_le()?),
            key: optional_str(input)?.map(Cow::Borrowed),
            at: time(input)?,
            pause: match input.try_get_u8()? {
                0 => None,
                _ => Some(Cow::Owned(paused(input)?)),
            },
        },
        THROTTLED => {
            let (queue, key) = (QueueNo(input.try_get_u32_le()?), Cow::Borrowed(str(input)?));
            let (at, given) = (time(input)?, input.try_get_u8()? != 0);
            let after = Duration::from_millis(input.try_get_u64_le()?);
            Record::Throttled { queue, key, at, retry_after: given.then_some(after) }
        }
        WEIGHED => Record::Weighed {
            queue: QueueNo(input.try_get_u32_le()?),
            group: Cow::Borrowed(str(input)?),
            weight: input.try_get_u16_le()?,
        },
        COUNTED => Record::Counted {
            queue: QueueNo(input.try_get_u32_le()?),
            at: time(input)?,
            lane: Cow::Owned(lane(input)?),
            count: input.try_get_u32_le()?,
        },
        byte => return Err(RecordError::Unknown { what: "record", byte }),
    })
}

/// Appends a limit.
pub(crate) fn put_limit(out: &mut impl BufMut, limit: &Limit) {
    out.put_u8(scope_byte(limit.scope()));
    put_str(out, limit.name());
    put_match(out, limit.matches());
    let LimitTerms { rate, burst, window, concurrency, mode } = limit.terms();
    let delay = match mode {
        LimitMode::Refuse => None,
        LimitMode::Delay(wait) => Some(*wait),
    };
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    out.put_u8(
        flag(rate.is_some(), RATE)
            | flag(burst.is_some(), BURST)
            | flag(window.is_some(), WINDOW)
            | flag(concurrency.is_some(), CONCURRENCY)
            | flag(delay.is_some(), DELAY),
    );
    if let Some(rate) = rate {
        out.put_u64_le(rate.thousandths());
        out.put_u64_le(rate.per_ms());
    }
    if let Some(burst) = burst {
        out.put_u32_le(*burst);
    }
    if let Some(window) = window {
        out.put_u32_le(window.max());
        out.put_u64_le(window.length_ms());
    }
    if let Some(concurrency) = concurrency {
        out.put_u32_le(*concurrency);
    }
    if let Some(delay) = delay {
        out.put_u64_le(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Reads what [`put_limit`] wrote.
pub(crate) fn limit(input: &mut &[u8]) -> Result<Limit, RecordError> {
    let scope = byte(input, "LimitScope", scope_of)?;
    let name = str(input)?;
    let matches = matches(input)?;
    let flags = input.try_get_u8()?;
    let mut terms = LimitTerms::default();
    if flags & RATE != 0 {
        let rate = RateTerm::new(input.try_get_u64_le()?, input.try_get_u64_le()?);
        terms.rate = Some(rate.map_err(|_| RecordError::Limit)?);
    }
    if flags & BURST != 0 {
        terms.burst = Some(input.try_get_u32_le()?);
    }
    if flags & WINDOW != 0 {
        let window = WindowTerm::new(input.try_get_u32_le()?, input.try_get_u64_le()?);
        terms.window = Some(window.map_err(|_| RecordError::Limit)?);
    }
    if flags & CONCURRENCY != 0 {
        terms.concurrency = Some(input.try_get_u32_le()?);
    }
    if flags & DELAY != 0 {
        terms.mode = LimitMode::Delay(Duration::from_millis(input.try_get_u64_le()?));
    }
    Limit::new(name, scope, matches, terms).map_err(|_| RecordError::Limit)
}

fn put_match(out: &mut impl BufMut, matches: &LimitMatch) {
    put_str(out, matches.queue.as_str());
    put_str(out, matches.key.as_ref().map_or("", KeyPattern::as_str));
}

fn matches(input: &mut &[u8]) -> Result<LimitMatch, RecordError> {
    let queue = QueuePattern::new(str(input)?).map_err(|_| RecordError::Limit)?;
    let key = optional_str(input)?.map(KeyPattern::new).transpose();
    Ok(LimitMatch { queue, key: key.map_err(|_| RecordError::Limit)? })
}

/// Appends a pause by hand.
pub(crate) fn put_paused(out: &mut impl BufMut, paused: &Paused) {
    put_time(out, paused.until.unwrap_or(Timestamp::EPOCH));
    put_str(out, paused.by.as_deref().unwrap_or_default());
    put_str(out, paused.reason.as_deref().unwrap_or_default());
}

/// Reads what [`put_paused`] wrote.
pub(crate) fn paused(input: &mut &[u8]) -> Result<Paused, RecordError> {
    let until = Some(time(input)?).filter(|until| *until != Timestamp::EPOCH);
    let mut text = || Ok::<_, RecordError>(optional_str(input)?.map(Box::from));
    Ok(Paused { until, by: text()?, reason: text()? })
}

const fn scope_byte(scope: LimitScope) -> u8 {
    match scope {
        LimitScope::Queue => 1,
        LimitScope::Key => 2,
        LimitScope::Client => 3,
        LimitScope::Global => 4,
    }
}

const fn scope_of(byte: u8) -> Option<LimitScope> {
    match byte {
        1 => Some(LimitScope::Queue),
        2 => Some(LimitScope::Key),
        3 => Some(LimitScope::Client),
        4 => Some(LimitScope::Global),
        _ => None,
    }
}
