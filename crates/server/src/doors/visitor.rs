//! Who the client of a connection is, and whether it may stay.

use sluice_flow::Client as Counted;
use sluice_model::{Client, Code, Principal, Refusal};
use tokio::time::Instant;
use tracing::{debug, info};

use super::notices::{Notice, Notices};
use super::{Ended, Link, Peer, Shared, until};
use crate::admission::client_of;
use crate::auth::KeyHash;
use crate::places::PlaceBy;

/// On what ground a client is served.
enum LetIn {
    /// None yet: its key is still to come.
    NotYet,
    /// No keys were configured.
    Anyone,
    /// It has shown a key. On the heap: who comes without one needs no room for it.
    Shown(Box<Shown>),
}

/// A key that was shown, whose it is, and the place that its connection takes among those of it.
struct Shown {
    key: KeyHash,
    principal: Principal,
    _place: PlaceBy<Principal>,
}

/// The client of a connection.
pub(crate) struct Visitor {
    pub(crate) peer: Peer,
    let_in: LetIn,
    /// How many times the keys had been replaced when that was decided.
    keys_seen: u64,
}

impl Visitor {
    pub(crate) fn new(peer: Peer, shared: &Shared, notice: Notice) -> Self {
        let let_in = if shared.keys().is_open() { LetIn::Anyone } else { LetIn::NotYet };
        Self { peer, let_in, keys_seen: notice.keys }
    }

    /// Whom it has shown itself to be.
    pub(crate) fn principal(&self) -> &Principal {
        match &self.let_in {
            LetIn::NotYet | LetIn::Anyone => &Principal::Anonymous,
            LetIn::Shown(shown) => &shown.principal,
        }
    }

    /// Whether everyone is let in.
    pub(crate) fn is_anyone(&self) -> bool {
        matches!(self.let_in, LetIn::Anyone)
    }

    /// As the broker knows it.
    pub(crate) fn client(&self) -> Client {
        Client { principal: self.principal().clone(), peer: self.peer.ip }
    }

    /// As limits count it.
    pub(crate) fn counted(&self) -> Counted {
        client_of(self.principal(), self.peer.ip)
    }

    /// What `notice` must differ from to be news.
    pub(crate) const fn keys_seen(&self) -> u64 {
        self.keys_seen
    }

    /// Finds out whose key this is. After many wrong ones from its address that takes a while.
    pub(crate) async fn show(
        &mut self,
        key: KeyHash,
        shared: &Shared,
        notices: &mut Notices,
        ready_by: Option<Instant>,
    ) -> Result<Result<(), Refusal>, Ended> {
        while let Some(blocked_until) =
            shared.failures.blocked_until(self.peer.ip, Instant::now().into_std())
        {
            shared.counters.auth_delays.one();
            let ended = tokio::select! {
                () = until(Some(blocked_until.into())) => continue,
                () = until(ready_by) => {
                    shared.counters.first_frame_timeouts.one();
                    Ended::FirstFrameTimeout
                }
                () = notices.drain() => Ended::Drained { idle: false },
            };
            return Err(ended);
        }
        Ok(self.admit(key, shared))
    }

    fn admit(&mut self, key: KeyHash, shared: &Shared) -> Result<(), Refusal> {
        let Peer { connection, ip, .. } = self.peer;
        let Some(principal) = shared.keys().find(key) else {
            shared.failures.failed(ip, Instant::now().into_std());
            shared.counters.auth_failures.one();
            info!(fault = "client", connection, %ip, "wrong API key");
            return Err(Refusal::new(Code::Unauthenticated, "invalid API key"));
        };
        let Some(place) = shared.principals.take(principal.clone()) else {
            shared.counters.rejected_principal.one();
            let principal = principal.as_str();
            info!(fault = "client", connection, principal, "too many connections with one key");
            return Err(Refusal::new(Code::Overloaded, "too many connections"));
        };
        debug!(principal = principal.as_str(), "authenticated");
        self.let_in = LetIn::Shown(Box::new(Shown { key, principal, _place: place }));
        Ok(())
    }

    /// Whether it may stay: its key still counts, as far as `notice` tells, and covers what it listens
    /// to.
    pub(crate) fn is_welcome(&mut self, notice: Notice, link: &mut Link, shared: &Shared) -> bool {
        let known = self.is_known(notice, shared);
        if known && !link.is_revoked() {
            return true;
        }
        shared.counters.revoked.one();
        let (connection, principal) = (self.peer.connection, self.principal().as_str());
        info!(connection, principal, "the key no longer counts or covers less, closing");
        false
    }

    fn is_known(&mut self, notice: Notice, shared: &Shared) -> bool {
        if self.keys_seen == notice.keys {
            return true;
        }
        self.keys_seen = notice.keys;
        let keys = shared.keys();
        match &self.let_in {
            LetIn::NotYet => true,
            LetIn::Anyone => keys.is_open(),
            LetIn::Shown(shown) => keys.find(shown.key).as_ref() == Some(&shown.principal),
        }
    }
}
