//! A session without socket, broker and clock.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use sluice_model::{
    Answer, Carried, Code, Command, Delivery, Generation, LeaseId, Outcome, Published, QueueNo,
    Refusal, Reply, Request, Seq, Source, SubscriptionId, Timestamp,
};

use super::host::{Figures, Host};
use super::session::{FEED_TAGS, Io, Limits, NO_TAG, Session, Wants};
use crate::doors::Output;

/// A house where requests are let in as is said, the last way for ever.
#[derive(Default)]
struct Fake {
    admits: VecDeque<Result<bool, Refusal>>,
    stopped: bool,
}

impl Host for Fake {
    fn admit(&mut self) -> Result<bool, Refusal> {
        self.admits.pop_front().unwrap_or(Ok(true))
    }

    fn shut_down(&mut self) -> Result<(), Refusal> {
        self.stopped = true;
        Ok(())
    }

    fn figures(&mut self) -> Result<Figures, Refusal> {
        Ok(Figures::default())
    }
}

struct Rig {
    session: Session,
    host: Fake,
    input: BytesMut,
    output: Output,
    requests: VecDeque<Request>,
}

impl Rig {
    fn new(line_max: usize, out_max: usize, open: bool) -> Self {
        let limits = Limits { line_max, out_max, in_flight_max: 2 };
        Self {
            session: Session::new(limits, open),
            host: Fake::default(),
            input: BytesMut::new(),
            output: Output::default(),
            requests: VecDeque::new(),
        }
    }

    fn open() -> Self {
        Self::new(1_000, 10_000, true)
    }

    fn hear(&mut self, bytes: &[u8]) -> Wants {
        self.input.extend_from_slice(bytes);
        let mut io = Io { requests: &mut self.requests, output: &mut self.output };
        self.session.receive(&mut self.input, &mut io, &mut self.host)
    }

    fn reply(&mut self, tag: u64, answer: Answer) {
        let mut io = Io { requests: &mut self.requests, output: &mut self.output };
        self.session.reply(&mut vec![Reply { tag, answer }], &mut io);
    }

    /// What is to be sent, which is sent by that.
    fn said(&mut self) -> String {
        let (slices, count) = self.output.slices();
        let said: Vec<u8> =
            slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        self.output.advance(said.len());
        String::from_utf8(said).unwrap()
    }

    /// The requests that were made, those aside that make queues.
    fn asked(&mut self) -> Vec<Request> {
        self.requests.drain(..).filter(|request| request.tag != NO_TAG).collect()
    }
}

fn delivered(subscription: Option<u64>, payload: &'static [u8]) -> Answer {
    let generation = Generation { start: 1, counter: 2 };
    let lease = LeaseId { queue: QueueNo(1), seq: Seq(2), generation, secret: 3 };
    let lease = subscription.is_none().then_some(lease);
    let carried = Carried {
        topic: Bytes::from_static(b"t"),
        payload: Bytes::from_static(payload),
        ..Carried::default()
    };
    let deadline = Timestamp::from_millis(1_000);
    let to = SubscriptionId(subscription.unwrap_or_default());
    Answer::Delivered(Box::new(Delivery::first(to, lease, deadline, carried)))
}

#[test]
#[rustfmt::skip]
fn each_line_gets_one_answer_however_it_arrives() {
    let cases: [(&[u8], &str, Wants); 9] = [
        (b"PING\n",                             "PONG\n",                            Wants::Bytes),
        (b"ping\r\nFLY\nPING\n",                "PONG\nERR unknown command\nPONG\n", Wants::Bytes),
        (b"\n",                                 "ERR unknown command\n",             Wants::Bytes),
        (b"\xff\nPING\n",                       "ERR invalid UTF-8\nPONG\n",         Wants::Bytes),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaa\nPING\n", "ERR line too long\nPONG\n",         Wants::Bytes),
        (b"GET / HTTP/1.1\nPING\n",             "",                                  Wants::Close),
        (b"POST /aaaaaaaaaaaaaaaaaaaaaaaa",     "",                                  Wants::Close),
        (b"ECHO  a \nQUIT\nPING\n",             " a \nBYE\n",                        Wants::Nothing),
        (b"ECHO *\nPING\n",                     "ERR use JSON\nPONG\n",              Wants::Bytes),
    ];
    for (input, said, wants) in cases {
        for step in 1..=input.len() {
            let mut rig = Rig::new(20, 1_000, true);
            let mut wanted = Wants::Bytes;
            for part in input.chunks(step) {
                wanted = rig.hear(part);
                if wanted == Wants::Close {
                    break;
                }
            }
            assert_eq!((rig.said().as_str(), wanted), (said, wants), "{input:?} by {step}");
        }
    }
}

#[test]
fn nothing_more_is_understood_than_may_wait() {
    let mut rig = Rig::new(100, 12, true);
    assert_eq!(rig.hear(&b"PING\n".repeat(10)), Wants::Room);
    assert_eq!(rig.said(), "PONG\n".repeat(3));
    // Answers behind a request that waits count too.
    let mut rig = Rig::new(100, 1_000, true);
    rig.hear(b"DEQUEUE q 60000\n");
    assert_eq!(rig.hear(&b"PING\n".repeat(100)), Wants::Room);
    assert!(rig.input.len() > 400 && rig.said().is_empty());
}

#[test]
fn answers_keep_the_order_of_lines_and_requests_do_not_wait() {
    let mut rig = Rig::open();
    rig.hear(b"DEQUEUE q 60000\nENQUEUE q work\nPING\n");
    let asked = rig.asked();
    assert!(matches!(asked[0].command, Command::Receive(_)));
    assert!(matches!(asked[1].command, Command::Publish(_)));
    rig.reply(asked[1].tag, Answer::Published(Published::default()));
    assert_eq!(rig.said(), "");
    assert!(!rig.session.holds());
    rig.reply(asked[0].tag, delivered(None, b"work"));
    let said = rig.said();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].ends_with(" work") && lines[1].starts_with("OK ") && lines[2] == "PONG");
    assert!(rig.session.is_quiet() && rig.session.holds());
}

#[test]
fn a_message_that_text_can_not_show_goes_back() {
    let mut rig = Rig::open();
    rig.hear(b"DEQUEUE q\n");
    let tag = rig.asked()[0].tag;
    rig.reply(tag, delivered(None, b"a\nb"));
    assert_eq!(rig.said(), "ERR use JSON\n");
    let command = rig.requests.pop_front().unwrap().command;
    assert!(matches!(command, Command::Nack { outcome: Outcome::Withdrawn, .. }), "{command:?}");
    assert!(!rig.session.holds());
}

#[test]
fn pushes_begin_behind_their_answer_and_end_with_their_end() {
    let mut rig = Rig::open();
    rig.hear(b"DEQUEUE q 60000\nSUBSCRIBE t\n");
    let asked = rig.asked();
    let subscription = SubscriptionId(7);
    rig.reply(asked[1].tag, Answer::Subscribed { subscription });
    assert!(rig.asked().is_empty(), "the answer has not left");
    rig.reply(asked[0].tag, Answer::Empty { next: None });
    assert_eq!(rig.said(), "EMPTY\nOK\n");
    let receive = rig.asked().remove(0);
    assert!(receive.tag >= FEED_TAGS);
    let from = Source::Subscription(subscription);
    assert!(matches!(&receive.command, Command::Receive(receive) if receive.from == from));
    rig.reply(receive.tag, delivered(Some(7), b"x"));
    assert_eq!(rig.said(), "*message t x\n");
    let again = rig.asked().remove(0);
    assert_eq!(again.tag, receive.tag);
    rig.hear(b"UNSUBSCRIBE t\n");
    let end = rig.asked().remove(0);
    rig.reply(again.tag, delivered(Some(7), b"late"));
    assert_eq!(rig.said(), "", "nothing is pushed once the end was asked for");
    rig.reply(end.tag, Answer::Unsubscribed);
    assert_eq!(rig.said(), "OK\n");
    assert!(rig.asked().is_empty() && !rig.session.is_busy());
}

#[test]
fn nothing_is_asked_while_a_receive_goes_on() {
    let mut rig = Rig::open();
    rig.hear(b"SUBSCRIBE t\n");
    let begin = rig.asked().remove(0);
    rig.reply(begin.tag, Answer::Subscribed { subscription: SubscriptionId(7) });
    let receive = rig.asked().remove(0);
    assert!(matches!(&receive.command, Command::Receive(receive) if receive.stays));
    for more in [true, true, false] {
        let Answer::Delivered(mut delivery) = delivered(Some(7), b"x") else {
            panic!("it is a delivery")
        };
        delivery.more = more;
        rig.reply(receive.tag, Answer::Delivered(delivery));
        assert_eq!(rig.asked().len(), usize::from(!more));
    }
    // It ends without a word where there is no room.
    rig.reply(receive.tag, Answer::Empty { next: None });
    assert_eq!(
        (rig.asked().len(), &*rig.said()),
        (1, "OK\n*message t x\n*message t x\n*message t x\n")
    );
}

#[test]
fn an_end_that_is_asked_for_early_follows_the_beginning() {
    let mut rig = Rig::open();
    rig.hear(b"SUBSCRIBE t\nUNSUBSCRIBE t\n");
    let begin = rig.asked().remove(0);
    rig.reply(begin.tag, Answer::Subscribed { subscription: SubscriptionId(7) });
    let asked = rig.asked();
    let end = asked.iter().find(|asked| matches!(asked.command, Command::Unsubscribe { .. }));
    assert_eq!(asked.len(), 1);
    rig.reply(end.unwrap().tag, Answer::Unsubscribed);
    assert_eq!(rig.said(), "OK\nOK\n");
    rig.hear(b"SUBSCRIBE u\nUNSUBSCRIBE u\n");
    let begin = rig.asked().remove(0);
    rig.reply(begin.tag, Answer::Refused(Refusal::new(Code::Forbidden, "no")));
    assert_eq!(rig.said(), "ERR no\nERR it never began\n");
    assert!(!rig.session.is_busy());
}

#[test]
fn limits_delay_a_line_or_refuse_it() {
    let mut rig = Rig::open();
    let limited = Refusal::new(Code::RateLimited, "too many");
    rig.host.admits = [Ok(false), Err(limited.clone())].into();
    assert_eq!(rig.hear(b"PING\nPING\nHELP\n"), Wants::Time);
    let mut io = Io { requests: &mut rig.requests, output: &mut rig.output };
    rig.session.admitted(Ok(()), &mut io, &mut rig.host);
    assert_eq!(rig.hear(b""), Wants::Bytes);
    assert!(rig.said().starts_with("PONG\nERR rate limited: too many\nPING | ECHO text | "));
}

#[test]
fn who_has_no_key_may_only_show_one() {
    let mut rig = Rig::new(100_000, 10_000, false);
    assert_eq!(rig.hear(b"PING\nGET a\nSHUTDOWN\n"), Wants::Bytes);
    assert_eq!(rig.said(), "PONG\nERR unauthenticated\nERR unauthenticated\n");
    rig.hear(&[&b"AUTH "[..], &[b'x'; 2_000], b"\n"].concat());
    assert_eq!(rig.said(), "ERR line too long\n");
    for (answer, said) in [
        (Err(Refusal::new(Code::Unauthenticated, "invalid API key")), "ERR invalid API key\n"),
        (Ok(()), "OK\n"),
    ] {
        assert!(matches!(rig.hear(b"AUTH key\n"), Wants::Authenticate(_)));
        let mut io = Io { requests: &mut rig.requests, output: &mut rig.output };
        rig.session.authenticated(answer, &mut io);
        assert_eq!(rig.said(), said);
    }
    assert!(rig.hear(b"SHUTDOWN\n") == Wants::Bytes && rig.host.stopped);
    assert_eq!(rig.said(), "BYE\n");
}

#[test]
fn a_drain_withdraws_what_waits_and_refuses_new_work() {
    let mut rig = Rig::open();
    rig.hear(b"DEQUEUE q 60000\n");
    let tag = rig.asked()[0].tag;
    let mut io = Io { requests: &mut rig.requests, output: &mut rig.output };
    rig.session.drain(&mut io);
    let withdraw = rig.requests.pop_front().unwrap();
    assert_eq!(withdraw.command, Command::Withdraw { receive: tag });
    rig.hear(b"SET a b\nPING\n");
    rig.reply(tag, Answer::Empty { next: None });
    assert_eq!(rig.said(), "EMPTY\nERR shutting down\nPONG\n");
}

#[test]
fn what_was_answered_counts_no_more_though_something_always_waits() {
    let mut rig = Rig::open();
    rig.hear(b"DEQUEUE jobs 1000\n");
    for n in 0..1_000 {
        // The next one waits before the last one is answered.
        assert_eq!(rig.hear(b"PING\nDEQUEUE jobs 1000\n"), Wants::Bytes, "{n}");
        rig.reply(2 * n, Answer::Empty { next: None });
        assert_eq!(rig.said(), "EMPTY\nPONG\n");
    }
}
