//! What those who watch the broker see of its queues.

use std::time::Duration;

use crate::{QueueName, StateCounts};

/// The figures of one queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFigures {
    /// Its name.
    pub name: QueueName,
    /// Messages by state.
    pub messages: StateCounts,
    /// Their bytes by state.
    pub bytes: StateCounts,
    /// How long the oldest message that is ready has been there.
    pub oldest_ready: Option<Duration>,
    /// How long the delivery that has been out for longest has been out.
    pub oldest_leased: Option<Duration>,
}

/// A part of a survey of all queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurveyPart {
    /// Queues in the order of their names.
    pub queues: Vec<QueueFigures>,
    /// There may be more behind the last of these.
    pub more: bool,
}
