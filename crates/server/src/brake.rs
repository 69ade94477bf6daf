//! How fast connections come in while many requests wait already.
//!
//! Who is refused comes again, and costs a connection each time: letting all of them in at once would
//! take the processor from those who are served. Those who are not in yet wait in the kernel, where
//! they cost nothing, for at most a backlog divided by this pace.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::admission::Intake;

/// Connections that may come in a window: 4 000 a second, which takes a core a tenth of its time.
const GROUP: u32 = 8;
const WINDOW: Duration = Duration::from_millis(2);

/// Counts who comes, and says when the next may while it is crowded.
pub(crate) struct Brake {
    left: u32,
    window_ends: Instant,
}

impl Brake {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: GROUP, window_ends: now + WINDOW }
    }

    /// Waits until the next connection may come. Cancel-safe.
    pub(crate) async fn wait(&self, intake: &Intake) {
        if let Some(then) = self.full_until()
            && intake.is_crowded()
        {
            sleep_until(then).await;
        }
    }

    /// When the window ends, if as many have come in it as may.
    fn full_until(&self) -> Option<Instant> {
        (self.left == 0).then_some(self.window_ends)
    }

    /// One has come.
    pub(crate) fn count(&mut self, now: Instant) {
        if now >= self.window_ends {
            *self = Self::new(now);
        }
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_a_group_and_the_next_one_begins_when_somebody_comes() {
        let start = Instant::now();
        let mut brake = Brake::new(start);
        for _ in 0..GROUP {
            assert_eq!(brake.full_until(), None);
            brake.count(start);
        }
        assert_eq!(brake.full_until(), Some(start + WINDOW));
        // One that was not to wait, for nobody waited for a place.
        brake.count(start);
        assert_eq!(brake.full_until(), Some(start + WINDOW));
        let later = start + 10 * WINDOW;
        brake.count(later);
        assert_eq!(brake.full_until(), None);
        (1..GROUP).for_each(|_| brake.count(later));
        assert_eq!(brake.full_until(), Some(later + WINDOW));
    }
}
