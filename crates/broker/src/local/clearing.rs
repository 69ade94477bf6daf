//! Clearing a segment: its live bodies are copied to the end of the log, so that it can go.
//!
//! Reading holds nobody up. A copy is made by a turn of the driver, so a hold of it is bounded in
//! bodies looked at, in bodies moved and in bytes.

use std::ops::Range;

use sluice_engine::{Record, Target};
use sluice_model::Timestamp;
use sluice_wal::{Disk, Pinned};

use crate::local::driver::{Driver, Input};

/// What one hold of the driver may take, because everybody else waits for it: bodies looked at,
/// bodies moved, and their bytes.
const LOOKS: usize = 256;
const MOVES: usize = 64;
const MOVE_HOLD: usize = 128 << 10;

/// A segment whose live bodies are being copied to the end of the log.
pub(crate) struct Clearing<D: Disk> {
    pub(crate) number: u32,
    pub(crate) segment: Pinned<D>,
    pub(crate) offset: u32,
}

/// Bodies of a part of a segment; its allocations are used again and again.
#[derive(Default)]
pub(crate) struct Found {
    bytes: Vec<u8>,
    pub(crate) bodies: Vec<FoundBody>,
}

/// One body among them.
pub(crate) struct FoundBody {
    targets: Vec<Target>,
    /// The number of its record.
    from: u64,
    at: Range<usize>,
}

impl Found {
    /// Reads bodies from `offset` on, and gives where to go on if there are more.
    pub(crate) fn read<D: Disk>(
        &mut self,
        segment: &Pinned<D>,
        mut offset: u32,
        bytes_max: u64,
    ) -> Option<u32> {
        let Self { bytes, bodies } = self;
        bytes.clear();
        bodies.clear();
        let end = u64::from(offset) + bytes_max;
        while u64::from(offset) < end {
            let next = segment.bodies(offset, |sequence, head, body| {
                if let Ok(Record::Published { targets, .. } | Record::Moved { targets, .. }) =
                    Record::decode(head)
                {
                    let at = bytes.len()..bytes.len() + body.len();
                    bytes.extend_from_slice(body);
                    bodies.push(FoundBody { targets: targets.into_owned(), from: sequence.0, at });
                }
            });
            match next {
                Ok(Some(next)) => offset = next,
                // What can't be read can't be moved; its readers find that out by themselves.
                Ok(None) | Err(_) => return None,
            }
        }
        Some(offset)
    }

    /// Moves as many as one hold of the driver may, and gives the others.
    pub(crate) fn move_some<'a, D: Disk>(
        &self,
        bodies: &'a [FoundBody],
        driver: &mut Driver<D>,
        now: Timestamp,
    ) -> &'a [FoundBody] {
        let (mut bytes, mut fetched) = (0, 0);
        for (looked_at, FoundBody { targets, from, at }) in bodies.iter().enumerate() {
            if looked_at == LOOKS || bytes >= MOVE_HOLD {
                return &bodies[looked_at..];
            }
            if fetched == 0 {
                let records = bodies[looked_at..].iter().map(|body| &body.targets[..]);
                fetched = driver.engine.fetch_targets(records);
            }
            fetched -= 1;
            if !driver.engine.needs(targets, *from) {
                continue;
            }
            // What a short body costs is its record, not its bytes.
            bytes += at.len().max(MOVE_HOLD / MOVES);
            let body = &self.bytes[at.clone()];
            if driver.turn(now, Input::Move { targets, from: *from, body }).is_err() {
                break;
            }
        }
        &[]
    }
}
