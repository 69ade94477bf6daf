//! Watches: events in the order of revisions, none missing without a gap, no buffer of their own.

use std::sync::Arc;

use sluice_engine::{BodyRef, Config, EndedBy, Ran, Record};
use sluice_model::{
    Answer, Code, Command, Keys, KvAnswer, KvRequest, Receive, Revision, SessionId, Source,
    WatchEvent, WatchId,
};

use crate::kv::{delete, key, set, set_for, written};
use crate::rig::{EMPTY, Rig, Said, config, ms, peer};

fn below(prefix: &str) -> Keys {
    Keys::below(prefix).unwrap()
}

fn one(name: &str) -> Keys {
    Keys::One(key(name))
}

/// An event in a few characters.
fn short(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Put(entry) => {
            let value = std::str::from_utf8(&entry.value.bytes).unwrap();
            format!("{} {}={value}", entry.revision.0, entry.key)
        }
        WatchEvent::Deleted { key, revision } => format!("{} -{key}", revision.0),
        WatchEvent::Expired { key, revision } => format!("{} !{key}", revision.0),
        WatchEvent::Gap { resumed_at } => format!("gap {}", resumed_at.0),
    }
}

impl Rig {
    fn watch_from(
        &mut self,
        session: SessionId,
        keys: Keys,
        from: Option<u64>,
    ) -> Result<(WatchId, u64), Code> {
        let from = from.map(Revision);
        match self.kv(session, KvRequest::Watch { keys, from })? {
            KvAnswer::Watching { watch, revision } => Ok((watch, revision.0)),
            other => panic!("{other:?}"),
        }
    }

    fn watch(&mut self, session: SessionId, keys: Keys) -> WatchId {
        self.watch_from(session, keys, None).unwrap().0
    }

    /// Asks for changes; what is told at once, if anything.
    fn changes(&mut self, session: SessionId, watch: WatchId, max: u32, wait: u64) -> Vec<String> {
        let wait = (wait > 0).then(|| ms(wait));
        let receive = Receive { max, wait, ..Receive::one(Source::Watch(watch)) };
        let ran = self.run(session, Command::Receive(receive));
        assert_eq!(ran, Ran::Done);
        self.told_changes(session)
    }

    /// Asks for changes by a receive that stays.
    fn follow(&mut self, session: SessionId, watch: WatchId, max: u32) -> Ran {
        let from = Source::Watch(watch);
        let receive = Receive { max, wait: Some(ms(1_000)), stays: true, ..Receive::one(from) };
        self.run(session, Command::Receive(receive))
    }

    /// What a session was told lately; nothing where that is said. Three dots say that its receive stays.
    fn told_changes(&mut self, session: SessionId) -> Vec<String> {
        let Some(out) = self.told(session) else { return Vec::new() };
        match out.said {
            Said::Answer(Answer::Changes { events, more, .. }) => {
                events.iter().map(short).chain(more.then(|| "...".to_owned())).collect()
            }
            Said::Answer(answer) if answer == EMPTY => vec!["empty".to_owned()],
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_watch_tells_what_happens_to_its_keys_in_order_and_nothing_else() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    rig.kv(session, set("a^1", "old")).unwrap();
    let exact = rig.watch(session, one("a^1"));
    let under = rig.watch(session, below("a^"));
    let part = rig.watch(session, below("a^1"));
    let all = rig.watch(session, below(""));
    rig.kv(session, set("a^1", "x")).unwrap();
    rig.kv(session, set("a^2", "y")).unwrap();
    rig.kv(session, set_for("b", "z", 100)).unwrap();
    rig.kv(session, set("a^1^c", "w")).unwrap();
    rig.kv(session, delete("a^1")).unwrap();
    rig.pass(ms(100));
    let changes = |rig: &mut Rig, watch| rig.changes(session, watch, 100, 0);
    assert_eq!(changes(&mut rig, exact), ["2 a^1=x", "6 -a^1"]);
    assert_eq!(changes(&mut rig, under), ["2 a^1=x", "3 a^2=y", "5 a^1^c=w", "6 -a^1"]);
    assert_eq!(changes(&mut rig, part), ["2 a^1=x", "5 a^1^c=w", "6 -a^1"]);
    let every = ["2 a^1=x", "3 a^2=y", "4 b=z", "5 a^1^c=w", "6 -a^1", "7 !b"];
    assert_eq!(changes(&mut rig, all), every);
    assert_eq!(changes(&mut rig, all), ["empty"]);
    assert_eq!(rig.engine.stats().watch_events, 15);
}

#[test]
fn a_change_wakes_the_receives_that_wait_for_it_and_no_others() {
    let mut rig = Rig::new(config());
    let (a, b) = (rig.open(peer(1)), rig.open(peer(2)));
    let (of_a, of_b) = (rig.watch(a, one("a")), rig.watch(b, one("b")));
    assert_eq!(rig.changes(a, of_a, 10, 1_000), [""; 0]);
    assert_eq!(rig.changes(b, of_b, 10, 1_000), [""; 0]);
    let writer = rig.open(peer(3));
    rig.kv(writer, set("a", "1")).unwrap();
    rig.fire();
    assert_eq!(rig.told_changes(a), ["1 a=1"]);
    assert_eq!(rig.told_changes(b), [""; 0]);
    rig.pass(ms(1_000));
    assert_eq!(rig.told_changes(b), ["empty"]);
}

#[test]
fn a_change_is_told_when_it_is_at_its_level_and_not_before() {
    let mut rig = Rig::new(config());
    let (writer, reader) = (rig.open(peer(1)), rig.open(peer(2)));
    let watch = rig.watch(reader, one("a"));
    assert_eq!(rig.changes(reader, watch, 10, 60_000), [""; 0]);
    rig.commits = false;
    rig.kv(writer, set("a", "1")).unwrap();
    rig.fire();
    assert_eq!(rig.told_changes(reader), [""; 0]);
    // One who begins now is told the number, and waits for it.
    let out = rig.kv_out(writer, KvRequest::Watch { keys: one("a"), from: None });
    assert_eq!(out.need.synced, rig.tape.last());
    let (late, revision) = rig.watch_from(writer, one("a"), None).unwrap();
    assert_eq!(revision, 1);
    let resumed = rig.watch_from(writer, one("a"), Some(1)).unwrap().0;
    rig.commit();
    rig.fire();
    assert_eq!(rig.told_changes(reader), ["1 a=1"]);
    assert_eq!(rig.changes(writer, late, 10, 0), ["empty"], "it was there before");
    assert_eq!(rig.changes(writer, resumed, 10, 0), ["1 a=1"]);
}

#[test]
fn a_watch_resumes_where_it_is_told_to_over_restarts_with_and_without_an_image() {
    let mut rig = Rig::new(Config { watch_history: 6, ..config() });
    let session = rig.open(peer(1));
    for n in 1..=4 {
        assert_eq!(rig.kv(session, set("a", &n.to_string())), written(n));
    }
    rig.take_image();
    for n in 5..=8 {
        assert_eq!(rig.kv(session, set("a", &n.to_string())), written(n));
    }
    rig.fire();
    let restarts: [Option<bool>; 3] = [None, Some(true), Some(false)];
    for restart in restarts {
        if let Some(with_image) = restart {
            rig.restart(rig.tape.last(), with_image, true);
            rig.fire();
        }
        let session = rig.open(peer(1));
        let (watch, revision) = rig.watch_from(session, one("a"), Some(5)).unwrap();
        assert_eq!(revision, 8, "{restart:?}");
        let told = rig.changes(session, watch, 100, 0);
        assert_eq!(told, ["5 a=5", "6 a=6", "7 a=7", "8 a=8"], "{restart:?}");
        assert_eq!(rig.watch_from(session, one("a"), Some(2)), Err(Code::Gone), "{restart:?}");
        assert!(rig.watch_from(session, one("a"), Some(9)).is_ok());
        assert_eq!(rig.watch_from(session, one("a"), Some(10)), Err(Code::Invalid));
    }
}

#[test]
fn a_watch_that_is_too_slow_is_told_of_a_gap_and_goes_on() {
    let mut rig = Rig::new(Config { watch_history: 3, ..config() });
    let session = rig.open(peer(1));
    let slow = rig.watch(session, one("a"));
    let other = rig.watch(session, one("b"));
    for n in 1..=9 {
        rig.kv(session, set("a", &n.to_string())).unwrap();
        rig.fire();
    }
    assert_eq!(rig.changes(session, slow, 2, 0), ["gap 7", "7 a=7"]);
    assert_eq!(rig.changes(session, slow, 9, 0), ["8 a=8", "9 a=9"]);
    assert_eq!(rig.changes(session, slow, 9, 0), ["empty"]);
    assert_eq!(rig.changes(session, other, 9, 0), ["empty"], "it missed nothing");
    assert_eq!(rig.engine.stats().watch_gaps, 1);
    assert_eq!(rig.engine.watch_history().0, 3);
}

#[test]
fn the_history_is_bounded_in_bytes_too() {
    let mut rig = Rig::new(Config { watch_history_bytes: 10_000, ..config() });
    let session = rig.open(peer(1));
    for _ in 0..50 {
        rig.kv(session, set("a", &"x".repeat(1_000))).unwrap();
        rig.fire();
    }
    let (changes, bytes) = rig.engine.watch_history();
    assert!((7..=9).contains(&changes) && bytes <= 10_000, "{changes} {bytes}");
}

#[test]
fn a_watch_grants_what_fits_and_one_event_at_least() {
    let mut rig = Rig::new(Config { session_out_max: 4_096, ..config() });
    let session = rig.open(peer(1));
    let watch = rig.watch(session, below(""));
    for n in 0..4 {
        rig.kv(session, set("a", &n.to_string().repeat(700))).unwrap();
    }
    rig.kv(session, set("a", &"x".repeat(9_000))).unwrap();
    assert_eq!(rig.changes(session, watch, 100, 0).len(), 2);
    assert_eq!(rig.changes(session, watch, 100, 0).len(), 2);
    assert_eq!(rig.changes(session, watch, 100, 0).len(), 1);
}

#[test]
fn one_who_takes_nothing_holds_up_nobody_and_goes_on_when_there_is_room() {
    let mut rig = Rig::new(Config { session_out_max: 4_096, ..config() });
    let (stuck, quick, writer) = (rig.open(peer(1)), rig.open(peer(2)), rig.open(peer(3)));
    let watch = rig.watch(stuck, one("a"));
    let other = rig.watch(quick, one("a"));
    assert_eq!(rig.changes(stuck, watch, 10, 60_000), [""; 0]);
    assert_eq!(rig.changes(quick, other, 10, 60_000), [""; 0]);
    rig.drains = false;
    // So much is on its way to it that no event fits.
    rig.kv(writer, set("b", &"x".repeat(1_700))).unwrap();
    rig.kv(stuck, KvRequest::Get { key: key("b") }).unwrap();
    rig.drains = true;
    rig.kv(writer, set("a", &"y".repeat(500))).unwrap();
    rig.fire();
    assert_eq!(rig.told_changes(quick).len(), 1);
    assert_eq!(rig.told_changes(stuck), [""; 0]);
    rig.engine.written(stuck, 4_096);
    rig.fire();
    assert_eq!(rig.told_changes(stuck).len(), 1);
}

#[test]
fn a_receive_that_stays_tells_what_comes_until_it_has_told_what_was_asked_for() {
    let mut rig = Rig::new(config());
    let (reader, writer) = (rig.open(peer(1)), rig.open(peer(2)));
    let watch = rig.watch_from(reader, one("a"), None).unwrap().0;
    let change = |rig: &mut Rig, value: &str| {
        rig.kv(writer, set("a", value)).unwrap();
        rig.kv(writer, set("b", value)).unwrap();
        rig.fire();
        rig.told_changes(reader)
    };
    assert_eq!(rig.follow(reader, watch, 3), Ran::Done);
    assert_eq!(change(&mut rig, "1"), ["1 a=1", "..."]);
    assert_eq!(change(&mut rig, "2"), ["3 a=2", "..."]);
    assert_eq!(change(&mut rig, "3"), ["5 a=3"]);
    assert_eq!(change(&mut rig, "4"), [""; 0]);
    assert_eq!(rig.follow(reader, watch, 2), Ran::Done);
    assert_eq!(rig.told_changes(reader), ["7 a=4", "..."], "it is there already");
    rig.pass(ms(1_000));
    assert_eq!(rig.told_changes(reader), ["empty"], "its time is over");
    assert_eq!(change(&mut rig, "5"), [""; 0]);
}

#[test]
fn a_receive_that_stays_ends_where_there_is_no_room_for_what_comes() {
    let mut rig = Rig::new(Config { session_out_max: 4_096, ..config() });
    let (reader, writer) = (rig.open(peer(1)), rig.open(peer(2)));
    let watch = rig.watch(reader, one("a"));
    assert_eq!(rig.follow(reader, watch, 100), Ran::Done);
    let mut told = Vec::new();
    for n in 1..=3 {
        rig.kv(writer, set("a", &n.to_string().repeat(1_000))).unwrap();
        rig.drains = false;
        rig.fire();
        rig.drains = true;
        told.push(rig.told_changes(reader).into_iter().map(|event| event.len()).sum::<usize>());
    }
    assert_eq!(told, [1_007, 5, 0], "an event, an empty answer, and nothing");
    // As long as nothing has left, it waits outside.
    assert_eq!(rig.follow(reader, watch, 100), Ran::NoRoom);
    rig.engine.written(reader, 4_096);
    assert_eq!(rig.follow(reader, watch, 100), Ran::Done);
    assert_eq!(rig.told_changes(reader).len(), 2);
}

#[test]
fn who_is_told_of_a_change_alone_shares_it_and_others_are_not_told_of_it() {
    let mut rig = Rig::new(config());
    let readers: Vec<_> = (1..=4).map(|n| rig.open(peer(n))).collect();
    let keys = [one("a"), below(""), below("b"), one("a")];
    for (reader, keys) in readers.iter().zip(keys) {
        let watch = rig.watch(*reader, keys);
        assert_eq!(rig.follow(*reader, watch, 9), Ran::Done);
    }
    let writer = rig.open(peer(9));
    rig.kv(writer, set("a", "1")).unwrap();
    rig.fire();
    let events = |rig: &mut Rig, reader: &SessionId| match rig.told(*reader).map(|out| out.said) {
        Some(Said::Answer(Answer::Changes { events, .. })) => Some(events),
        None => None,
        other => panic!("{other:?}"),
    };
    let told: Vec<_> = readers.iter().map(|reader| events(&mut rig, reader)).collect();
    assert!(told[2].is_none());
    let shared: Vec<_> = told.into_iter().flatten().collect();
    assert!(shared.len() == 3 && shared.iter().all(|events| Arc::ptr_eq(events, &shared[0])));
    rig.commits = false;
    rig.kv(writer, set("b", "2")).unwrap();
    rig.kv(writer, set("a", "3")).unwrap();
    rig.commit();
    rig.fire();
    let alone = &["3 a=3", "..."][..];
    let expected = [alone, &["2 b=2", "3 a=3", "..."], &["2 b=2", "..."], alone];
    for (reader, expected) in readers.iter().zip(expected) {
        assert_eq!(rig.told_changes(*reader), expected);
    }
    // The same where others were changed behind it.
    rig.commits = false;
    rig.kv(writer, set("a", "4")).unwrap();
    rig.kv(writer, set("b", "5")).unwrap();
    rig.commit();
    rig.fire();
    let [first, last] = [0, 3].map(|at| events(&mut rig, &readers[at]).unwrap());
    assert!(Arc::ptr_eq(&first, &last) && first.len() == 1);
}

#[test]
fn watches_end_with_their_session_at_once_and_by_request() {
    let mut rig = Rig::new(config());
    let (session, other) = (rig.open(peer(1)), rig.open(peer(2)));
    let watch = rig.watch(session, one("a"));
    let second = rig.watch(session, below("a"));
    rig.watch(session, below(""));
    assert_eq!(rig.changes(session, watch, 10, 60_000), [""; 0]);
    assert_eq!(rig.kv(other, KvRequest::Unwatch { watch }), Err(Code::NotFound));
    let receive = Receive::one(Source::Watch(watch));
    let refused = rig.answer(other, Command::Receive(receive));
    assert!(matches!(refused, Answer::Refused(refusal) if refusal.code == Code::NotFound));
    assert_eq!(
        rig.ask(session, Command::Kv(KvRequest::Unwatch { watch })).map(|out| out.said),
        Some(Said::Answer(EMPTY))
    );
    assert_eq!(
        rig.told(session).map(|out| out.said),
        Some(Said::Answer(Answer::Kv(KvAnswer::Unwatched)))
    );
    assert_eq!(rig.engine.watches(), 2);
    assert_eq!(rig.changes(session, second, 10, 60_000), [""; 0]);
    rig.close(session, EndedBy::Client, &[]);
    assert_eq!(rig.engine.watches(), 0);
    rig.kv(other, set("a", "1")).unwrap();
    rig.fire();
    assert_eq!(rig.told_changes(session), [""; 0]);
}

#[test]
fn there_are_as_many_watches_as_allowed_and_a_quarter_by_one_key() {
    let mut rig = Rig::new(Config { watches_max: 8, ..config() });
    let (own, open) = (rig.open(crate::rig::key("k", 1)), rig.open(peer(1)));
    for _ in 0..2 {
        rig.watch(own, one("a"));
    }
    assert_eq!(rig.watch_from(own, one("a"), None), Err(Code::Overloaded));
    for _ in 0..6 {
        rig.watch(open, one("a"));
    }
    assert_eq!(rig.watch_from(open, one("a"), None), Err(Code::Overloaded));
}

#[test]
fn a_long_look_through_the_history_goes_on_in_parts() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    rig.commits = false;
    for _ in 0..10_000 {
        rig.kv(session, set("other", "x")).unwrap();
    }
    rig.kv(session, set("a", "1")).unwrap();
    rig.commit();
    let (watch, _) = rig.watch_from(session, one("a"), Some(1)).unwrap();
    assert_eq!(rig.changes(session, watch, 10, 60_000), [""; 0], "it waits");
    rig.fire_all();
    assert_eq!(rig.told_changes(session), ["10001 a=1"]);
}

#[test]
fn a_repaired_log_that_lost_changes_hides_that_from_nobody() {
    let mut rig = Rig::new(config());
    let session = rig.open(peer(1));
    let put = |revision: u64, name: &'static str| Record::KeySet {
        revision,
        key: name.into(),
        kind: sluice_model::ValueKind::Text,
        value: b"x"[..].into(),
        expires_at: sluice_model::Timestamp::EPOCH,
        dedupe: None,
    };
    for (revision, name) in [(1, "a"), (2, "b"), (7, "b"), (8, "c")] {
        rig.engine.replay(&put(revision, name), BodyRef::default());
    }
    rig.commit();
    rig.engine.check();
    assert_eq!(rig.watch_from(session, below(""), Some(2)), Err(Code::Gone));
    let (watch, revision) = rig.watch_from(session, below(""), Some(7)).unwrap();
    assert_eq!(revision, 8);
    assert_eq!(rig.changes(session, watch, 9, 0), ["7 b=x", "8 c=x"]);
    // What is left of the time before is there, through an image too.
    rig.take_image();
    rig.restart(rig.tape.last(), true, true);
    let session = rig.open(peer(1));
    assert_eq!(rig.engine.keys(), 3);
    assert_eq!(rig.kv(session, set("d", "x")), written(9));
}
