//! A session of a broker in this process, shared by tasks: each asks, and waits for its answers.

use std::collections::{HashMap, VecDeque};

use sluice_broker::{Broker, Session};
use sluice_model::{
    Answer, Command, Confirm, Delivery, LeaseId, Outcome, Receive, Reply, Request, Settlement,
};
use tokio::sync::{mpsc, oneshot};

use crate::desk::DeskError;

/// Asks a session that [`Pump::run`] drives. Clones ask the same one.
#[derive(Clone)]
pub(super) struct Asker(mpsc::UnboundedSender<Ask>);

struct Ask {
    command: Command,
    /// Who waits for the answers, if anybody does.
    answers: Option<oneshot::Sender<Vec<Answer>>>,
}

/// A lease; it is given back when it is dropped.
pub(crate) struct Lease {
    id: LeaseId,
    asker: Asker,
    is_settled: bool,
}

/// Passes requests to a session, and answers back.
pub(super) struct Pump {
    session: Session,
    asked: mpsc::UnboundedReceiver<Ask>,
    requests: VecDeque<Request>,
    tag: u64,
    waiting: HashMap<u64, Waiting>,
}

#[derive(Default)]
struct Waiting {
    came: Vec<Answer>,
    to: Option<oneshot::Sender<Vec<Answer>>>,
}

/// Both ends.
pub(super) fn pump(session: Session) -> (Asker, Pump) {
    let (ask, asked) = mpsc::unbounded_channel();
    let (requests, waiting) = (VecDeque::new(), HashMap::new());
    (Asker(ask), Pump { session, asked, requests, tag: 0, waiting })
}

impl Asker {
    /// The answer; of a receive use [`Asker::receive`].
    pub(super) async fn ask(&self, command: Command) -> Result<Answer, DeskError> {
        let mut answers = self.all(command).await?;
        answers.pop().ok_or_else(|| DeskError("its broker did not answer".to_owned()))
    }

    /// Messages, under leases that are given back when they are dropped.
    pub(super) async fn receive(
        &self,
        receive: Receive,
    ) -> Result<Vec<(Lease, Delivery)>, DeskError> {
        let mut came = Vec::new();
        for answer in self.all(Command::Receive(receive)).await? {
            match answer {
                Answer::Delivered(delivery) => {
                    if let Some(id) = delivery.lease {
                        came.push((self.lease(id), *delivery));
                    }
                }
                Answer::Empty { .. } => {}
                other => return Err(DeskError(format!("its broker answered {other:?}"))),
            }
        }
        Ok(came)
    }

    /// Settles a message.
    pub(super) async fn settle(&self, mut lease: Lease, how: Settlement) -> Result<(), DeskError> {
        lease.is_settled = true;
        let (lease, confirm) = (lease.id, Confirm::Always);
        let command = match how {
            Settlement::Ack => Command::Ack { lease, confirm },
            Settlement::Nack(outcome) => Command::Nack { lease, outcome, confirm },
            Settlement::Extend(by) => Command::Extend { lease, by, confirm },
        };
        self.ask(command).await.map(|_| ())
    }

    fn lease(&self, id: LeaseId) -> Lease {
        Lease { id, asker: self.clone(), is_settled: false }
    }

    async fn all(&self, command: Command) -> Result<Vec<Answer>, DeskError> {
        let (answers, given) = oneshot::channel();
        let gone = || DeskError("its broker has ended".to_owned());
        self.0.send(Ask { command, answers: Some(answers) }).map_err(|_| gone())?;
        let answers = given.await.map_err(|_| gone())?;
        match answers.first() {
            Some(Answer::Refused(refusal)) => {
                Err(DeskError(format!("its broker refused: {}", refusal.message)))
            }
            _ => Ok(answers),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_settled {
            // Where nobody listens any more the session ends, and its leases with it.
            let _ = self.asker.0.send(Ask { command: release(self.id), answers: None });
        }
    }
}

fn release(lease: LeaseId) -> Command {
    Command::Nack { lease, outcome: Outcome::Released { delay: None }, confirm: Confirm::Refusal }
}

impl Pump {
    /// Runs until nobody can ask any more, or the broker has failed.
    pub(super) async fn run(mut self, broker: Broker) {
        let mut replies = Vec::new();
        loop {
            self.session.submit(&mut self.requests);
            self.session.take_replies(&mut replies);
            if !replies.is_empty() {
                self.session.written(replies.iter().map(Reply::weight).sum());
                replies.drain(..).for_each(|reply| self.answer(reply));
                // What found no room before may find some now.
                continue;
            }
            tokio::select! {
                ask = self.asked.recv() => {
                    let Some(ask) = ask else { return };
                    self.add(ask);
                    while let Ok(ask) = self.asked.try_recv() {
                        self.add(ask);
                    }
                }
                () = self.session.replies() => {}
                _ = broker.failure() => return,
            }
        }
    }

    fn add(&mut self, Ask { command, answers }: Ask) {
        self.tag += 1;
        if answers.is_some() {
            self.waiting.insert(self.tag, Waiting { came: Vec::new(), to: answers });
        }
        self.requests.push_back(Request { tag: self.tag, command });
    }

    fn answer(&mut self, Reply { tag, answer }: Reply) {
        let goes_on = answer.goes_on();
        let Some(waiting) = self.waiting.get_mut(&tag) else { return };
        waiting.came.push(answer);
        if goes_on {
            return;
        }
        let Some(Waiting { came, to: Some(to) }) = self.waiting.remove(&tag) else { return };
        // Who asked for messages may have gone.
        for answer in to.send(came).err().into_iter().flatten() {
            if let Answer::Delivered(delivery) = answer
                && let Some(lease) = delivery.lease
            {
                self.add(Ask { command: release(lease), answers: None });
            }
        }
    }
}
