//! The house that the session of a connection is in.

use std::time::Instant;

use sluice_flow::Pass;
use sluice_model::{Action, Code, Principal, Refusal, Resource};
use tracing::info;

use super::host::{Figures, Host};
use crate::config::is_loopback;
use crate::doors::{Shared, Visitor};

/// What a connection lets its session ask for.
pub(super) struct House<'a> {
    pub(super) shared: &'a Shared,
    pub(super) visitor: &'a Visitor,
    /// How long the limits delay the request that was asked for last.
    pub(super) delay: Option<Pass>,
}

impl House<'_> {
    fn may(&self, action: Action) -> Result<(), Refusal> {
        self.shared.broker.authorize(self.visitor.principal(), action, Resource::Broker)
    }
}

impl Host for House<'_> {
    fn admit(&mut self) -> Result<bool, Refusal> {
        let Shared { intake, counters, .. } = self.shared;
        // Neither the time nor whose request it is need be known then.
        if !intake.is_limited() {
            return Ok(true);
        }
        let pass = intake.ask(&self.visitor.counted(), Instant::now(), counters)?;
        if pass == Pass::Go {
            return Ok(true);
        }
        counters.rate_delayed.one();
        self.delay = Some(pass);
        Ok(false)
    }

    fn shut_down(&mut self) -> Result<(), Refusal> {
        let (peer, principal) = (self.visitor.peer, self.visitor.principal());
        let allowed = match principal {
            Principal::Anonymous => self.visitor.is_anyone() && is_loopback(peer.ip),
            Principal::Key(_) => self.may(Action::Admin).is_ok(),
        };
        let (connection, ip, principal) = (peer.connection, peer.ip, principal.as_str());
        if !allowed {
            info!(fault = "client", connection, %ip, principal, "SHUTDOWN refused");
            return Err(Refusal::new(Code::Forbidden, "not allowed"));
        }
        info!(connection, %ip, principal, "SHUTDOWN by a client");
        self.shared.stop_asked.notify_one();
        Ok(())
    }

    fn figures(&mut self) -> Result<Figures, Refusal> {
        self.may(Action::Observe)?;
        let Shared { broker, begun, counters, .. } = self.shared;
        let (stats, doors) = (broker.stats(), counters.snapshot());
        Ok(Figures {
            uptime_sec: begun.uptime().as_secs(),
            connections: stats.sessions,
            lines: doors.lines,
            published: stats.published,
            acked: stats.acked,
        })
    }
}
