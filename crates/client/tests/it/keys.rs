//! Keys and values over the broker that is shipped.

use std::time::Duration;

use sluice_client::{
    Condition, Error, Key, Keys, Revision, SetKey, Value, ValueKind, WatchEvent, WatchKeys,
};
use sluice_model::Code;
use sluice_protocol::binary::frame::LENGTH_MAX;
use sluice_protocol::binary::v2::{
    ChangesWriter, ClientFrame, Credit, FrameType, WatchRef, Watching,
};

use crate::fake::{Connection, Fake, options};
use crate::real::start;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn text(value: &str) -> Value {
    Value { kind: ValueKind::Text, bytes: value.to_owned().into() }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Code {
    match outcome.unwrap_err() {
        Error::Refused(refused) => *Code::ALL.iter().find(|code| refused.is(**code)).unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_set_read_added_to_listed_and_removed() {
    let (_data, real) = start().await;
    let client = real.client().await;
    let plain = SetKey::default();
    assert_eq!(refused(client.get_key(&key("a")).await), Code::NotFound);
    assert_eq!(client.set_key(&key("a"), &text("\u{1}ä\""), &plain).await.unwrap().revision, 1);
    let entry = client.get_key(&key("a")).await.unwrap();
    assert_eq!((entry.bytes().unwrap(), &*entry.kind), ("\u{1}ä\"".as_bytes().to_vec(), "text"));
    let large: Vec<u8> = (0..1 << 20).map(|at| at as u8).collect();
    let bytes = Value { kind: ValueKind::Bytes, bytes: large.clone().into() };
    client.set_key(&key("n^large"), &bytes, &plain).await.unwrap();
    assert_eq!(client.get_key(&key("n^large")).await.unwrap().bytes().unwrap(), large);
    let absent = SetKey { condition: Condition::Absent, ..SetKey::default() };
    assert_eq!(refused(client.set_key(&key("a"), &text("2"), &absent).await), Code::Conflict);
    let at = SetKey {
        condition: Condition::Revision(Revision(1)),
        ttl: Some(Duration::from_secs(60)),
        dedupe_id: Some("x".to_owned()),
    };
    let written = client.set_key(&key("a"), &text("2"), &at).await.unwrap();
    assert!((written.revision, written.duplicate) == (3, false));
    assert!(client.set_key(&key("a"), &text("2"), &at).await.unwrap().duplicate);
    assert!(client.find_key(&key("a")).await.unwrap().expires_at.is_some());
    let json = Value { kind: ValueKind::Json, bytes: "{".into() };
    assert_eq!(refused(client.set_key(&key("a"), &json, &plain).await), Code::Invalid);
    assert_eq!(client.increment_key(&key("n^sum"), -5, None).await.unwrap().value, -5);
    let page = client.scan_keys(&Keys::below("n^").unwrap(), None, 1, false).await.unwrap();
    assert_eq!((page.keys.len(), page.next.as_deref()), (1, Some("n^large")));
    let rest = client.scan_keys(&Keys::below("").unwrap(), page.next.as_deref(), 9, true).await;
    assert_eq!(rest.unwrap().keys[0].key, "n^sum");
    let wrong = Condition::Revision(Revision(1));
    assert_eq!(refused(client.delete_key(&key("a"), wrong).await), Code::Conflict);
    client.delete_key(&key("a"), Condition::Always).await.unwrap();
    assert_eq!(refused(client.find_key(&key("a")).await), Code::NotFound);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_come_when_they_happen_and_a_watcher_goes_on_behind_the_last() {
    let (_data, real) = start().await;
    let (client, watcher) = (real.client().await, real.client().await);
    let all = Keys::below("n^").unwrap();
    let wait = Duration::from_secs(20);
    let begun = watcher.key_changes(&all, None, Duration::ZERO).await.unwrap();
    assert!((begun.changes.len(), begun.next) == (0, 1));
    let set = async {
        client.set_key(&key("other"), &text("x"), &SetKey::default()).await.unwrap();
        client.set_key(&key("n^1"), &text("x"), &SetKey::default()).await.unwrap();
        client.delete_key(&key("n^1"), Condition::Always).await.unwrap();
    };
    let (page, ()) = tokio::join!(watcher.key_changes(&all, Some(begun.next), wait), set);
    let page = page.unwrap();
    assert!(page.changes[0].event == "put" && page.changes[0].revision == 2, "{page:?}");
    let mut told = page.changes;
    let mut next = page.next;
    while told.len() < 2 {
        let page = watcher.key_changes(&all, Some(next), wait).await.unwrap();
        told.extend(page.changes);
        next = page.next;
    }
    assert!(told[1].event == "del" && told[1].revision == 3, "{told:?}");
    // Nothing comes, and other requests go on meanwhile.
    let (short, long) = (Duration::from_millis(50), watcher.key_changes(&all, Some(next), wait));
    let page = watcher.key_changes(&all, Some(next), short).await.unwrap();
    assert!(page.changes.is_empty() && page.next == 4);
    let set = async { client.set_key(&key("n^2"), &text("y"), &SetKey::default()).await.unwrap() };
    let (page, _) = tokio::join!(long, set);
    assert_eq!(
        page.unwrap().changes[0].value,
        Some(sluice_client::json::Payload::Text("y".into()))
    );
    assert_eq!(refused(watcher.key_changes(&all, Some(99), short).await), Code::Invalid);
    real.stop().await;
}

fn deleted(name: &str, revision: u64) -> WatchEvent {
    WatchEvent::Deleted { key: key(name), revision: Revision(revision) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_told_changes_in_order_until_it_is_dropped() {
    let (_data, real) = start().await;
    let (client, watcher) = (real.client().await, real.client().await);
    client.set_key(&key("n^1"), &text("old"), &SetKey::default()).await.unwrap();
    let all = Keys::below("n^").unwrap();
    // So few may be on their way that credit is given again and again.
    let how = WatchKeys { from: Some(Revision(1)), prefetch: 2 };
    let mut watch = watcher.watch_keys(&all, how).await.unwrap();
    for round in 0..20 {
        client.set_key(&key("n^1"), &text(&round.to_string()), &SetKey::default()).await.unwrap();
    }
    client.delete_key(&key("n^1"), Condition::Always).await.unwrap();
    for revision in 1..=21 {
        match watch.next().await.unwrap() {
            Some(WatchEvent::Put(entry)) => assert_eq!(entry.revision, Revision(revision)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(watch.next().await.unwrap(), Some(deleted("n^1", 22)));
    drop(watch);
    let future = WatchKeys { from: Some(Revision(99)), ..WatchKeys::default() };
    assert_eq!(refused(watcher.watch_keys(&all, future).await.map(drop)), Code::Invalid);
    real.stop().await;
}

/// The next WATCH, which is answered so.
async fn hears_watch(connection: &mut Connection, last: u64) -> Option<Revision> {
    let frame = connection.hears(FrameType::Watch).await;
    match ClientFrame::read(frame.msg_type, &frame.payload, LENGTH_MAX).unwrap() {
        ClientFrame::Watch(WatchRef { keys: "n^", below: true, from, credit: 4 }) => {
            let watching = Watching { consumer: 7, revision: Revision(last) };
            watching.put(&mut connection.out, frame.correlation_id);
            connection.say().await;
            from
        }
        other => panic!("{other:?}"),
    }
}

async fn tells(connection: &mut Connection, events: &[WatchEvent]) {
    let mut writer = ChangesWriter::begin(&mut connection.out, 7, LENGTH_MAX).unwrap();
    assert!(events.iter().all(|event| writer.push(event)));
    writer.finish();
    connection.say().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_behind_the_last_change_on_the_next_connection() {
    let fake = Fake::new().await;
    let (client, mut connection) = fake.client(options()).await;
    let all = Keys::below("n^").unwrap();
    let how = WatchKeys { from: None, prefetch: 4 };
    let (watch, from) = tokio::join!(client.watch_keys(&all, how), hears_watch(&mut connection, 6));
    let mut watch = watch.unwrap();
    assert_eq!(from, None);
    // Nothing came: it begins where the first one did.
    drop(connection);
    let mut connection = fake.greeted().await;
    assert_eq!(hears_watch(&mut connection, 9).await, Some(Revision(7)));
    let gap = WatchEvent::Gap { resumed_at: Revision(12) };
    tells(&mut connection, &[deleted("n^a", 8), gap.clone()]).await;
    assert_eq!(watch.next().await.unwrap(), Some(deleted("n^a", 8)));
    assert_eq!(watch.next().await.unwrap(), Some(gap));
    drop(connection);
    let mut connection = fake.greeted().await;
    assert_eq!(hears_watch(&mut connection, 20).await, Some(Revision(12)));
    tells(&mut connection, &[deleted("n^b", 12), deleted("n^c", 13)]).await;
    assert_eq!(watch.next().await.unwrap(), Some(deleted("n^b", 12)));
    assert_eq!(watch.next().await.unwrap(), Some(deleted("n^c", 13)));
    // Two of four were looked at: the next look gives them back.
    tokio::select! {
        biased;
        event = watch.next() => panic!("{event:?}"),
        () = std::future::ready(()) => {}
    }
    let frame = connection.hears(FrameType::Credit).await;
    assert_eq!(Credit::read(&frame.payload).unwrap(), Credit { consumer: 7, messages: 2 });
    drop(connection);
    // What follows is no longer known, and what is there must be read anew.
    let mut connection = fake.greeted().await;
    let frame = connection.hears(FrameType::Watch).await;
    connection.refuses(frame.correlation_id, 410, "gone", 0).await;
    assert_eq!(refused(watch.next().await), Code::Gone);
}
