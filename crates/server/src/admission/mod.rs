//! Admission: which requests may begin, which wait, and which are refused.
//!
//! Two questions, in this order, before the body of a request is read. [`Gate::pass`] asks the
//! limits of clients and of all together, [`Admission::enter`] for a place among the workers.
//! Whatever settles a delivery, health, metrics and admin ask neither. [`Intake`] asks both.
//!
//! ```text
//! request --Gate::pass--> Admission::enter --> handler --> answer
//!              |               |                  '-- park: long poll, stream -- resume
//!             429             503                          |
//!                                                         503
//! ```
//!
//! Both are safe to cancel: a future that is dropped gives back the place it had or waited for,
//! and a place that was on its way to it goes on to the next. A [`Permit`] gives its place back when
//! it is dropped, a [`ParkedPermit`] too.
//!
//! ```
//! # use std::time::{Duration, Instant};
//! # use sluice_flow::{Client, RoomLimits};
//! # use sluice_server::{Admission, Gate};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let gate = Gate::open(10_000, Instant::now());
//! let admission = Admission::new(RoomLimits::default());
//!
//! let client = Client::address("192.0.2.1".parse().unwrap());
//! if let Err(limited) = gate.pass(&client, 1).await {
//!     // 429, with `limited.retry_after`.
//! }
//! let permit = match admission.enter() {
//!     Ok(entering) => entering.await,
//!     Err(_full) => return, // 503 and `Connection: close`, at once.
//! };
//! // A long poll finds nothing and waits for a message:
//! let parked = match permit.park() {
//!     Ok(parked) => parked,
//!     Err(_permit) => return, // 503; the permit is good for writing that.
//! };
//! tokio::task::yield_now().await;
//! let permit = parked.resume().await;
//! drop(permit); // The answer is written.
//! # }
//! ```

mod config;
mod gate;
mod intake;
#[cfg(test)]
mod tests;
mod turns;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use sluice_flow::{Entry, Handed, Parked, Place, Room, RoomFigures, RoomFull, RoomLimits, Ticket};
use tokio::sync::oneshot;

pub use self::config::{AdmissionConfig, RateLimit};
pub use self::gate::{Gate, RateLimited};
pub use self::intake::Intake;
pub(crate) use self::intake::{client_of, full};
pub(crate) use self::turns::{MyTurn, Turns};

/// The places of those at work, and the room where others wait for one.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Mutex<Room<oneshot::Sender<Permit>>>>);

impl Admission {
    /// An empty room.
    pub fn new(limits: RoomLimits) -> Self {
        Self(Arc::new(Mutex::new(Room::new(limits))))
    }

    /// Asks for a place; the turn is that of this call, not of the first poll.
    ///
    /// # Errors
    /// All are at work, and as many wait as may.
    pub fn enter(&self) -> Result<Entering, RoomFull> {
        let mut receiver = None;
        let entry = self.0.lock().enter(|| channel(&mut receiver))?;
        Ok(Entering(self.state(entry, receiver)))
    }

    /// Changes the limits; those who have a place or wait for one keep it.
    pub fn change(&self, limits: RoomLimits) {
        let handed = self.0.lock().change(limits);
        for handed in handed {
            self.hand_on(Some(handed));
        }
    }

    /// How many are where, and how many ever were.
    pub fn figures(&self) -> RoomFigures {
        self.0.lock().figures()
    }

    /// Whether the next one would be refused.
    pub fn is_full(&self) -> bool {
        self.0.lock().is_full()
    }

    /// Whether at least half of those wait that may.
    pub fn is_crowded(&self) -> bool {
        self.0.lock().is_crowded()
    }

    fn state(&self, entry: Entry, receiver: Option<oneshot::Receiver<Permit>>) -> State {
        match (entry, receiver) {
            (Entry::Working(place), _) => State::Ready(self.permit(place)),
            (Entry::Waiting(ticket), Some(permit)) => {
                State::Waiting(Turn { admission: self.clone(), ticket, permit })
            }
            (Entry::Waiting(_), None) => unreachable!("the room makes the waiter of each ticket"),
        }
    }

    fn permit(&self, place: Place) -> Permit {
        Permit { admission: self.clone(), place: Some(place) }
    }

    fn leave(&self, place: Place) {
        let handed = self.0.lock().leave(place);
        self.hand_on(handed);
    }

    /// Brings a place to the one who waits for it, or if it has gone meanwhile, to the next. The
    /// lock must not be held: a permit that nobody takes locks to leave.
    fn hand_on(&self, mut handed: Option<Handed<oneshot::Sender<Permit>>>) {
        while let Some(Handed { waiter, place }) = handed {
            let Err(mut refused) = waiter.send(self.permit(place)) else { return };
            handed = refused.place.take().and_then(|place| self.0.lock().leave(place));
        }
    }
}

fn channel(receiver: &mut Option<oneshot::Receiver<Permit>>) -> oneshot::Sender<Permit> {
    let (sender, made) = oneshot::channel();
    *receiver = Some(made);
    sender
}

/// A request at work; its place is given back when this is dropped.
#[derive(Debug)]
#[must_use = "the place is given back when the permit is dropped"]
pub struct Permit {
    admission: Admission,
    /// None only while it is given away.
    place: Option<Place>,
}

impl Permit {
    /// Gives the place back while the request waits for something else.
    ///
    /// # Errors
    /// As many are parked as may; it keeps its place, to be refused with 503.
    pub fn park(mut self) -> Result<ParkedPermit, Self> {
        let admission = self.admission.clone();
        let place = self.place.take().expect("a permit has its place until it is given away");
        let result = admission.0.lock().park(place);
        match result {
            Ok((parked, handed)) => {
                admission.hand_on(handed);
                Ok(ParkedPermit { admission, parked: Some(parked) })
            }
            Err(place) => {
                self.place = Some(place);
                Err(self)
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.admission.leave(place);
        }
    }
}

/// A request that gave its place back; dropped, it is gone.
#[derive(Debug)]
#[must_use = "a parked request is gone when this is dropped"]
pub struct ParkedPermit {
    admission: Admission,
    /// None only while it is given away.
    parked: Option<Parked>,
}

impl ParkedPermit {
    /// Asks for a place again. It is never refused, and goes before those who are not in yet.
    pub fn resume(mut self) -> Entering {
        let parked = self.parked.take().expect("it is parked until it is given away");
        let mut receiver = None;
        let entry = self.admission.0.lock().resume(parked, || channel(&mut receiver));
        Entering(self.admission.state(entry, receiver))
    }
}

impl Drop for ParkedPermit {
    fn drop(&mut self) {
        if let Some(parked) = self.parked.take() {
            self.admission.0.lock().depart(parked);
        }
    }
}

/// The time until a request has a place; dropped, it gives up.
#[derive(Debug)]
pub struct Entering(State);

#[derive(Debug)]
enum State {
    Ready(Permit),
    Waiting(Turn),
    Done,
}

/// A turn in the room. If the permit has been sent already, it is dropped with the channel.
#[derive(Debug)]
struct Turn {
    admission: Admission,
    ticket: Ticket,
    permit: oneshot::Receiver<Permit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let waiter = self.admission.0.lock().cancel(self.ticket);
        // Without the lock, because dropping a sender wakes.
        drop(waiter);
    }
}

impl Future for Entering {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        if let State::Waiting(turn) = &mut self.0 {
            let permit = ready!(Pin::new(&mut turn.permit).poll(context));
            // Nobody but this turn takes the sender out of the room without sending.
            self.0 = State::Ready(permit.expect("the sender is in the room until it sends"));
        }
        match std::mem::replace(&mut self.0, State::Done) {
            State::Ready(permit) => Poll::Ready(permit),
            State::Waiting(_) | State::Done => panic!("polled again after it was ready"),
        }
    }
}
