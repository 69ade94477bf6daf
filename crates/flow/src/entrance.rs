//! The limits that a request meets at the entrance: that of its client, and that of all together.
//!
//! ```text
//! ask --both allow--> Go
//!     --over a limit, no wait or too much waits--> Limited     nothing is charged
//!     --the client's tells a time--> Wait --then--> ask_global --> Go, Wait, Limited
//!     --the global one tells a time--> Wait --> go
//! ```
//!
//! A batch counts as its items. A request that waits for its client's turn meets the global limit
//! only then, so it keeps no place there that others could use. What one limit charged is given
//! back when the other refuses.

use crate::clients::{Client, Clients};
use crate::leaky::{Departure, LeakyLimit};
use crate::rate::RateError;
use crate::token::{Bucket, Charge, Limited};

/// Both limits; each may be absent.
#[derive(Debug, Default)]
pub struct Entrance {
    clients: Option<Clients>,
    global: Option<(LeakyLimit, Bucket)>,
}

/// What is to be done with a request that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It may go on.
    Go,
    /// It may go on at `until`, in microseconds.
    Wait {
        /// The time.
        until: u64,
        /// What the client's limit charged, if the global one must be asked then.
        then: Option<Ahead>,
    },
}

/// A request that waited for its client's turn, with the global limit still ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead(Charge);

impl Entrance {
    /// An entrance with these limits.
    pub fn new(clients: Option<Clients>, global: Option<LeakyLimit>) -> Self {
        Self { clients, global: global.map(|limit| (limit, Bucket::default())) }
    }

    /// Asks both limits for `cost` tokens at `now`, in microseconds.
    ///
    /// # Errors
    /// One of them refuses; nothing is charged.
    pub fn ask(&mut self, client: &Client, cost: u32, now: u64) -> Result<Pass, Limited> {
        let Some(clients) = &mut self.clients else { return self.global(cost, now) };
        let departure = clients.depart(client, cost, now)?;
        if departure.at <= now {
            return self
                .global(cost, now)
                .inspect_err(|_| self.undo(client, departure.charge, now));
        }
        let then = self.global.is_some().then_some(Ahead(departure.charge));
        Ok(Pass::Wait { until: departure.at, then })
    }

    /// The same for one that nobody can make wait: what would have to is refused, until the time at
    /// which it would go.
    ///
    /// # Errors
    /// A limit refuses, or would have it wait; nothing is charged.
    pub fn ask_at_once(&mut self, client: &Client, cost: u32, now: u64) -> Result<(), Limited> {
        let mut charged = None;
        if let Some(clients) = &mut self.clients {
            let Departure { at, charge } = clients.depart(client, cost, now)?;
            if at > now {
                clients.refund(client, charge, now);
                return Err(Limited { eligible_at: at });
            }
            charged = Some(charge);
        }
        let Some((limit, bucket)) = &mut self.global else { return Ok(()) };
        let refused = match limit.depart(bucket, cost, now) {
            Ok(Departure { at, .. }) if at <= now => return Ok(()),
            Ok(Departure { at, charge }) => {
                limit.refund(bucket, charge, now);
                Limited { eligible_at: at }
            }
            Err(limited) => limited,
        };
        if let Some(charge) = charged {
            self.undo(client, charge, now);
        }
        Err(refused)
    }

    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.clients.is_some() || self.global.is_some()
    }

    /// Asks the global limit, when the client's turn has come.
    ///
    /// # Errors
    /// It refuses; the client gets back what it may.
    pub fn ask_global(
        &mut self,
        client: &Client,
        ahead: Ahead,
        cost: u32,
        now: u64,
    ) -> Result<Pass, Limited> {
        self.global(cost, now).inspect_err(|_| self.undo(client, ahead.0, now))
    }

    /// Puts other limits in force at `now`. One that was there keeps its buckets, and those who were
    /// told when to go keep their time; `table` makes the table of clients where there was none.
    ///
    /// # Errors
    /// A burst would take more than 366 days to come back. That limit has not changed then.
    pub fn change(
        &mut self,
        client: Option<LeakyLimit>,
        global: Option<LeakyLimit>,
        table: impl FnOnce(LeakyLimit) -> Clients,
        now: u64,
    ) -> Result<(), RateError> {
        match (&mut self.clients, client) {
            (Some(clients), Some(new)) if clients.limit().differs(&new) => {
                let limit = new.limit();
                clients.change(limit.rate(), limit.burst(), new.waiting(), now)?;
            }
            (Some(_), Some(_)) => {}
            (clients, new) => *clients = new.map(table),
        }
        match (&mut self.global, global) {
            (Some((limit, _)), Some(new)) if !limit.differs(&new) => {}
            (Some((limit, bucket)), Some(new)) => {
                let (rate, burst) = (new.limit().rate(), new.limit().burst());
                limit.change(rate, burst, new.waiting(), now)?.carry_behind_waiting(bucket);
            }
            (global, new) => *global = new.map(|limit| (limit, Bucket::default())),
        }
        Ok(())
    }

    fn global(&mut self, cost: u32, now: u64) -> Result<Pass, Limited> {
        let Some((limit, bucket)) = &mut self.global else { return Ok(Pass::Go) };
        let Departure { at, .. } = limit.depart(bucket, cost, now)?;
        Ok(if at > now { Pass::Wait { until: at, then: None } } else { Pass::Go })
    }

    fn undo(&mut self, client: &Client, charge: Charge, now: u64) {
        if let Some(clients) = &mut self.clients {
            clients.refund(client, charge, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{Rate, TokenLimit, Waiting};

    const SECOND: u64 = 1_000_000;

    /// So many a second.
    fn limit(rate: u64, burst: u32, queue_max: u32) -> LeakyLimit {
        let limit = TokenLimit::new(Rate::per_second(rate).unwrap(), burst).unwrap();
        LeakyLimit::new(limit, Waiting { queue_max, wait_max: 10 * SECOND })
    }

    fn client(last: u8) -> Client {
        Client::address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn without_limits_everything_goes() {
        let mut entrance = Entrance::default();
        assert_eq!(entrance.ask(&client(1), u32::MAX, 0), Ok(Pass::Go));
    }

    #[test]
    fn a_clock_that_goes_back_makes_nobody_wait() {
        let clients = Clients::new(limit(1, 1, 1), 10, (0, 0));
        let mut entrance = Entrance::new(Some(clients), Some(limit(1, 2, 1)));
        assert_eq!(entrance.ask(&client(1), 1, SECOND), Ok(Pass::Go));
        assert_eq!(entrance.ask(&client(2), 1, SECOND - 5), Ok(Pass::Go));
    }

    #[test]
    fn what_the_global_limit_refuses_costs_the_client_nothing() {
        let clients = Clients::new(limit(1, 2, 0), 10, (0, 0));
        let mut entrance = Entrance::new(Some(clients), Some(limit(4, 3, 0)));
        assert_eq!(entrance.ask(&client(1), 2, 0), Ok(Pass::Go));
        assert_eq!(entrance.ask(&client(1), 1, 0), Err(Limited { eligible_at: SECOND }));
        assert_eq!(entrance.ask(&client(2), 1, 0), Ok(Pass::Go));
        assert_eq!(entrance.ask(&client(3), 2, 0), Err(Limited { eligible_at: SECOND / 2 }));
        // Sooner than the client's own limit would bring two tokens.
        assert_eq!(entrance.ask(&client(3), 2, SECOND / 2), Ok(Pass::Go));
    }

    #[test]
    fn a_client_that_waits_keeps_nobody_else_from_going() {
        let clients = Clients::new(limit(1, 1, 2), 10, (0, 0));
        let mut entrance = Entrance::new(Some(clients), Some(limit(1, 2, 1)));
        assert_eq!(entrance.ask(&client(1), 1, 0), Ok(Pass::Go));
        let Ok(Pass::Wait { until: SECOND, then: Some(ahead) }) = entrance.ask(&client(1), 1, 0)
        else {
            panic!("it waits for its client's turn");
        };
        assert_eq!(entrance.ask(&client(2), 1, 0), Ok(Pass::Go));
        let wait = Pass::Wait { until: SECOND, then: None };
        assert_eq!(entrance.ask(&client(3), 1, 0), Ok(wait));
        assert_eq!(entrance.ask(&client(4), 1, 0), Err(Limited { eligible_at: SECOND }));
        let wait = Pass::Wait { until: 2 * SECOND, then: None };
        assert_eq!(entrance.ask_global(&client(1), ahead, 1, SECOND), Ok(wait));
    }

    #[test]
    fn who_can_not_wait_is_refused_and_charged_nothing() {
        let clients = Clients::new(limit(1, 1, 5), 10, (0, 0));
        let mut entrance = Entrance::new(Some(clients), Some(limit(1, 2, 5)));
        assert!(entrance.is_limited() && !Entrance::default().is_limited());
        assert_eq!(Entrance::default().ask_at_once(&client(1), u32::MAX, 0), Ok(()));
        assert_eq!(entrance.ask_at_once(&client(1), 1, 0), Ok(()));
        for _ in 0..3 {
            let refused = entrance.ask_at_once(&client(1), 1, 0);
            assert_eq!(refused, Err(Limited { eligible_at: SECOND }));
        }
        assert_eq!(entrance.ask_at_once(&client(2), 1, 0), Ok(()));
        // Now it is the global limit, and the client's own has its token back.
        for _ in 0..3 {
            let refused = entrance.ask_at_once(&client(3), 1, 0);
            assert_eq!(refused, Err(Limited { eligible_at: SECOND }));
        }
        assert_eq!(entrance.ask_at_once(&client(3), 1, SECOND), Ok(()));
    }

    #[test]
    fn limits_come_change_and_go_and_a_change_hands_out_nothing() {
        let table = |limit| Clients::new(limit, 10, (0, 0));
        let mut entrance = Entrance::default();
        let change = |entrance: &mut Entrance, client, global, now| {
            entrance.change(client, global, table, now).unwrap();
        };
        change(&mut entrance, Some(limit(1, 2, 0)), None, 0);
        assert_eq!(entrance.ask(&client(1), 2, 0), Ok(Pass::Go));
        // The same again, or a greater burst, is no reason to begin with a full bucket.
        change(&mut entrance, Some(limit(1, 2, 0)), Some(limit(10, 1, 0)), 0);
        assert_eq!(entrance.ask(&client(1), 1, 0), Err(Limited { eligible_at: SECOND }));
        change(&mut entrance, Some(limit(2, 9, 0)), Some(limit(10, 1, 0)), 0);
        assert_eq!(entrance.ask(&client(1), 1, 0), Err(Limited { eligible_at: SECOND / 2 }));
        assert_eq!(entrance.ask(&client(2), 1, 0), Ok(Pass::Go));
        // The global one is used up, and stays so when only the other changes.
        change(&mut entrance, None, Some(limit(10, 1, 0)), 0);
        assert_eq!(entrance.ask(&client(3), 1, 0), Err(Limited { eligible_at: SECOND / 10 }));
        change(&mut entrance, None, None, 0);
        assert_eq!(entrance.ask(&client(1), u32::MAX, 0), Ok(Pass::Go));
    }

    #[test]
    fn a_change_of_one_limit_leaves_those_alone_who_wait_for_the_other() {
        let mut entrance = Entrance::new(None, Some(limit(1, 1, 5)));
        assert_eq!(entrance.ask(&client(1), 1, 0), Ok(Pass::Go));
        let wait = |until| Pass::Wait { until, then: None };
        assert_eq!(entrance.ask(&client(1), 1, 0), Ok(wait(SECOND)));
        let table = |limit| Clients::new(limit, 10, (0, 0));
        entrance.change(Some(limit(9, 9, 0)), Some(limit(1, 1, 5)), table, 0).unwrap();
        assert_eq!(entrance.ask(&client(1), 1, 0), Ok(wait(2 * SECOND)));
    }
}
