//! What a backup owes: it holds one moment between the one at which it was asked for and the one
//! at which it was done, and nobody outside knows which.

use std::collections::{BTreeMap, BTreeSet};

use super::{Oracle, Promise, Published};

/// No run of a broker has this number: what was to outlive none is not in a backup.
const NO_RUN: u64 = u64::MAX;

impl Oracle {
    /// What a broker owes that begins with a backup. `self` is what was promised when it was asked
    /// for, `done` when it was done, `now` is all that the old life has promised since.
    pub(crate) fn restored(&self, done: &Self, now: &Self) -> Self {
        let promises = self.promises.iter().zip(&done.promises);
        let published = done.published.iter().map(|(name, published)| {
            let fleeting = published.fleeting.map(|_| NO_RUN);
            (*name, Published { fleeting, ..published.clone() })
        });
        Self {
            promises: promises.map(|(asked, done)| asked.restored(done)).collect(),
            published: published.collect(),
            generations: now.generations.clone(),
            whole: self.whole.clone(),
            copies: BTreeSet::new(),
            newest_copies: BTreeMap::new(),
        }
    }

    /// Whether somebody has handed in a message of this name.
    pub(crate) fn knows(&self, name: super::Name) -> bool {
        self.published.contains_key(&name)
    }

    /// The number of the last start that a lease is known of.
    pub(crate) fn last_start(&self) -> u32 {
        self.generations.last().map_or(0, |last| last.start)
    }

    /// A crash may lose grants, so what came first may come first once more.
    pub(crate) fn forget_order(&mut self) {
        for promise in &mut self.promises {
            promise.newest.clear();
            promise.delivered.clear();
        }
    }
}

impl Promise {
    fn restored(&self, done: &Self) -> Self {
        let mut settling = done.settling.clone();
        for name in done.settled.keys() {
            *settling.entry(*name).or_default() += 1;
        }
        Self { owed: self.owed.clone(), settled: self.settled.clone(), settling, ..Self::default() }
    }
}
