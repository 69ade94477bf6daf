//! What the sessions of all versions have in common with the connection that drives them.

use std::collections::VecDeque;

use sluice_flow::Client;
use sluice_model::{Refusal, Request};

use crate::admission::Intake;
use crate::auth::KeyHash;
use crate::config::Config;
use crate::counters::Counters;
use crate::doors::{Desk, Output};
use crate::requests::Refused;

/// The greatest length of a frame on a connection that isn't ready.
pub(crate) const EARLY_LENGTH_MAX: usize = 1_024;

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) frame_max: usize,
    pub(crate) message_max: usize,
    pub(crate) batch_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) out_max: usize,
}

impl Limits {
    /// Those that the configuration sets.
    pub(crate) const fn of(config: &Config) -> Self {
        Self {
            frame_max: config.frame_max,
            message_max: config.max_message_bytes,
            batch_max: config.batch_max,
            in_flight_max: config.max_in_flight,
            out_max: config.out_max_bytes,
        }
    }
}

/// What a session needs before it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// More bytes: it has understood all there were.
    Bytes,
    /// The output to be sent first.
    Room,
    /// An answer to whether this is a right key: [`Session::authenticated`].
    Authenticate(KeyHash),
    /// Nothing: it is over once what waits has been sent.
    Nothing,
}

/// What a session has counted since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) frames: u64,
    pub(crate) refusals: u64,
    /// Frames that were refused.
    pub(crate) refused: Refused,
    pub(crate) decode_errors: u64,
    pub(crate) early_frames: u64,
}

/// Where a session puts what it makes of bytes.
pub(crate) struct Io<'a> {
    pub(crate) requests: &'a mut VecDeque<Request>,
    pub(crate) output: &'a mut Output,
    /// What requests meet first; none where there are no limits.
    pub(crate) entrance: Option<Entrance<'a>>,
}

impl<'a> Io<'a> {
    /// On a desk, for what no limit is about.
    pub(crate) const fn at(desk: &'a mut Desk) -> Self {
        Self::new(&mut desk.requests, &mut desk.output)
    }

    /// For what no limit is about.
    pub(crate) const fn new(requests: &'a mut VecDeque<Request>, output: &'a mut Output) -> Self {
        Self { requests, output, entrance: None }
    }

    /// Counts a request of the kind that limits are about, as so many as it has items.
    ///
    /// # Errors
    /// A limit refuses it.
    pub(crate) fn count(&self, items: u32) -> Result<(), Refusal> {
        let Some(Entrance { intake, client, counters }) = &self.entrance else { return Ok(()) };
        intake.count(client, items, counters)
    }
}

/// The limits, and whom they take the client for.
pub(crate) struct Entrance<'a> {
    pub(crate) intake: &'a Intake,
    pub(crate) client: Client,
    pub(crate) counters: &'a Counters,
}
