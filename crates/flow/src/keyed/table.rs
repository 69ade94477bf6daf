//! Live keys: those of which something is known that a fresh key would not have.
//!
//! ```text
//! heads: hash -> first key        keys: owner, text, bucket, holders, next of its hash, spoke
//!                                 rare: pauses, feedback, waiting lanes     windows: starts
//! ```
//!
//! A key is 56 bytes, its head 4; what few keys have is kept aside by number. The heads grow and
//! shrink one at a time (Litwin, "Linear Hashing", 1980), so no call moves them all.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::feedback::Feedback;
use super::heads::Heads;
use super::limits::Owner;
use super::slab::Slab;
use super::text::Text;
use super::wheel::{NONE, Spoke, Spoked, Wheel};
use crate::token::Bucket;
use crate::window::Starts;

/// Who paused a key by hand, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// In microseconds; [`crate::NEVER`] for until it is resumed.
    pub until: u64,
    /// Who.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

/// What only few keys have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Lanes that wait for the key.
    pub(super) waiting: u32,
    /// When the first of them is to be woken; 0 for at no time.
    pub(super) timer: u64,
    /// The turn of the one that was woken and has not tried yet; 0 for none.
    pub(super) woken: u64,
    pub(super) feedback: Feedback,
    pub(super) pause: Option<Box<Pause>>,
}

impl Rare {
    /// Until when nothing is handed out, if it is paused.
    pub(super) fn paused_until(&self, now: u64) -> Option<u64> {
        let by_hand = self.pause.as_ref().map_or(0, |pause| pause.until);
        Some(self.feedback.paused_until.max(by_hand)).filter(|until| now < *until)
    }

    /// Until when the key is kept for this.
    fn kept_until(&self) -> u64 {
        let by_hand = self.pause.as_ref().map_or(0, |pause| pause.until);
        self.feedback.kept_until.max(self.feedback.paused_until).max(by_hand)
    }
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) bucket: Bucket,
    text: Text,
    /// Which changes of its limit it has followed.
    pub(super) changes: u8,
    pub(super) owner: Owner,
    pub(super) holders: u32,
    next: u32,
    spoke: Spoke,
    rare: u32,
    starts: u32,
}

impl Default for Key {
    fn default() -> Self {
        Self {
            bucket: Bucket::default(),
            text: Text::default(),
            changes: 0,
            owner: Owner::default(),
            holders: 0,
            next: NONE,
            spoke: Spoke::default(),
            rare: NONE,
            starts: NONE,
        }
    }
}

impl Key {
    /// Whether something is kept aside of what few keys have: somebody waits, or it is paused.
    pub(super) fn has_rare(&self) -> bool {
        self.rare != NONE
    }

    /// Whether nothing is kept aside of it.
    pub(super) fn is_plain(&self) -> bool {
        self.rare == NONE && self.starts == NONE
    }

    /// Whether it is listed to be looked at.
    pub(super) fn is_listed(&self) -> bool {
        self.spoke.is_in()
    }
}

impl Spoked for Key {
    fn spoke(&mut self) -> &mut Spoke {
        &mut self.spoke
    }
}

#[derive(Debug)]
pub(super) struct Table {
    keys: Slab<Key>,
    heads: Heads,
    long: Slab<Box<str>>,
    rare: Slab<Rare>,
    windows: Slab<Starts>,
    wheel: Wheel,
    seed: (u64, u64),
}

impl Table {
    pub(super) fn new(seed: (u64, u64)) -> Self {
        Self {
            keys: Slab::default(),
            heads: Heads::default(),
            long: Slab::default(),
            rare: Slab::default(),
            windows: Slab::default(),
            wheel: Wheel::default(),
            seed,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key(&self, key: u32) -> &Key {
        &self.keys[key]
    }

    pub(super) fn key_mut(&mut self, key: u32) -> &mut Key {
        &mut self.keys[key]
    }

    pub(super) fn next(&self, from: u32) -> Option<u32> {
        self.keys.next(from)
    }

    pub(super) fn text(&self, key: u32) -> &str {
        self.keys[key].text.as_str(&self.long)
    }

    pub(super) fn rare(&self, key: u32) -> Option<&Rare> {
        let number = self.keys[key].rare;
        (number != NONE).then(|| &self.rare[number])
    }

    pub(super) fn rare_mut(&mut self, key: u32) -> Option<&mut Rare> {
        let number = self.keys[key].rare;
        (number != NONE).then(|| &mut self.rare[number])
    }

    pub(super) fn rare_or_new(&mut self, key: u32) -> &mut Rare {
        let key = &mut self.keys[key];
        if key.rare == NONE {
            key.rare = self.rare.insert(Rare::default());
        }
        &mut self.rare[key.rare]
    }

    pub(super) fn starts(&self, key: u32) -> Option<&Starts> {
        let number = self.keys[key].starts;
        (number != NONE).then(|| &self.windows[number])
    }

    pub(super) fn starts_mut(&mut self, key: u32) -> Option<&mut Starts> {
        let number = self.keys[key].starts;
        (number != NONE).then(|| &mut self.windows[number])
    }

    pub(super) fn starts_or_new(&mut self, key: u32) -> &mut Starts {
        let key = &mut self.keys[key];
        if key.starts == NONE {
            key.starts = self.windows.insert(Starts::default());
        }
        &mut self.windows[key.starts]
    }

    /// Lets go of what is kept aside and says nothing any more.
    pub(super) fn tidy(&mut self, key: u32, now: u64) {
        let entry = &mut self.keys[key];
        if entry.starts != NONE && self.windows[entry.starts].is_empty() {
            self.windows.remove(std::mem::replace(&mut entry.starts, NONE));
        }
        if entry.rare != NONE {
            let rare = &self.rare[entry.rare];
            if rare.waiting == 0 && rare.kept_until() <= now {
                self.rare.remove(std::mem::replace(&mut entry.rare, NONE));
            }
        }
    }

    /// From when on nothing is known of the key any more, as far as that depends on time; none
    /// while it is held or waited for.
    pub(super) fn idle_at(&self, key: u32, full_at: u64, window: u64) -> Option<u64> {
        let entry = &self.keys[key];
        let rare = self.rare(key);
        if entry.holders > 0 || rare.is_some_and(|rare| rare.waiting > 0) {
            return None;
        }
        let left_at = self.starts(key).and_then(Starts::newest);
        let left_at = left_at.map_or(0, |start| start.saturating_add(window).saturating_add(1));
        let idle_at = full_at.max(left_at).max(rare.map_or(0, Rare::kept_until));
        // A pause that has no end is over when somebody says so.
        Some(idle_at).filter(|at| *at != crate::NEVER)
    }

    /// Has the key looked at when `due` has come, or earlier if that was said before.
    pub(super) fn look_at(&mut self, key: u32, due: u64) {
        if !self.keys[key].spoke.is_in() {
            self.wheel.put(key, due, &mut self.keys);
        }
    }

    /// Forgets when the key was to be looked at: it may be earlier by now.
    pub(super) fn look_anew(&mut self, key: u32) {
        if self.keys[key].spoke.is_in() {
            self.wheel.take(key, &mut self.keys);
        }
    }

    /// A key that is to be looked at.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<u32> {
        self.wheel.pop(now, &mut self.keys)
    }

    /// When a key is to be looked at next.
    pub(super) fn next_look(&self) -> Option<u64> {
        self.wheel.next_at()
    }

    fn hash(&self, owner: Owner, text: &str) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write_u32(owner.number());
        hasher.write(text.as_bytes());
        hasher.finish() as u32
    }

    /// The head for a hash: the heads up to the last power of two, and as many of the next as
    /// there are yet.
    fn head(&self, hash: u32) -> usize {
        let above = self.heads.len().next_power_of_two();
        let head = hash as usize & (above - 1);
        if head < self.heads.len() { head } else { head - above / 2 }
    }

    pub(super) fn is(&self, key: u32, owner: Owner, text: &str) -> bool {
        let found = self.keys.get(key);
        found.is_some_and(|key| key.owner == owner && key.text.is(text, &self.long))
    }

    pub(super) fn find(&self, owner: Owner, text: &str) -> Option<u32> {
        self.find_hashed(self.hash(owner, text), owner, text)
    }

    fn find_hashed(&self, hash: u32, owner: Owner, text: &str) -> Option<u32> {
        if self.heads.is_empty() {
            return None;
        }
        let mut at = self.heads[self.head(hash)];
        while at != NONE {
            let key = &self.keys[at];
            if key.owner == owner && key.text.is(text, &self.long) {
                return Some(at);
            }
            at = key.next;
        }
        None
    }

    /// Finds a key, or adds it. Only then `changes` is asked, for those of its limit that it follows
    /// from.
    pub(super) fn obtain(&mut self, owner: Owner, text: &str, changes: impl FnOnce() -> u8) -> u32 {
        let hash = self.hash(owner, text);
        if let Some(key) = self.find_hashed(hash, owner, text) {
            return key;
        }
        if self.heads.len() <= self.keys.len() {
            self.add_head();
        }
        let (head, changes) = (self.head(hash), changes());
        let text = Text::new(text, &mut self.long);
        let next = self.heads[head];
        let key = self.keys.insert(Key { owner, text, changes, next, ..Key::default() });
        self.heads[head] = key;
        key
    }

    pub(super) fn remove(&mut self, key: u32) {
        self.look_anew(key);
        let head = self.head(self.hash(self.keys[key].owner, self.text(key)));
        self.unlink(head, key);
        let Key { text, rare, starts, .. } = self.keys.remove(key);
        text.forget(&mut self.long);
        if rare != NONE {
            self.rare.remove(rare);
        }
        if starts != NONE {
            self.windows.remove(starts);
        }
        // Some more than there are keys, so that a key that comes and goes moves no head each time.
        if self.heads.len() > self.keys.len() + self.keys.len() / 8 + 8 || self.keys.len() == 0 {
            self.remove_head();
        }
    }

    fn unlink(&mut self, head: usize, key: u32) {
        let next = self.keys[key].next;
        if self.heads[head] == key {
            self.heads[head] = next;
            return;
        }
        let mut at = self.heads[head];
        while self.keys[at].next != key {
            at = self.keys[at].next;
        }
        self.keys[at].next = next;
    }

    /// One more head, and the keys that belong to it, which are all at one other head.
    fn add_head(&mut self) {
        let new = self.heads.len();
        self.heads.push();
        if new == 0 {
            return;
        }
        let old = new - (new + 1).next_power_of_two() / 2;
        let mut at = std::mem::replace(&mut self.heads[old], NONE);
        while at != NONE {
            let head = self.head(self.hash(self.keys[at].owner, self.text(at)));
            let next = std::mem::replace(&mut self.keys[at].next, self.heads[head]);
            self.heads[head] = at;
            at = next;
        }
    }

    /// One head less; without keys, none.
    fn remove_head(&mut self) {
        if self.keys.len() == 0 {
            self.heads.clear();
            return;
        }
        let Some(mut at) = self.heads.pop() else { return };
        let gone = self.heads.len();
        let old = gone - (gone + 1).next_power_of_two() / 2;
        while at != NONE {
            let next = std::mem::replace(&mut self.keys[at].next, self.heads[old]);
            self.heads[old] = at;
            at = next;
        }
    }

    /// What must hold between any two calls.
    pub(super) fn check(&self) {
        let (mut from, mut count) = (0, 0);
        while let Some(key) = self.keys.next(from) {
            assert_eq!(self.find(self.keys[key].owner, self.text(key)), Some(key));
            (from, count) = (key + 1, count + 1);
        }
        assert_eq!(count, self.keys.len());
        assert!(self.heads.len() >= count || count == 0, "a head for each key");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_56_bytes() {
        assert_eq!(size_of::<Key>(), 56);
        assert!(size_of::<Rare>() <= 64, "{}", size_of::<Rare>());
    }

    proptest! {
        #[test]
        fn keys_are_found_until_they_are_removed(
            steps in prop::collection::vec((0u8..5, 0u32..400), 0..900), seed in any::<u64>(),
        ) {
            let (mut table, mut model) = (Table::new((seed, 1)), BTreeMap::new());
            for (step, number) in steps {
                let (owner, text) = (Owner::queue(number % 3), format!("stripe:customer-{}", number * 7));
                let found = table.find(owner, &text);
                prop_assert_eq!(found, model.get(&(owner, text.clone())).copied());
                match (step, found) {
                    (0..3, None) => { model.insert((owner, text.clone()), table.obtain(owner, &text, || 0)); }
                    (3.., Some(key)) => {
                        prop_assert!(table.is(key, owner, &text));
                        table.remove(key);
                        model.remove(&(owner, text));
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            table.check();
            for (_, key) in model {
                table.remove(key);
            }
            prop_assert!(table.heads.is_empty() && table.long.len() == 0);
        }
    }
}
