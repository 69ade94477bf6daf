//! What of the keys is kept across a restart, what can be looked at, and what must hold.

use super::Keyed;
use super::ask::Ask;
use super::feedback::Feedback;
use super::limits::Owner;
use super::table::Pause;
use super::waiters::ROOM;

/// What an image keeps of a key. Its leases are counted from the messages themselves, its tokens
/// are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// What it is counted under.
    pub owner: Owner,
    /// Which key.
    pub text: Box<str>,
    /// Its starts inside the window, the oldest first.
    pub starts: Vec<u64>,
    /// What consumers said of it.
    pub feedback: Feedback,
    /// The pause by hand.
    pub pause: Option<Pause>,
}

/// A look at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// What it is counted under.
    pub owner: Owner,
    /// Which key.
    pub text: Box<str>,
    /// Messages that are held.
    pub holders: u32,
    /// Lanes that wait.
    pub waiting: u32,
    /// Whole tokens that may be taken; none without a rate.
    pub tokens: Option<u32>,
    /// Starts that are kept.
    pub starts: u32,
    /// Until when it is paused.
    pub paused_until: Option<u64>,
    /// Who paused it by hand.
    pub pause: Option<Pause>,
}

impl Keyed {
    /// Looks at the next `max` keys from `from` on and adds what an image must keep of them; says
    /// where to go on. A key's number doesn't change while it is live.
    pub fn states(&self, from: u32, max: usize, into: &mut Vec<KeyState>) -> Option<u32> {
        self.each(from, max, |key| {
            let rare = self.table.rare(key);
            let starts = self.table.starts(key).map(|starts| starts.iter().collect());
            let state = KeyState {
                owner: self.table.key(key).owner,
                text: self.table.text(key).into(),
                starts: starts.unwrap_or_default(),
                feedback: rare.map_or_else(Feedback::default, |rare| rare.feedback),
                pause: rare.and_then(|rare| rare.pause.as_deref().cloned()),
            };
            let says_something = !state.starts.is_empty()
                || state.pause.is_some()
                || state.feedback != Feedback::default();
            into.extend(Some(state).filter(|_| says_something));
        })
    }

    /// Gives a key what an image kept of it; nobody waits for it yet.
    pub fn restore(&mut self, state: KeyState, now: u64) {
        let now = self.clock(now);
        let key = self.obtain(&mut Ask::new(state.owner, &state.text));
        if let Some(window) = self.limits.get(state.owner).window {
            let starts = self.table.starts_or_new(key);
            for at in state.starts {
                window.record(starts, 1, at);
            }
        }
        if state.pause.is_some() || state.feedback != Feedback::default() {
            let rare = self.table.rare_or_new(key);
            (rare.feedback, rare.pause) = (state.feedback, state.pause.map(Box::new));
        }
        self.settle(key, now, &mut Vec::new());
    }

    /// Looks at the next `max` keys from `from` on; says where to go on.
    pub fn views(&self, from: u32, max: usize, into: &mut Vec<KeyView>) -> Option<u32> {
        self.each(from, max, |key| into.push(self.view_of(key)))
    }

    /// Looks at a key, if it is live.
    pub fn view(&self, ask: &Ask<'_>) -> Option<KeyView> {
        self.find(ask).map(|key| self.view_of(key))
    }

    fn view_of(&self, key: u32) -> KeyView {
        let (entry, rare) = (self.table.key(key), self.table.rare(key));
        let bucket = self.bucket(key, self.latest);
        KeyView {
            owner: entry.owner,
            text: self.table.text(key).into(),
            holders: entry.holders,
            waiting: rare.map_or(0, |rare| rare.waiting),
            tokens: self.limits.get(entry.owner).available(bucket, self.latest),
            // At most 100 000, and as many as a batch has more.
            starts: self.table.starts(key).map_or(0, |starts| starts.len() as u32),
            paused_until: rare.and_then(|rare| rare.paused_until(self.latest)),
            pause: rare.and_then(|rare| rare.pause.as_deref().cloned()),
        }
    }

    fn each(&self, mut from: u32, max: usize, mut look: impl FnMut(u32)) -> Option<u32> {
        for _ in 0..max {
            let key = self.table.next(from)?;
            look(key);
            from = key + 1;
        }
        self.table.next(from)
    }

    /// Panics unless everything holds that must between any two calls. Looks at every key.
    pub fn check(&self) {
        self.table.check();
        let (mut from, mut waiting, mut timers) = (0, self.waiters.count(ROOM), 0);
        while let Some(key) = self.table.next(from) {
            from = key + 1;
            let Some(rare) = self.table.rare(key) else { continue };
            assert_eq!(self.waiters.count(key), rare.waiting as usize, "lanes of a key");
            waiting += rare.waiting as usize;
            timers += usize::from(rare.timer != 0);
            assert!(rare.timer == 0 || self.waiters.has_timer(key, rare.timer), "timer of a key");
            let idle = rare.woken == 0 && self.sweep.is_none();
            if let Some((_, first)) = self.waiters.first(key).filter(|_| idle)
                && rare.timer.wrapping_sub(1) >= self.latest
            {
                let refused = self.judge(key, first.cost, self.latest);
                assert!(refused.is_err(), "a lane waits for what it could have");
                let at = refused.err().and_then(super::Reason::eligible_at);
                assert!(at.is_none_or(|at| at == rare.timer), "the timer is when the time comes");
                let told = self.waiters.last_told(key);
                assert!(at.is_none_or(|at| told <= at), "nobody was told a later time");
            }
        }
        assert_eq!(waiting, self.waiters.len(), "nobody waits for a key that is not there");
        let counted = self.limits.parked_lanes() + self.waiters.count(ROOM);
        assert_eq!(counted, waiting, "lanes are counted under their limits");
        assert_eq!(timers, self.waiters.timers(), "no timer of a key that has none");
        let first = self.waiters.first(ROOM).filter(|_| self.room_woken == 0);
        assert!(first.is_none_or(|(_, first)| first.cost > self.room()), "there is room");
    }

    /// Whether no lane was woken that has not tried since: so it must be at the end of a turn.
    pub fn is_quiet(&self) -> bool {
        let mut from = 0;
        while let Some(key) = self.table.next(from) {
            from = key + 1;
            if self.table.rare(key).is_some_and(|rare| rare.woken != 0) {
                return false;
            }
        }
        self.room_woken == 0
    }
}
