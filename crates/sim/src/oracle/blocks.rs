//! Messages that are stored with others, all or none.

use super::{Name, Oracle, Published};

impl Oracle {
    /// These messages were handed to the broker to be stored all or none.
    pub(crate) fn published_whole(&mut self, names: &[Name]) {
        self.whole.extend(names.iter().map(|name| (*name, names.to_vec())));
    }

    /// One message of a block is there, so all are, wherever they went.
    pub(super) fn owe_whole(&mut self, name: Name) {
        for name in self.whole.remove(&name).unwrap_or_default() {
            let Some(Published { to, fleeting: None }) = self.published.get(&name) else {
                continue;
            };
            to.iter().for_each(|at| {
                self.promises[*at].owed.insert(name);
            });
        }
    }

    /// A message was refused for sure: it never comes.
    pub(crate) fn refused(&mut self, name: Name) -> Result<(), String> {
        self.published.remove(&name);
        let came = self.promises.iter().any(|promise| promise.delivered.contains_key(&name));
        if came || self.copies.iter().any(|(_, copy)| *copy == name) {
            return Err(format!("{name:?} came and was refused"));
        }
        Ok(())
    }
}
