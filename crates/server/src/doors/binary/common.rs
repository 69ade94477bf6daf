//! What the sessions of all versions have in common with the connection that drives them.

use std::collections::VecDeque;

use sluice_model::Request;

use crate::auth::KeyHash;
use crate::doors::Output;
use crate::requests::Refused;

/// The greatest length of a frame on a connection that isn't ready.
pub(crate) const EARLY_LENGTH_MAX: usize = 1_024;

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) frame_max: usize,
    pub(crate) message_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) out_max: usize,
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
}
