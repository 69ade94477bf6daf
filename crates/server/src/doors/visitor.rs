//! Who the client of a connection is, and whether it may stay.

use sluice_flow::Client as Counted;
use sluice_model::{Client, Code, Principal, Refusal};
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Ended, Link, Notice, Notices, Peer, Shared, until};
use crate::admission::client_of;
use crate::auth::KeyHash;
use crate::places::PlaceBy;

/// On what ground a client is served.
#[derive(Clone, Copy)]
enum LetIn {
    /// None yet: its key is still to come.
    NotYet,
    /// No keys were configured.
    Anyone,
    /// It has shown this key.
    Shown(KeyHash),
}

/// The client of a connection.
pub(crate) struct Visitor {
    pub(crate) peer: Peer,
    pub(crate) principal: Principal,
    let_in: LetIn,
    /// How many times the keys had been replaced when that was decided.
    keys_seen: u64,
    _place: Option<PlaceBy<Principal>>,
}

impl Visitor {
    pub(crate) fn new(peer: Peer, shared: &Shared, notice: Notice) -> Self {
        let let_in = if shared.keys().is_open() { LetIn::Anyone } else { LetIn::NotYet };
        let (principal, keys_seen) = (Principal::Anonymous, notice.keys);
        Self { peer, principal, let_in, keys_seen, _place: None }
    }

    /// Whether everyone is let in.
    pub(crate) fn is_anyone(&self) -> bool {
        matches!(self.let_in, LetIn::Anyone)
    }

    /// As the broker knows it.
    pub(crate) fn client(&self) -> Client {
        Client { principal: self.principal.clone(), peer: self.peer.ip }
    }

    /// As limits count it.
    pub(crate) fn counted(&self) -> Counted {
        client_of(&self.principal, self.peer.ip)
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
        self._place = Some(place);
        self.principal = principal;
        self.let_in = LetIn::Shown(key);
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
        let (connection, principal) = (self.peer.connection, self.principal.as_str());
        info!(connection, principal, "the key no longer counts or covers less, closing");
        false
    }

    fn is_known(&mut self, notice: Notice, shared: &Shared) -> bool {
        if self.keys_seen == notice.keys {
            return true;
        }
        self.keys_seen = notice.keys;
        let keys = shared.keys();
        match self.let_in {
            LetIn::NotYet => true,
            LetIn::Anyone => keys.is_open(),
            LetIn::Shown(key) => keys.find(key).as_ref() == Some(&self.principal),
        }
    }
}
