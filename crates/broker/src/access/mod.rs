//! Who may do what: asked in front of the backend, so that no door can let anything by.
//!
//! ```text
//! door --requests--> Session: Guard (needs.rs: command -> action, resource) --> Link of the backend
//!                                '-- grants of its principal, from the Directory in force
//! ```
//!
//! Only a [`crate::Session`] reaches the backend, and a door can't choose its grants: they are
//! those of the client's principal. The directory is replaced as a whole; sessions notice by its
//! version, at their next request and before their next reply.

mod guard;
mod needs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use sluice_model::{Action, Code, Grants, Principal, Refusal, Resource};

pub(crate) use guard::Guard;

/// Everyone who is let in, and what each may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Directory {
    /// Nobody is asked who they are, and all is allowed.
    #[default]
    Open,
    /// Only holders of keys, by the ids of these.
    Keys(BTreeMap<Arc<str>, Arc<Grants>>),
}

/// What a principal may do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Everything.
    Unlimited,
    /// What its grants allow.
    Limited(Arc<Grants>),
    /// Nothing: there is no such principal, or no longer.
    Unknown,
}

impl Directory {
    fn standing(&self, principal: &Principal) -> Standing {
        match (self, principal) {
            (Self::Open, _) => Standing::Unlimited,
            (Self::Keys(_), Principal::Anonymous) => Standing::Unknown,
            (Self::Keys(keys), Principal::Key(id)) => match keys.get(id) {
                Some(grants) if grants.is_all() => Standing::Unlimited,
                Some(grants) => Standing::Limited(Arc::clone(grants)),
                None => Standing::Unknown,
            },
        }
    }
}

/// The one rule.
fn authorize(standing: &Standing, action: Action, resource: Resource<'_>) -> Result<(), Refusal> {
    let allowed = match standing {
        Standing::Unlimited => true,
        Standing::Limited(grants) => grants.allow(action, resource),
        Standing::Unknown => false,
    };
    if allowed {
        return Ok(());
    }
    Err(Refusal::new(Code::Forbidden, format!("not allowed: no grant to {action} there")))
}

/// The directory in force.
#[derive(Debug, Default)]
pub(crate) struct Access {
    directory: Mutex<Arc<Directory>>,
    /// Grows with every replacement, after it.
    version: AtomicU64,
    forbidden: AtomicU64,
    /// The names of limits that only the configuration changes.
    owned: Mutex<Arc<BTreeSet<Box<str>>>>,
    /// There are such, for those who ask often.
    owns: AtomicBool,
}

impl Access {
    pub(crate) fn replace(&self, directory: Directory) {
        *self.directory.lock() = Arc::new(directory);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// From now on only the configuration changes limits of these names.
    pub(crate) fn own_limits(&self, names: BTreeSet<Box<str>>) {
        self.owns.store(!names.is_empty(), Ordering::Release);
        *self.owned.lock() = Arc::new(names);
    }

    /// Why a request may not change limits of a name, if only the configuration may.
    fn owned(&self, name: &str) -> Option<Refusal> {
        let owns = self.owns.load(Ordering::Acquire) && self.owned.lock().contains(name);
        owns.then(|| {
            let text = format!(
                "limit {name} is set by the broker's configuration: change it there and reload it"
            );
            Refusal::new(Code::Conflict, text)
        })
    }

    pub(crate) fn authorize(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Refusal> {
        let outcome = authorize(&self.standing(principal), action, resource);
        if outcome.is_err() {
            self.count_forbidden();
        }
        outcome
    }

    fn standing(&self, principal: &Principal) -> Standing {
        let directory = Arc::clone(&self.directory.lock());
        directory.standing(principal)
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn count_forbidden(&self) {
        self.forbidden.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests refused so far for want of a grant.
    pub(crate) fn forbidden(&self) -> u64 {
        self.forbidden.load(Ordering::Relaxed)
    }
}
