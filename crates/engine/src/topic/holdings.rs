//! How many subscriptions each owner has, so that one key can't use up the room of all.

use std::collections::BTreeMap;

use super::Owner;

/// How many subscriptions each owner has. Anonymous ones are not told apart well enough to be
/// counted: where nobody shows a key, only the bound on all subscriptions is left.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    by_owner: BTreeMap<Owner, usize>,
}

impl Holdings {
    pub(crate) fn add(&mut self, owner: &Owner) {
        if !owner.is_key() {
            return;
        }
        match self.by_owner.get_mut(owner) {
            Some(count) => *count += 1,
            None => {
                self.by_owner.insert(owner.clone(), 1);
            }
        }
    }

    pub(crate) fn remove(&mut self, owner: &Owner) {
        let Some(count) = self.by_owner.get_mut(owner) else { return };
        *count -= 1;
        if *count == 0 {
            self.by_owner.remove(owner);
        }
    }

    pub(crate) fn of(&self, owner: &Owner) -> usize {
        self.by_owner.get(owner).copied().unwrap_or_default()
    }
}
