//! The parts of a session that are made when they are first used.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use sluice_model::{Published, Refusal};

use super::answers::Local;
use super::consumers::Consumers;
use super::consuming::{Opening, Wait};
use super::pending::WAIT_TAGS;
use super::polls::Polls;
use super::settling::Settle;
use super::window::Window;
use crate::doors::binary::late::Blank;
use crate::doors::binary::topics::Topics;

/// What a client that publishes has.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// What became of the first messages of the PUBLISH that is being answered.
    pub(super) parts: Vec<Result<Published, Refusal>>,
    pub(super) topics: Topics,
}

/// What a client that receives has.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) opening: VecDeque<Opening>,
    pub(super) settles: VecDeque<Settle>,
    /// RECEIVEs that wait, by their tags.
    pub(super) waits: BTreeMap<u64, Wait>,
    pub(super) last_wait: u64,
    pub(super) polls: Polls,
    pub(super) consumers: Consumers,
    pub(super) window: Window,
}

impl Default for Receiving {
    fn default() -> Self {
        Self {
            opening: VecDeque::new(),
            settles: VecDeque::new(),
            waits: BTreeMap::new(),
            last_wait: WAIT_TAGS,
            polls: Polls::default(),
            consumers: Consumers::default(),
            window: Window::default(),
        }
    }
}

/// Answers that the broker has no part in, and which wait for those that it has.
pub(super) type Locals = VecDeque<Local>;

impl Blank for Publishing {
    fn blank() -> &'static Self {
        static BLANK: LazyLock<Publishing> = LazyLock::new(Publishing::default);
        &BLANK
    }
}

impl Blank for Receiving {
    fn blank() -> &'static Self {
        static BLANK: LazyLock<Receiving> = LazyLock::new(Receiving::default);
        &BLANK
    }
}

impl Blank for Locals {
    fn blank() -> &'static Self {
        static BLANK: Locals = Locals::new();
        &BLANK
    }
}
