//! Lets a client in by its key, and notices when the key no longer counts.

use sluice_model::{Code, Refusal};
use tokio::time::Instant;
use tracing::{debug, info};

use super::{Connection, Io, LetIn};
use crate::auth::KeyHash;
use crate::doors::{Ended, Notice, Peer, until};

impl Connection<'_> {
    /// Finds out whose key this is. After many wrong ones from its address that takes a while.
    pub(super) async fn authenticate(&mut self, key: KeyHash) -> Option<Ended> {
        let shared = self.shared;
        while let Some(blocked_until) =
            shared.failures.blocked_until(self.peer.ip, Instant::now().into_std())
        {
            shared.counters.auth_delays.one();
            let ended = tokio::select! {
                () = until(Some(blocked_until.into())) => None,
                () = until(self.ready_by) => Some(Ended::FirstFrameTimeout),
                () = self.notices.drain() => Some(Ended::Drained { idle: false }),
            };
            if let Some(ended) = ended {
                let late = ended == Ended::FirstFrameTimeout;
                shared.counters.first_frame_timeouts.add(u64::from(late));
                return Some(ended);
            }
        }
        let answer = self.admit(key);
        let mut io = Io::new(&mut self.requests, &mut self.wire.output);
        self.door.authenticated(answer, &mut io);
        None
    }

    fn admit(&mut self, key: KeyHash) -> Result<(), Refusal> {
        let Some(principal) = self.shared.keys().find(key) else {
            self.shared.failures.failed(self.peer.ip, Instant::now().into_std());
            self.shared.counters.auth_failures.one();
            let Peer { connection, ip, .. } = self.peer;
            info!(connection, %ip, "wrong API key");
            return Err(Refusal::new(Code::Unauthenticated, "invalid API key"));
        };
        let Some(place) = self.shared.principals.take(principal.clone()) else {
            self.shared.counters.rejected_principal.one();
            let (connection, principal) = (self.peer.connection, principal.as_str());
            info!(connection, principal, "too many connections with one key");
            return Err(Refusal::new(Code::Overloaded, "too many connections"));
        };
        debug!(principal = principal.as_str(), "authenticated");
        self.place = Some(place);
        self.principal = principal;
        self.let_in = LetIn::Shown(key);
        Ok(())
    }

    /// Whether the client may stay: its key still counts, and covers what it listens to.
    pub(super) fn is_welcome(&mut self, notice: Notice) -> bool {
        let known = self.keys_seen == notice.keys || {
            self.keys_seen = notice.keys;
            let keys = self.shared.keys();
            match self.let_in {
                LetIn::NotYet => true,
                LetIn::Anyone => keys.is_open(),
                LetIn::Shown(key) => keys.find(key).as_ref() == Some(&self.principal),
            }
        };
        let revoked = self.link.session.as_mut().is_some_and(|session| session.is_revoked());
        if known && !revoked {
            return true;
        }
        self.shared.counters.revoked.one();
        let (connection, principal) = (self.peer.connection, self.principal.as_str());
        info!(connection, principal, "the key no longer counts or covers less, closing");
        false
    }
}
