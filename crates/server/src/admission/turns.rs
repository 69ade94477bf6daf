//! Turns of connections, so that a processor which is behind serves some of them well, and then others,
//! instead of thousands at once and each from memory that no cache holds any more.
//!
//! ```text
//! rests --something to read--> asks --few have a turn--> turn: read, served, read ... --nothing to read--> rests
//!                               |                         ^       '--its time is over--> asks
//!                               '--> waits, unread -called'
//! ```
//!
//! While somebody waits a task goes round with all others that are ready, so a round takes as long as a worker
//! is behind. Where that is no time at all the processor has nothing to do, and one more is called than has
//! a turn otherwise: where a disk is what all wait for, nobody waits here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluice_flow::{Asked, Client, Comes, InLine, Turn, TurnLimits};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::Admission;

/// How long a turn lasts for each connection that waits, and at least: 16 ms beside 8 000.
const SLICE_EACH: Duration = Duration::from_micros(2);
const SLICE_MIN: Duration = Duration::from_millis(1);
/// By when all who wait are to have had a turn.
const LAP_MAX: Duration = Duration::from_secs(2);
/// A round in which a worker had nothing to do takes less.
const IDLE_ROUND: Duration = Duration::from_micros(10);
/// Who asks again so soon after its turn has asked all the time.
const AGAIN: Duration = Duration::from_millis(20);

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Turns {
    line: Mutex<Line>,
    /// What microseconds are counted from.
    start: Instant,
    /// Who is called beyond those whose turn it is needs room here.
    admission: Admission,
    /// How many wait, for those who ask often.
    waiting: AtomicUsize,
    /// Everybody has a turn from now on.
    is_over: AtomicBool,
}

#[derive(Debug)]
struct Line {
    turns: sluice_flow::Turns<Client, oneshot::Sender<Turn>>,
    /// A task goes round.
    is_watched: bool,
}

/// The limits of turns where so many connections have one at once for each processor.
fn limits(each_processor: usize) -> TurnLimits {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = match each_processor {
        0 => usize::MAX,
        each => each.saturating_mul(processors),
    };
    let micros = |duration: Duration| duration.as_micros() as u64;
    TurnLimits {
        at_once,
        slice_each: micros(SLICE_EACH),
        slice_min: micros(SLICE_MIN),
        lap_max: micros(LAP_MAX),
    }
}

impl Turns {
    /// No turns yet; so many at once for each processor, 0 for as many as there are.
    pub(super) fn new(each_processor: usize, admission: Admission) -> Arc<Self> {
        Self::with(limits(each_processor), admission)
    }

    fn with(limits: TurnLimits, admission: Admission) -> Arc<Self> {
        let turns = sluice_flow::Turns::new(limits);
        Arc::new(Self {
            line: Mutex::new(Line { turns, is_watched: false }),
            start: Instant::now(),
            admission,
            waiting: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    /// Changes how many have a turn at once.
    pub(super) fn change(&self, each_processor: usize) {
        self.line.lock().turns.change(limits(each_processor));
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Calls all who wait; nobody waits any more.
    pub(crate) fn end(self: &Arc<Self>) {
        self.is_over.store(true, Relaxed);
        self.go_round(usize::MAX);
    }

    fn ask(self: &Arc<Self>, comes: Comes, client: impl FnOnce() -> Client) -> State {
        let mut receiver = None;
        let now = self.now();
        let mut line = self.line.lock();
        let asked = line.turns.ask(comes, now, client, || {
            let (sender, made) = oneshot::channel();
            receiver = Some(made);
            sender
        });
        match (asked, receiver) {
            (Asked::Waits(place), Some(called)) => {
                self.waiting.store(line.turns.waiting(), Relaxed);
                if !std::mem::replace(&mut line.is_watched, true) {
                    tokio::spawn(Arc::clone(self).watch());
                }
                State::Waits { place, called }
            }
            (Asked::Turn(turn), _) => State::Turn { turn, is_used: false },
            (Asked::Waits(_), None) => unreachable!("the line makes how each is called"),
        }
    }

    /// Goes round until nobody waits.
    async fn watch(self: Arc<Self>) {
        let mut began = Instant::now();
        loop {
            yield_now().await;
            let now = Instant::now();
            let is_idle = now - began < IDLE_ROUND;
            began = now;
            // Called now, they would wait for something else than the processor, or be refused.
            let is_crowded = self.admission.is_crowded();
            if self.go_round(usize::from(is_idle && !is_crowded)) {
                return;
            }
            if is_idle && is_crowded {
                sleep(SLICE_MIN).await;
                began = Instant::now();
            }
        }
    }

    /// Calls those whose turn it is, and so many beyond. Whether nobody is left.
    fn go_round(&self, mut beyond: usize) -> bool {
        let now = self.now();
        loop {
            let mut line = self.line.lock();
            let called = line.turns.call(now, false).or_else(|| {
                beyond = beyond.checked_sub(1)?;
                line.turns.call(now, true)
            });
            self.waiting.store(line.turns.waiting(), Relaxed);
            let Some((waiter, turn)) = called else {
                let nobody = line.turns.waiting() == 0;
                line.is_watched &= !nobody;
                return nobody;
            };
            // Without the lock, because that wakes.
            drop(line);
            if let Err(turn) = waiter.send(turn) {
                self.line.lock().turns.end(&turn);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What one connection has of turns; dropped, it gives that back.
#[derive(Debug)]
pub(crate) struct MyTurn {
    turns: Arc<Turns>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// There was nothing to ask.
    #[default]
    Rests,
    Turn {
        turn: Turn,
        /// Something was read in it.
        is_used: bool,
    },
    Waits {
        place: InLine,
        called: oneshot::Receiver<Turn>,
    },
}

impl MyTurn {
    /// It has asked nothing yet.
    pub(crate) fn new(turns: Arc<Turns>) -> Self {
        Self { turns, state: State::Rests }
    }

    /// Ready while the connection has a turn. Cancel-safe.
    pub(crate) fn poll(
        &mut self,
        client: impl FnOnce() -> Client,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let comes = match &self.state {
            State::Rests => Some(Comes::New),
            State::Turn { turn, .. } => {
                let now = self.turns.now();
                if turn.lasts(now) {
                    return Poll::Ready(());
                }
                let is_again = turn.lasts(now.saturating_sub(AGAIN.as_micros() as u64));
                Some(if is_again { Comes::Again } else { Comes::New })
            }
            State::Waits { .. } => None,
        };
        if self.turns.is_over.load(Relaxed) {
            self.leave();
            return Poll::Ready(());
        }
        if let Some(comes) = comes {
            self.state = self.turns.ask(comes, client);
        }
        if let State::Waits { called, .. } = &mut self.state {
            let turn = ready!(Pin::new(called).poll(context));
            // Nobody takes the sender out of the line without sending.
            self.state = match turn {
                Ok(turn) => State::Turn { turn, is_used: false },
                Err(_) => State::Rests,
            };
        }
        Poll::Ready(())
    }

    /// Whether it waits.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state, State::Waits { .. })
    }

    /// Something was read.
    pub(crate) fn use_it(&mut self) {
        if let State::Turn { is_used, .. } = &mut self.state {
            *is_used = true;
        }
    }

    /// There was nothing to read. While others wait it stays its turn if it was used: who asks without end
    /// asks again at once.
    pub(crate) fn rest(&mut self) {
        if let State::Turn { is_used, .. } = &self.state
            && (!is_used || self.turns.waiting() == 0)
        {
            self.leave();
        }
    }

    /// Gives back its turn, or its place in the line.
    fn leave(&mut self) {
        match std::mem::take(&mut self.state) {
            State::Rests => {}
            State::Turn { turn, .. } => self.turns.line.lock().turns.end(&turn),
            State::Waits { place, mut called } => {
                let mut line = self.turns.line.lock();
                let waiter = line.turns.cancel(place);
                self.turns.waiting.store(line.turns.waiting(), Relaxed);
                // A turn that is sent from now on goes back to who sends it.
                called.close();
                if let Ok(turn) = called.try_recv() {
                    line.turns.end(&turn);
                }
                drop(line);
                // Without the lock, because dropping a sender wakes.
                drop(waiter);
            }
        }
    }
}

impl Drop for MyTurn {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
