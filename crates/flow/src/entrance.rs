//! The limits that a request meets at the entrance: those of its client, then those of all together.
//!
//! ```text
//! ask --all allow--> Go
//!     --over a limit, no wait or too much waits--> Limited     nothing is charged
//!     --one tells a time--> Wait --then, if others are ahead--> go_on --> Go, Wait, Limited
//! ```
//!
//! A batch counts as its items. A request that waits for its turn meets the limits behind that one
//! only then, so it keeps no place there that others could use. What some limits charged is given
//! back when another refuses.

use crate::clients::{Client, Clients};
use crate::leaky::{Departure, LeakyLimit};
use crate::rate::RateError;
use crate::token::{Bucket, Charge, Limited};

/// A limit of requests.
#[derive(Clone, Debug)]
pub struct EntranceLimit {
    /// What it is called; others may be called so too, of the other kind.
    pub name: Box<str>,
    /// Each client has its own; otherwise it is that of all together.
    pub each_client: bool,
    /// What it allows.
    pub limit: LeakyLimit,
}

/// How often a limit of requests refused one, or made it wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntranceFigures {
    /// What it is called.
    pub name: Box<str>,
    /// It is that of each client.
    pub each_client: bool,
    /// Requests that it refused.
    pub refused: u64,
    /// Requests that it made wait.
    pub delayed: u64,
}

/// Any number of limits, all of which must allow a request.
#[derive(Debug, Default)]
pub struct Entrance {
    /// Those of clients first.
    stages: Vec<Stage>,
    last_no: u64,
}

/// A limit with what it counts.
#[derive(Debug)]
struct Stage {
    /// Never given twice, so that who waits knows which limits it has passed.
    no: u64,
    figures: EntranceFigures,
    counts: Counts,
}

#[derive(Debug)]
enum Counts {
    Clients(Clients),
    All(LeakyLimit, Bucket),
}

/// What is to be done with a request that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It may go on.
    Go,
    /// It may go on at `until`, in microseconds.
    Wait {
        /// The time.
        until: u64,
        /// What was charged so far, if other limits must be asked then.
        then: Option<Ahead>,
    },
}

/// A request that waited for one limit, with others still ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead(Vec<(u64, Charge)>);

impl Stage {
    fn depart(&mut self, client: &Client, cost: u32, now: u64) -> Result<Departure, Limited> {
        let departed = match &mut self.counts {
            Counts::Clients(clients) => clients.depart(client, cost, now),
            Counts::All(limit, bucket) => limit.depart(bucket, cost, now),
        };
        self.figures.refused += u64::from(departed.is_err());
        departed
    }

    fn refund(&mut self, client: &Client, charge: Charge, now: u64) {
        match &mut self.counts {
            Counts::Clients(clients) => clients.refund(client, charge, now),
            Counts::All(limit, bucket) => limit.refund(bucket, charge, now),
        }
    }

    fn limit(&self) -> &LeakyLimit {
        match &self.counts {
            Counts::Clients(clients) => clients.limit(),
            Counts::All(limit, _) => limit,
        }
    }

    /// Puts another limit in force; those who were told when to go keep their time.
    fn change(&mut self, new: &LeakyLimit, now: u64) -> Result<(), RateError> {
        if !self.limit().differs(new) {
            return Ok(());
        }
        let (rate, burst) = (new.limit().rate(), new.limit().burst());
        match &mut self.counts {
            Counts::Clients(clients) => clients.change(rate, burst, new.waiting(), now),
            Counts::All(limit, bucket) => {
                limit.change(rate, burst, new.waiting(), now)?.carry_behind_waiting(bucket);
                Ok(())
            }
        }
    }

    fn is(&self, limit: &EntranceLimit) -> bool {
        (&self.figures.name, self.figures.each_client) == (&limit.name, limit.each_client)
    }
}

impl Entrance {
    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        !self.stages.is_empty()
    }

    /// How often each limit refused a request, or made it wait, since it is there.
    pub fn figures(&self) -> impl Iterator<Item = &EntranceFigures> {
        self.stages.iter().map(|stage| &stage.figures)
    }

    /// Asks all limits for `cost` tokens at `now`, in microseconds.
    ///
    /// # Errors
    /// One of them refuses; nothing is charged.
    pub fn ask(&mut self, client: &Client, cost: u32, now: u64) -> Result<Pass, Limited> {
        self.go_on(client, Ahead::default(), cost, now)
    }

    /// Asks the limits that were ahead, when the turn has come that was waited for.
    ///
    /// # Errors
    /// One of them refuses; the client gets back what it may.
    pub fn go_on(
        &mut self,
        client: &Client,
        mut ahead: Ahead,
        cost: u32,
        now: u64,
    ) -> Result<Pass, Limited> {
        for at in 0..self.stages.len() {
            let stage = &mut self.stages[at];
            if ahead.0.iter().any(|(no, _)| *no == stage.no) {
                continue;
            }
            match stage.depart(client, cost, now) {
                Err(limited) => {
                    self.undo(client, &ahead, now);
                    return Err(limited);
                }
                Ok(Departure { at: until, charge }) => {
                    ahead.0.push((stage.no, charge));
                    if until > now {
                        stage.figures.delayed += 1;
                        let then = (at + 1 < self.stages.len()).then_some(ahead);
                        return Ok(Pass::Wait { until, then });
                    }
                }
            }
        }
        Ok(Pass::Go)
    }

    /// The same for one that nobody can make wait: what would have to is refused, until the time at
    /// which it would go.
    ///
    /// # Errors
    /// A limit refuses, or would have it wait; nothing is charged.
    pub fn ask_at_once(&mut self, client: &Client, cost: u32, now: u64) -> Result<(), Limited> {
        let mut ahead = Ahead::default();
        for stage in &mut self.stages {
            let refused = match stage.depart(client, cost, now) {
                Ok(Departure { at, charge }) if at <= now => {
                    ahead.0.push((stage.no, charge));
                    continue;
                }
                Ok(Departure { at, charge }) => {
                    stage.refund(client, charge, now);
                    stage.figures.refused += 1;
                    Limited { eligible_at: at }
                }
                Err(limited) => limited,
            };
            self.undo(client, &ahead, now);
            return Err(refused);
        }
        Ok(())
    }

    /// Puts other limits in force at `now`. One that was there, by name and kind, keeps its buckets,
    /// and those who were told when to go keep their time; `table` makes the table of clients of one
    /// that is new.
    ///
    /// # Errors
    /// A burst would take more than 366 days to come back. That limit has not changed then.
    pub fn change(
        &mut self,
        limits: Vec<EntranceLimit>,
        table: impl Fn(LeakyLimit) -> Clients,
        now: u64,
    ) -> Result<(), RateError> {
        self.stages.retain(|stage| limits.iter().any(|limit| stage.is(limit)));
        let mut changed = Ok(());
        for limit in limits {
            match self.stages.iter_mut().find(|stage| stage.is(&limit)) {
                Some(stage) => changed = changed.and(stage.change(&limit.limit, now)),
                None => self.add(limit, &table),
            }
        }
        self.stages.sort_by(|one, other| {
            let rank = |stage: &Stage| (!stage.figures.each_client, stage.figures.name.clone());
            rank(one).cmp(&rank(other))
        });
        changed
    }

    fn add(&mut self, limit: EntranceLimit, table: impl Fn(LeakyLimit) -> Clients) {
        let EntranceLimit { name, each_client, limit } = limit;
        self.last_no += 1;
        let counts = match each_client {
            true => Counts::Clients(table(limit)),
            false => Counts::All(limit, Bucket::default()),
        };
        let figures = EntranceFigures { name, each_client, refused: 0, delayed: 0 };
        self.stages.push(Stage { no: self.last_no, figures, counts });
    }

    fn undo(&mut self, client: &Client, ahead: &Ahead, now: u64) {
        for stage in &mut self.stages {
            if let Some((_, charge)) = ahead.0.iter().find(|(no, _)| *no == stage.no) {
                stage.refund(client, *charge, now);
            }
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

    /// An entrance with a limit of clients, and one of all.
    fn entrance(clients: Option<LeakyLimit>, global: Option<LeakyLimit>) -> Entrance {
        let mut entrance = Entrance::default();
        change(&mut entrance, clients, global, 0);
        entrance
    }

    fn change(
        entrance: &mut Entrance,
        clients: Option<LeakyLimit>,
        global: Option<LeakyLimit>,
        now: u64,
    ) {
        let named =
            |each_client| move |limit| EntranceLimit { name: "a".into(), each_client, limit };
        let limits = clients.map(named(true)).into_iter().chain(global.map(named(false)));
        let table = |limit| Clients::new(limit, 10, (0, 0));
        entrance.change(limits.collect(), table, now).unwrap();
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
        let mut entrance = entrance(Some(limit(1, 1, 1)), Some(limit(1, 2, 1)));
        assert_eq!(entrance.ask(&client(1), 1, SECOND), Ok(Pass::Go));
        assert_eq!(entrance.ask(&client(2), 1, SECOND - 5), Ok(Pass::Go));
    }

    #[test]
    fn what_the_global_limit_refuses_costs_the_client_nothing() {
        let mut entrance = entrance(Some(limit(1, 2, 0)), Some(limit(4, 3, 0)));
        assert_eq!(entrance.ask(&client(1), 2, 0), Ok(Pass::Go));
        assert_eq!(entrance.ask(&client(1), 1, 0), Err(Limited { eligible_at: SECOND }));
        assert_eq!(entrance.ask(&client(2), 1, 0), Ok(Pass::Go));
        assert_eq!(entrance.ask(&client(3), 2, 0), Err(Limited { eligible_at: SECOND / 2 }));
        // Sooner than the client's own limit would bring two tokens.
        assert_eq!(entrance.ask(&client(3), 2, SECOND / 2), Ok(Pass::Go));
    }

    #[test]
    fn a_client_that_waits_keeps_nobody_else_from_going() {
        let mut entrance = entrance(Some(limit(1, 1, 2)), Some(limit(1, 2, 1)));
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
        assert_eq!(entrance.go_on(&client(1), ahead, 1, SECOND), Ok(wait));
    }

    #[test]
    fn who_can_not_wait_is_refused_and_charged_nothing() {
        let mut entrance = entrance(Some(limit(1, 1, 5)), Some(limit(1, 2, 5)));
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
        let mut entrance = Entrance::default();
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
        let mut entrance = entrance(None, Some(limit(1, 1, 5)));
        assert_eq!(entrance.ask(&client(1), 1, 0), Ok(Pass::Go));
        let wait = |until| Pass::Wait { until, then: None };
        assert_eq!(entrance.ask(&client(1), 1, 0), Ok(wait(SECOND)));
        change(&mut entrance, Some(limit(9, 9, 0)), Some(limit(1, 1, 5)), 0);
        assert_eq!(entrance.ask(&client(1), 1, 0), Ok(wait(2 * SECOND)));
    }

    #[test]
    fn many_limits_are_asked_together_and_counted_each_by_itself() {
        let named = |name: &str, each_client, limit| EntranceLimit {
            name: name.into(),
            each_client,
            limit,
        };
        let table = |limit| Clients::new(limit, 10, (0, 0));
        let mut entrance = Entrance::default();
        let limits = vec![
            named("all", false, limit(9, 2, 0)),
            named("fast", true, limit(9, 2, 0)),
            named("slow", true, limit(1, 3, 1)),
        ];
        entrance.change(limits.clone(), table, 0).unwrap();
        assert_eq!(entrance.ask(&client(1), 2, 0), Ok(Pass::Go));
        // What the first ones would take is not taken where the last refuses.
        for _ in 0..3 {
            assert!(entrance.ask(&client(2), 1, 0).is_err());
        }
        assert_eq!(entrance.ask(&client(2), 2, SECOND), Ok(Pass::Go));
        let later = 2 * SECOND;
        let Ok(Pass::Wait { until, then: Some(ahead) }) = entrance.ask(&client(2), 3, later) else {
            panic!("the slow one has it wait, with that of all ahead");
        };
        // Those that it has passed, and one that is new, are told apart.
        let mut more = limits;
        more.push(named("new", false, limit(1, 1, 0)));
        entrance.change(more, table, later).unwrap();
        assert_eq!(entrance.ask(&client(3), 1, until), Ok(Pass::Go));
        let refused = entrance.go_on(&client(2), ahead.clone(), 3, until);
        assert!(refused.is_err(), "{refused:?}");
        let figures: Vec<_> =
            entrance.figures().map(|f| (&*f.name, f.refused, f.delayed)).collect();
        let expected = [("fast", 0, 0), ("slow", 0, 1), ("all", 4, 0), ("new", 0, 0)];
        assert_eq!(figures, expected);
        entrance.change(vec![], table, until).unwrap();
        assert_eq!(entrance.go_on(&client(2), ahead, 3, until), Ok(Pass::Go));
    }
}
