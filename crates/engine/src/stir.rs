//! Receives that wait and may find something by now: they are listed, and served at the end of a turn.

use crate::engine::{Engine, Turn};
use crate::queue::Waiting;
use crate::topic::Listener;

impl Engine {
    /// Notes that parked receives may find something by now.
    pub(crate) fn stir(&mut self, from: Listener) {
        if self.parked_mut(from).is_some_and(|parked| !parked.nobody_in_line())
            && self.listed_stirred(from).is_some_and(|listed| !std::mem::replace(listed, true))
        {
            self.stirred.push(from);
        }
    }

    /// The receives that wait there.
    pub(crate) fn parked_mut(&mut self, from: Listener) -> Option<&mut Waiting> {
        match from {
            Listener::Queue(no) => self.queues.get_mut(&no).map(|queue| &mut queue.parked),
            Listener::Ephemeral(id) => self.ephemerals.get_mut(&id).map(|them| &mut them.parked),
            Listener::Watch(id) => self.kv.watches.get_mut(id).map(|watch| &mut watch.parked),
        }
    }

    fn listed_stirred(&mut self, from: Listener) -> Option<&mut bool> {
        match from {
            Listener::Queue(no) => self.queues.get_mut(&no).map(|queue| &mut queue.listed_stirred),
            Listener::Ephemeral(id) => {
                self.ephemerals.get_mut(&id).map(|them| &mut them.listed_stirred)
            }
            Listener::Watch(id) => {
                self.kv.watches.get_mut(id).map(|watch| &mut watch.listed_stirred)
            }
        }
    }

    /// Answers those who wait where there may be something by now.
    pub(crate) fn serve_stirred(&mut self, turn: &mut Turn<'_>) {
        let mut fetched = 0;
        while !self.stirred.is_empty() {
            if fetched == 0 {
                fetched = self.fetch_stirred();
            }
            fetched -= 1;
            let Some(from) = self.stirred.pop() else { break };
            if let Some(listed) = self.listed_stirred(from) {
                *listed = false;
            }
            match from {
                Listener::Queue(no) => self.serve_parked(turn, no),
                Listener::Ephemeral(id) => self.serve_resident(turn, id),
                Listener::Watch(id) => self.serve_watch(turn, id),
            }
        }
    }
}
