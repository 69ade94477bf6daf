//! Limits, pauses and reasons over the broker that is shipped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_client::{
    Consume, Error, Explained, Extras, Lane, Limit, LimitMatch, LimitScope, Message, Pausable,
    QueueName, QueuePattern, QueueSettings, Receive,
};
use sluice_model::Code;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fake::PATIENCE;
use crate::real::{Real, start};

fn tenants(terms: &str) -> Limit {
    let matches = LimitMatch { queue: QueuePattern::all(), key: Some("tenant:*".parse().unwrap()) };
    Limit::new("tenants", LimitScope::Key, matches, terms.parse().unwrap()).unwrap()
}

fn under(key: &str) -> Message {
    let lane = Lane { keys: vec![key.into()], ..Lane::default() };
    let extras = Extras { lane, ..Extras::default() };
    Message { payload: key.to_owned().into(), extras: Some(Box::new(extras)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_set_listed_and_taken_away() {
    let (_data, real) = start().await;
    let client = real.client().await;
    assert_eq!(client.put_limit(tenants("5/s burst 2")).await.unwrap().replaced, None);
    let replaced = client.put_limit(tenants("concurrency 1")).await.unwrap().replaced.unwrap();
    assert_eq!((&*replaced.name, &*replaced.terms()), ("tenants", "5/s burst 2"));
    let matches = LimitMatch { queue: "calls.>".parse().unwrap(), key: None };
    let calls = Limit::new("calls", LimitScope::Queue, matches.clone(), "9/m".parse().unwrap());
    client.put_limit(calls.unwrap()).await.unwrap();
    let page = client.limits(None, 1).await.unwrap();
    assert_eq!((page.limits.len(), &*page.limits[0].name), (1, "calls"));
    let rest = client.limits(page.next.as_deref(), 1).await.unwrap();
    assert_eq!((rest.limits[0].terms(), rest.next), ("concurrency 1".to_owned(), None));
    assert_eq!(client.delete_limits("calls", Some(matches)).await.unwrap().limits, 1);
    assert_eq!(client.delete_limits("calls", None).await.unwrap().limits, 0);
    assert_eq!(client.top_keys("tenants", 9).await.unwrap().keys, []);
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_paused_says_so_and_goes_on_when_it_is_resumed() {
    let (_data, real) = start().await;
    let client = real.client().await;
    let queue = QueueName::new("calls").unwrap();
    let what = Pausable::Queue(queue.clone());
    let nowhere = client.pause(what.clone(), None, None).await.unwrap_err();
    assert!(matches!(nowhere, Error::Refused(refused) if refused.is(Code::NotFound)));
    client.declare(&queue, QueueSettings::default()).await.unwrap();
    client.to_queue("calls").publish(under("tenant:1")).await.await.unwrap();
    let pause = client.pause(what.clone(), Some(Duration::from_secs(60)), Some("deploy")).await;
    assert_eq!(pause.unwrap().reason.as_deref(), Some("deploy"));
    let received = client.receive_or_wait("calls", Receive::default()).await.unwrap();
    let next = received.next_eligible.unwrap();
    assert!(received.messages.is_empty() && next > Duration::from_secs(50), "{next:?}");
    let why = client.explain(&queue, Explained::Queue).await.unwrap();
    assert!(!why.deliverable && why.reasons[0].reason == "paused", "{why:?}");
    assert_eq!(why.reasons[0].why.as_deref(), Some("deploy"));
    assert!(client.resume(what.clone()).await.unwrap().was_paused);
    assert!(!client.resume(what).await.unwrap().was_paused);
    let received = client.receive_or_wait("calls", Receive::default()).await.unwrap();
    assert_eq!((received.messages.len(), received.next_eligible), (1, None));
    client.weigh(&queue, "gold", 3).await.unwrap();
    real.stop().await;
}

/// Takes `total` messages of a queue with a consumer on each of two connections, and gives the most that
/// were held at once under one key.
async fn most_held_at_once(real: &Real, queue: &str, total: usize) -> usize {
    let held: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let (most, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut consumers = JoinSet::new();
    for _ in 0..2 {
        let (client, queue) = (real.client().await, queue.to_owned());
        let (held, most, done) = (Arc::clone(&held), Arc::clone(&most), Arc::clone(&done));
        consumers.spawn(async move {
            let mut jobs = client.consume(&queue, Consume::default()).await.unwrap();
            while done.load(Relaxed) < total {
                let next = timeout(Duration::from_millis(200), jobs.next()).await;
                let Ok(job) = next else { continue };
                let job = job.unwrap().unwrap();
                let key = job.keys().next().unwrap_or_default().to_owned();
                let count = {
                    let mut held = held.lock().unwrap();
                    let count = held.entry(key.clone()).or_default();
                    *count += 1;
                    *count
                };
                most.fetch_max(count, Relaxed);
                let (held, done) = (Arc::clone(&held), Arc::clone(&done));
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    // It is used no more before anybody is told.
                    *held.lock().unwrap().get_mut(&key).unwrap() -= 1;
                    job.ack_confirmed().await.unwrap();
                    done.fetch_add(1, Relaxed);
                });
            }
        });
    }
    timeout(PATIENCE, consumers.join_all()).await.expect("everything is taken");
    most.load(Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_that_are_pushed_to_never_hold_more_at_once_than_may_be() {
    let (_data, real) = start().await;
    let client = real.client().await;
    let queue = QueueName::new("calls").unwrap();
    client.declare(&queue, QueueSettings::default()).await.unwrap();
    client.put_limit(tenants("concurrency 3")).await.unwrap();
    let (publisher, total) = (client.to_queue("calls"), 300);
    let keys = (0..total).map(|n| under(&format!("tenant:{}", n % 4)));
    for confirm in confirms_of(&publisher, keys).await {
        confirm.await.unwrap();
    }
    let most = most_held_at_once(&real, "calls", total).await;
    assert_eq!(most, 3, "as many as may be, and no more");
    real.stop().await;
}

async fn confirms_of(
    publisher: &sluice_client::Publisher,
    messages: impl Iterator<Item = Message>,
) -> Vec<sluice_client::Confirm> {
    let mut all = Vec::new();
    for message in messages {
        all.push(publisher.publish(message).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_waits_is_answered_the_moment_a_limit_lets_something_by() {
    let (_data, real) = start().await;
    let client = real.client().await;
    let queue = QueueName::new("calls").unwrap();
    client.declare(&queue, QueueSettings::default()).await.unwrap();
    client.put_limit(tenants("2/s")).await.unwrap();
    for _ in 0..3 {
        client.to_queue("calls").publish(under("tenant:1")).await.await.unwrap();
    }
    let began = Instant::now();
    let take =
        |wait| client.receive_or_wait("calls", Receive { max: 9, wait, ..Receive::default() });
    assert_eq!(take(Duration::ZERO).await.unwrap().messages.len(), 1);
    let nothing = take(Duration::ZERO).await.unwrap();
    let next = nothing.next_eligible.expect("the broker knows");
    assert!(nothing.messages.is_empty() && next <= Duration::from_millis(500), "{next:?}");
    let waited = take(Duration::from_secs(20)).await.unwrap();
    let after = began.elapsed();
    assert_eq!(waited.messages.len(), 1);
    assert!((490..5_000).contains(&after.as_millis()), "{after:?}");
    // Who sleeps for as long as it was told finds something then.
    let nothing = take(Duration::ZERO).await.unwrap();
    tokio::time::sleep(nothing.next_eligible.unwrap() + Duration::from_millis(1)).await;
    assert_eq!(take(Duration::ZERO).await.unwrap().messages.len(), 1);
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
    real.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_consumer_says_of_a_key_counts_for_all() {
    let (_data, real) = start().await;
    let (client, other) = (real.client().await, real.client().await);
    let queue = QueueName::new("calls").unwrap();
    client.declare(&queue, QueueSettings::default()).await.unwrap();
    for key in ["tenant:1", "tenant:1", "tenant:2"] {
        client.to_queue("calls").publish(under(key)).await.await.unwrap();
    }
    let mut taken = client.receive("calls", Receive::default()).await.unwrap();
    let first = taken.pop().unwrap();
    first.throttled(Some(Duration::from_secs(3_600))).unwrap();
    client.flush().await.unwrap();
    let all = Receive { max: 9, ..Receive::default() };
    let rest = other.receive_or_wait("calls", all).await.unwrap();
    let keys: Vec<&str> = rest.messages.iter().flat_map(|one| one.keys()).collect();
    assert_eq!(keys, ["tenant:2"]);
    let why = other.explain(&queue, Explained::Key("tenant:1".into())).await.unwrap();
    assert_eq!(why.reasons[0].reason, "paused", "{why:?}");
    let what = Pausable::Key { queue, key: "tenant:1".into() };
    assert!(other.resume(what).await.unwrap().was_paused);
    let mut again = other.receive("calls", Receive::default()).await.unwrap();
    // The same one, with nothing counted but that it was leased before.
    let again = again.pop().unwrap();
    assert_eq!(
        (again.attempt(), again.failures(), again.payload().as_ref()),
        (2, 0, &b"tenant:1"[..])
    );
    real.stop().await;
}
