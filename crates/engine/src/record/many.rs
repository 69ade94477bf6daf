//! What one record says of many messages: runs of places that follow each other.
//!
//! ```text
//! grants = runs u8.. | (place, length)..
//! acks   = runs u8.. | (place, length, counter, start)..
//! ```
//!
//! All numbers are LEB128. A place, a counter and a start are told by how far they are from what
//! would have gone on from the run before, with the sign in the lowest bit: a hundred messages in a
//! row that were delivered in a row take a few bytes.

use bytes::BufMut;
use sluice_model::{Generation, Seq, var};

use super::RecordError;

/// Messages of one record, at most. It bounds what a damaged count may cost, and with
/// [`RUN_BYTES_MAX`] the bytes of a record.
pub(crate) const MANY_MAX: u32 = 1_024;
/// Bytes of a run, at most.
#[cfg(test)]
const RUN_BYTES_MAX: usize = 2 * var::BYTES_MAX + 2 + 5;

/// Messages in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The place of the first one.
    pub first: Seq,
    /// How many, 1 or more.
    pub count: u32,
}

/// Messages in a row that were dealt with under leases in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedRun {
    /// The messages.
    pub run: Run,
    /// The lease of the first one; the next one's counter is one higher.
    pub generation: Generation,
}

impl Run {
    /// The place of each.
    pub fn seqs(self) -> impl Iterator<Item = Seq> {
        (0..self.count).map(move |at| Seq(self.first.0 + u64::from(at)))
    }

    /// Adds `seq` to runs, to the last of them if it goes on from there.
    pub(crate) fn add(runs: &mut Vec<Self>, seq: Seq) {
        match runs.last_mut() {
            Some(last) if last.end() == Some(seq.0) => last.count += 1,
            _ => runs.push(Self { first: seq, count: 1 }),
        }
    }

    /// The place behind the last one, if there is one.
    fn end(self) -> Option<u64> {
        self.first.0.checked_add(self.count.into())
    }
}

impl AckedRun {
    /// Each message with the lease that it was dealt with under.
    pub fn each(self) -> impl Iterator<Item = (Seq, Generation)> {
        let Generation { start, counter } = self.generation;
        let lease = move |at| Generation { start, counter: counter + u64::from(at) };
        self.run.seqs().zip((0..self.run.count).map(lease))
    }

    /// Adds a message to runs, to the last of them if it goes on from there.
    pub(crate) fn add(runs: &mut Vec<Self>, seq: Seq, generation: Generation) {
        match runs.last_mut() {
            Some(last) if last.next() == Some((seq.0, generation)) => last.run.count += 1,
            _ => runs.push(Self { run: Run { first: seq, count: 1 }, generation }),
        }
    }

    /// What would go on from the last one.
    fn next(self) -> Option<(u64, Generation)> {
        let counter = self.generation.counter.checked_add(self.run.count.into())?;
        Some((self.run.end()?, Generation { counter, ..self.generation }))
    }
}

pub(super) fn put_runs(out: &mut impl BufMut, runs: &[Run]) {
    var::put(runs.len() as u64, out);
    let mut end = 0;
    for run in runs {
        put_run(out, *run, &mut end);
    }
}

pub(super) fn put_acked_runs(out: &mut impl BufMut, runs: &[AckedRun]) {
    var::put(runs.len() as u64, out);
    let (mut end, mut counter, mut start) = (0, 0, 0);
    for AckedRun { run, generation } in runs {
        put_run(out, *run, &mut end);
        put_step(out, counter, generation.counter);
        put_step(out, start, generation.start.into());
        counter = generation.counter.wrapping_add(run.count.into());
        start = generation.start.into();
    }
}

fn put_run(out: &mut impl BufMut, run: Run, end: &mut u64) {
    put_step(out, *end, run.first.0);
    var::put(run.count.into(), out);
    *end = run.first.0.wrapping_add(run.count.into());
}

/// How far it is from one number to another, the shorter way round.
fn put_step(out: &mut impl BufMut, from: u64, to: u64) {
    let step = to.wrapping_sub(from).cast_signed();
    var::put((step << 1 ^ step >> 63).cast_unsigned(), out);
}

/// Reads what [`put_runs`] wrote.
pub(super) fn runs(input: &mut &[u8]) -> Result<Vec<Run>, RecordError> {
    let mut budget = Budget::of(input)?;
    let mut all = Vec::with_capacity(budget.runs);
    let mut end = 0;
    while budget.next() {
        all.push(run(input, &mut end, &mut budget)?);
    }
    Ok(all)
}

/// Reads what [`put_acked_runs`] wrote.
pub(super) fn acked_runs(input: &mut &[u8]) -> Result<Vec<AckedRun>, RecordError> {
    let mut budget = Budget::of(input)?;
    let mut all = Vec::with_capacity(budget.runs);
    let (mut end, mut counter, mut start) = (0, 0, 0);
    while budget.next() {
        let run = run(input, &mut end, &mut budget)?;
        counter = step(input, counter)?;
        start = step(input, start)?;
        let narrow = u32::try_from(start).map_err(|_| RecordError::Run)?;
        let acked = AckedRun { run, generation: Generation { start: narrow, counter } };
        (_, Generation { counter, .. }) = acked.next().ok_or(RecordError::Run)?;
        all.push(acked);
    }
    Ok(all)
}

fn run(input: &mut &[u8], end: &mut u64, budget: &mut Budget) -> Result<Run, RecordError> {
    let first = Seq(step(input, *end)?);
    let run = Run { first, count: budget.take(number(input)?)? };
    *end = run.end().ok_or(RecordError::Run)?;
    Ok(run)
}

fn step(input: &mut &[u8], from: u64) -> Result<u64, RecordError> {
    let folded = number(input)?;
    let step = (folded >> 1) ^ (folded & 1).wrapping_neg();
    Ok(from.wrapping_add(step))
}

fn number(input: &mut &[u8]) -> Result<u64, RecordError> {
    let (value, rest) = var::read(input)?;
    *input = rest;
    Ok(value)
}

/// How many runs are still to be read, and how many messages there may be in them.
struct Budget {
    runs: usize,
    messages: u32,
}

impl Budget {
    fn of(input: &mut &[u8]) -> Result<Self, RecordError> {
        let runs = number(input)?;
        if !(1..=u64::from(MANY_MAX)).contains(&runs) {
            return Err(RecordError::Run);
        }
        Ok(Self { runs: runs as usize, messages: MANY_MAX })
    }

    fn next(&mut self) -> bool {
        let more = self.runs > 0;
        self.runs = self.runs.saturating_sub(1);
        more
    }

    /// Takes a run's length.
    fn take(&mut self, count: u64) -> Result<u32, RecordError> {
        let count = u32::try_from(count).ok().filter(|count| (1..=self.messages).contains(count));
        let count = count.ok_or(RecordError::Run)?;
        self.messages -= count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn granted(runs: &[Run]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_runs(&mut bytes, runs);
        bytes
    }

    fn acked(runs: &[AckedRun]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_acked_runs(&mut bytes, runs);
        bytes
    }

    #[test]
    fn a_hundred_in_a_row_take_a_few_bytes() {
        let (mut granted_runs, mut acked_runs) = (Vec::new(), Vec::new());
        for n in 0..100 {
            Run::add(&mut granted_runs, Seq(50_000 + n));
            let generation = Generation { start: 3, counter: 70_000 + n };
            AckedRun::add(&mut acked_runs, Seq(50_000 + n), generation);
        }
        assert_eq!((granted_runs.len(), acked_runs.len()), (1, 1));
        assert_eq!((granted(&granted_runs).len(), acked(&acked_runs).len()), (5, 9));
    }

    #[test]
    fn a_run_ends_where_the_place_or_the_lease_does_not_go_on() {
        let of = |pairs: &[(u64, u32, u64)]| {
            let mut runs = Vec::new();
            for (seq, start, counter) in pairs {
                let generation = Generation { start: *start, counter: *counter };
                AckedRun::add(&mut runs, Seq(*seq), generation);
            }
            let each: Vec<_> = runs.iter().flat_map(|run| run.each()).collect();
            let whole = pairs.iter().map(|(seq, start, counter)| {
                (Seq(*seq), Generation { start: *start, counter: *counter })
            });
            assert_eq!(each, whole.collect::<Vec<_>>());
            runs.len()
        };
        assert_eq!(of(&[(4, 1, 7), (5, 1, 8), (6, 1, 9)]), 1);
        assert_eq!(of(&[(4, 1, 7), (6, 1, 8)]), 2);
        assert_eq!(of(&[(4, 1, 7), (5, 1, 9)]), 2);
        assert_eq!(of(&[(4, 1, 7), (5, 2, 8)]), 2);
        assert_eq!(of(&[(u64::MAX, 1, u64::MAX), (0, 1, 0)]), 2);
    }

    #[test]
    fn runs_that_no_broker_wrote_are_refused() {
        let too_long = granted(&[Run { first: Seq(0), count: MANY_MAX + 1 }]);
        let too_many = granted(&vec![Run { first: Seq(0), count: 1 }; MANY_MAX as usize + 1]);
        let half = Run { first: Seq(0), count: MANY_MAX / 2 + 1 };
        let together = granted(&[half, half]);
        let empty = granted(&[Run { first: Seq(0), count: 0 }]);
        let beyond = granted(&[Run { first: Seq(u64::MAX), count: 1 }]);
        for bytes in [granted(&[]), too_long, too_many, together, empty, beyond] {
            assert_eq!(runs(&mut &bytes[..]), Err(RecordError::Run));
        }
        // In more bytes than it takes.
        assert_eq!(runs(&mut &[0x80, 0][..]), Err(RecordError::Number));
    }

    fn places() -> impl Strategy<Value = Vec<(u64, u32, u64)>> {
        let near = (0..40_u64, Just(1), 0..40_u64);
        let far = (0..u64::MAX - 9, any::<u32>(), 0..u64::MAX - 9);
        proptest::collection::vec(prop_oneof![9 => near, 1 => far], 1..60)
    }

    proptest! {
        #[test]
        fn any_places_come_back_in_their_order_and_in_bounded_bytes(places in places()) {
            let (mut of_grants, mut of_acks) = (Vec::new(), Vec::new());
            for (seq, start, counter) in places {
                Run::add(&mut of_grants, Seq(seq));
                AckedRun::add(&mut of_acks, Seq(seq), Generation { start, counter });
            }
            let bytes = granted(&of_grants);
            prop_assert_eq!(runs(&mut &bytes[..]).unwrap(), of_grants);
            let bytes = acked(&of_acks);
            prop_assert!(bytes.len() <= 2 + of_acks.len() * RUN_BYTES_MAX);
            prop_assert_eq!(acked_runs(&mut &bytes[..]).unwrap(), of_acks);
        }
    }
}
