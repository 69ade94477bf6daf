//! Submits that leave the commit to be led later, by whoever submitted.

use std::collections::VecDeque;

use bytes::Bytes;
use sluice_broker::{Broker, Session};
use sluice_model::{
    Answer, Command, Confirm, Destination, Message, Publish, Qos, QueueName, QueueRequest,
    QueueSettings, Receive, Reply, Request, Source,
};
use sluice_wal::SimulatedDisk;

use crate::{ask, backend, open};

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

/// Makes the queue, of which nothing is left to commit then.
fn declare(session: &mut Session) {
    let (name, settings) = (queue(), QueueSettings::default());
    let declare = QueueRequest::Declare { name, settings, update: false };
    ask(session, vec![Command::Queue(Box::new(declare))]);
}

fn publish() -> Command {
    Command::Publish(Publish {
        to: Destination::Queue(queue()),
        level: None,
        qos: Qos::AtLeastOnce,
        message: Message::plain(Bytes::from_static(b"x")),
        confirm: Confirm::Always,
    })
}

/// Whether the commit was left.
fn submit_unled(session: &mut Session) -> bool {
    let mut requests = VecDeque::from([Request { tag: 1, command: publish() }]);
    let is_left = session.submit_unled(&mut requests);
    assert!(requests.is_empty());
    is_left
}

fn replies(session: &mut Session) -> usize {
    let mut replies = Vec::new();
    session.take_replies(&mut replies);
    session.written(replies.iter().map(Reply::weight).sum());
    replies.len()
}

#[test]
fn those_that_leave_their_commit_share_the_one_that_is_led() {
    let broker = Broker::new(backend(&SimulatedDisk::with_faults(1)));
    let mut sessions = [open(&broker), open(&broker), open(&broker)];
    declare(&mut sessions[0]);
    let before = broker.stats().commits;
    for session in &mut sessions {
        assert!(submit_unled(session));
    }
    assert_eq!(sessions.each_mut().map(replies), [0; 3]);
    sessions[1].lead();
    assert_eq!(sessions.each_mut().map(replies), [1; 3]);
    // Who finds it done does nothing.
    sessions[0].lead();
    assert_eq!(broker.stats().commits - before, 1);
    broker.stop().unwrap();
}

#[test]
fn a_session_that_ends_before_it_leads_has_it_committed() {
    let disk = SimulatedDisk::with_faults(1);
    let broker = Broker::new(backend(&disk));
    let mut session = open(&broker);
    declare(&mut session);
    assert!(submit_unled(&mut session));
    drop(session);
    disk.crash_process();
    drop(broker);
    let broker = Broker::new(backend(&disk));
    let receive = Command::Receive(Receive::one(Source::Queue(queue())));
    let answers = ask(&mut open(&broker), vec![receive]);
    assert!(matches!(answers[..], [Answer::Delivered(_)]), "{answers:?}");
    broker.stop().unwrap();
}
