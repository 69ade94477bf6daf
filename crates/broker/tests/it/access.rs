//! What reaches a backend, by what its sessions' principals may do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use sluice_broker::{
    Backend, Broker, BrokerError, Capabilities, ClosedBy, Directory, Link, Session, Stats,
};
use sluice_model::{
    Action, Answer, Client, Code, Command, Confirm, Destination, Explained, Grants, Limit,
    LimitMatch, LimitRequest, LimitScope, Message, Pausable, Principal, Publish, Qos, QueueName,
    QueuePattern, Reply, Request, Resource, Subscribe, SubscriptionId, Timestamp, Topic,
    TopicPattern,
};

/// A backend that does as it is asked and notes what that was.
#[derive(Clone, Default)]
struct Recorder {
    ran: Arc<Mutex<Vec<Command>>>,
}

struct RecorderLink {
    recorder: Recorder,
    replies: Vec<Reply>,
}

impl Backend for Recorder {
    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, durable_subscriptions: false, backups: false }
    }

    fn open(&self, _: Client) -> Box<dyn Link> {
        Box::new(RecorderLink { recorder: self.clone(), replies: Vec::new() })
    }

    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn poll_failure(&self, _: &mut Context<'_>) -> Poll<BrokerError> {
        Poll::Pending
    }

    fn stop(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

impl Link for RecorderLink {
    fn submit(&mut self, requests: &mut VecDeque<Request>) {
        for Request { tag, command } in requests.drain(..) {
            let answer = match command.clone() {
                Command::Refused(refusal) => Answer::Refused(*refusal),
                Command::Subscribe(_) => {
                    Answer::Subscribed { subscription: SubscriptionId(tag + 1) }
                }
                _ => Answer::Fenced,
            };
            if !matches!(command, Command::Refused(_)) {
                self.recorder.ran.lock().unwrap().push(command);
            }
            self.replies.push(Reply { tag, answer });
        }
    }

    fn take_replies(&mut self, into: &mut Vec<Reply>) {
        into.append(&mut self.replies);
    }

    fn poll_replies(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn written(&mut self, _: usize) {
        // It bounds nothing.
    }

    fn close(self: Box<Self>, _: ClosedBy) {
        // It keeps nothing.
    }
}

fn directory(keys: &[(&str, &[&str])]) -> Directory {
    let key = |(id, grants): &(&str, &[&str])| {
        (Arc::from(*id), Arc::new(Grants::parse(grants.iter().copied()).unwrap()))
    };
    Directory::Keys(keys.iter().map(key).collect::<BTreeMap<_, _>>())
}

fn key(id: &str) -> Principal {
    Principal::Key(id.into())
}

fn open(broker: &Broker, principal: &Principal) -> Session {
    broker.open(Client { principal: principal.clone(), peer: [127, 0, 0, 1].into() })
}

fn publish(topic: &str) -> Command {
    Command::Publish(Publish {
        to: Destination::Topic(Topic::new(topic).unwrap()),
        level: None,
        qos: Qos::AtLeastOnce,
        message: Message::default(),
        confirm: Confirm::Refusal,
    })
}

fn subscribe(pattern: &str) -> Command {
    let pattern = TopicPattern::new(pattern).unwrap();
    Command::Subscribe(Subscribe::unnamed(pattern, Qos::AtLeastOnce))
}

/// Submits them all at once and returns the answers, which must come in order.
fn ask(session: &mut Session, commands: &[Command]) -> Vec<Answer> {
    let mut requests: VecDeque<_> = (0..)
        .zip(commands.iter().cloned())
        .map(|(tag, command)| Request { tag, command })
        .collect();
    session.submit(&mut requests);
    let mut replies = Vec::new();
    session.take_replies(&mut replies);
    let tags: Vec<u64> = replies.iter().map(|reply| reply.tag).collect();
    assert_eq!(tags, (0..replies.len() as u64).collect::<Vec<_>>());
    replies.into_iter().map(|reply| reply.answer).collect()
}

fn is_forbidden(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(refusal) if refusal.code == Code::Forbidden)
}

/// Whether every topic of up to three tokens that `pattern` matches lies in one of the scopes.
fn may(grants: &[&str], action: &str, pattern: &str) -> bool {
    let letters = ["a", "b", "z"];
    let two = letters.map(|first| letters.map(|second| format!("{first}.{second}"))).concat();
    let three = two.iter().flat_map(|two| letters.map(|letter| format!("{two}.{letter}")));
    let all: Vec<String> =
        letters.map(String::from).into_iter().chain(two.clone()).chain(three).collect();
    let pattern = TopicPattern::new(pattern).unwrap();
    let matched: Vec<&String> = all.iter().filter(|topic| pattern.matches(topic)).collect();
    grants.iter().any(|grant| {
        let (of, scope) = grant.split_once(':').unwrap_or((action, ">"));
        let scope = TopicPattern::new(scope).unwrap();
        of == action && matched.iter().all(|topic| scope.matches(topic))
    })
}

#[test]
fn what_reaches_the_backend_is_what_the_grants_allow() {
    let keys: [(&str, &[&str]); 8] = [
        ("none", &[]),
        ("all", &["all"]),
        ("publisher", &["publish:>"]),
        ("below", &["publish:a.>", "subscribe:a.>"]),
        ("exact", &["publish:a", "publish:a.b", "subscribe:b"]),
        ("deep", &["subscribe:a.b.>", "publish:b.a.>"]),
        ("mixed", &["subscribe:>", "publish:a.b.>", "publish:z"]),
        ("unrelated", &["consume:>", "kv_read:>", "kv_write:>", "observe:>", "admin:>"]),
    ];
    let tokens = ["a", "b", "*", ">"];
    let two = tokens.map(|first| tokens.map(|second| format!("{first}.{second}"))).concat();
    let patterns: Vec<String> = tokens.map(String::from).into_iter().chain(two).collect();
    let patterns: Vec<&String> =
        patterns.iter().filter(|text| TopicPattern::new(text).is_ok()).collect();
    let recorder = Recorder::default();
    let broker = Broker::new(recorder.clone());
    broker.set_directory(directory(&keys));
    let mut forbidden = 0;
    for (id, grants) in keys {
        let mut session = open(&broker, &key(id));
        let mut commands = Vec::new();
        let mut expected = Vec::new();
        for pattern in &patterns {
            if Topic::new(pattern).is_ok() {
                commands.push(publish(pattern));
                expected.push(may(grants, "publish", pattern));
            }
            commands.push(subscribe(pattern));
            expected.push(may(grants, "subscribe", pattern));
            commands.push(Command::Fence);
            expected.push(true);
        }
        recorder.ran.lock().unwrap().clear();
        let answers = ask(&mut session, &commands);
        for ((command, answer), expected) in commands.iter().zip(&answers).zip(&expected) {
            assert_eq!(!is_forbidden(answer), *expected, "{id} {command:?}");
        }
        let allowed: Vec<Command> =
            commands.into_iter().zip(&expected).filter(|(_, ok)| **ok).map(|(c, _)| c).collect();
        assert_eq!(*recorder.ran.lock().unwrap(), allowed, "{id}");
        forbidden += answers.len() - allowed.len();
    }
    assert_eq!(broker.stats().forbidden, forbidden as u64);
}

#[test]
fn without_keys_all_is_allowed_and_with_keys_strangers_get_nothing() {
    let recorder = Recorder::default();
    let broker = Broker::new(recorder.clone());
    let mut anonymous = open(&broker, &Principal::Anonymous);
    assert_eq!(ask(&mut anonymous, &[publish("a"), subscribe(">")]).len(), 2);
    assert!(broker.authorize(&Principal::Anonymous, Action::Admin, Resource::Broker).is_ok());

    broker.set_directory(directory(&[("known", &["all"])]));
    recorder.ran.lock().unwrap().clear();
    for mut session in [anonymous, open(&broker, &Principal::Anonymous), open(&broker, &key("x"))] {
        assert!(session.is_revoked());
        assert_eq!(ask(&mut session, &[publish("a"), Command::Fence]), []);
    }
    assert!(recorder.ran.lock().unwrap().is_empty());
    let refused = broker.authorize(&Principal::Anonymous, Action::Observe, Resource::Broker);
    assert_eq!(refused.unwrap_err().code, Code::Forbidden);
    assert!(broker.authorize(&key("known"), Action::Observe, Resource::Broker).is_ok());
}

#[test]
fn a_change_of_grants_is_seen_by_sessions_that_live() {
    let broker = Broker::new(Recorder::default());
    broker.set_directory(directory(&[("one", &["all"]), ("two", &["publish:a", "subscribe:a.>"])]));
    let (mut one, mut two) = (open(&broker, &key("one")), open(&broker, &key("two")));
    assert!(!ask(&mut one, &[publish("a"), subscribe("b.*")]).iter().any(is_forbidden));
    assert!(!ask(&mut two, &[publish("a"), subscribe("a.*")]).iter().any(is_forbidden));

    // Less to publish, and all it listens to is still allowed: the session goes on.
    broker.set_directory(directory(&[("one", &["subscribe:b.>"]), ("two", &["subscribe:a.>"])]));
    assert!(!one.is_revoked() && !two.is_revoked());
    assert!(is_forbidden(&ask(&mut one, &[publish("a")])[0]));
    assert!(is_forbidden(&ask(&mut two, &[publish("a")])[0]));
    // More again.
    broker.set_directory(directory(&[("one", &["subscribe:b.>"]), ("two", &["all"])]));
    assert!(!is_forbidden(&ask(&mut two, &[publish("a")])[0]));
    // Nothing that is on its way to one leaves once it may not hear it any more.
    one.submit(&mut VecDeque::from([Request { tag: 0, command: Command::Fence }]));
    broker.set_directory(directory(&[("one", &["subscribe:b.c"]), ("two", &["all"])]));
    let mut replies = Vec::new();
    one.take_replies(&mut replies);
    assert!(replies.is_empty() && one.is_revoked() && !two.is_revoked());
    // It stays so: what was lost in between is not made good.
    broker.set_directory(directory(&[("one", &["all"])]));
    assert!(one.is_revoked() && two.is_revoked());
}

#[test]
fn limits_need_admin_explain_needs_consume_and_those_of_the_configuration_are_its_own() {
    let limits = |what: LimitRequest| Command::Limit(Box::new(what));
    let queue = |name: &str| QueueName::new(name).unwrap();
    let limit = |name: &str| {
        let matches = LimitMatch { queue: QueuePattern::all(), key: None };
        Limit::new(name, LimitScope::Queue, matches, "5/s".parse().unwrap()).unwrap()
    };
    let put = |name: &str| limits(LimitRequest::Put(Box::new(limit(name))));
    let delete = |name: &str| limits(LimitRequest::Delete { name: name.into(), matches: None });
    let explain =
        |name: &str| limits(LimitRequest::Explain { queue: queue(name), what: Explained::Queue });
    let pause = |name: &str| {
        let what = Pausable::Queue(queue(name));
        limits(LimitRequest::Pause { what, period: None, reason: None })
    };
    let list = limits(LimitRequest::List { name: None, after: None, limit: 9 });
    let commands = [put("a"), delete("a"), explain("calls"), explain("x"), pause("calls"), list];
    let cases: [(&str, &[&str], [bool; 6]); 5] = [
        ("all", &["all"], [true; 6]),
        ("admin", &["admin:>"], [true, true, false, false, true, false]),
        ("of_queue", &["admin:calls"], [false, false, false, false, true, false]),
        ("consumer", &["consume:calls"], [false, false, true, false, false, false]),
        ("observer", &["observe:>"], [false, false, false, false, false, true]),
    ];
    let broker = Broker::new(Recorder::default());
    for (id, grants, expected) in cases {
        broker.set_directory(directory(&[(id, grants)]));
        let answers = ask(&mut open(&broker, &key(id)), &commands);
        let allowed: Vec<bool> = answers.iter().map(|answer| !is_forbidden(answer)).collect();
        assert_eq!(allowed, expected, "{id}");
    }
    // The backend here answers nothing of use; the names are the configuration's all the same.
    let (own, none) = ([limit("a")], BTreeSet::new());
    let mut owning = std::pin::pin!(broker.own_limits(&own, &none));
    match owning.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(Err(refusal)) => assert_eq!(refusal.code, Code::Internal),
        other => panic!("{other:?}"),
    }
    broker.set_directory(directory(&[("all", &["all"])]));
    for principal in [key("all"), Principal::Anonymous] {
        if principal == Principal::Anonymous {
            broker.set_directory(Directory::Open);
        }
        let commands = [put("a"), delete("a"), put("b"), delete("b"), explain("calls")];
        let answers = ask(&mut open(&broker, &principal), &commands);
        let refused = |answer: &Answer| matches!(answer, Answer::Refused(refusal) if refusal.code == Code::Conflict);
        let refused: Vec<bool> = answers.iter().map(refused).collect();
        assert_eq!(refused, [true, true, false, false, false], "{principal:?}");
    }
}
