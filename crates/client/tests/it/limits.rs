//! Limits, pauses and reasons over the broker that is shipped.

use std::time::Duration;

use sluice_client::{
    Error, Explained, Extras, Lane, Limit, LimitMatch, LimitScope, Message, Pausable, QueueName,
    QueuePattern, QueueSettings, Receive,
};
use sluice_model::Code;

use crate::real::start;

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
    assert_eq!(rest.limits[0].terms(), "concurrency 1");
    assert_eq!(client.limits(rest.next.as_deref(), 1).await.unwrap().limits, []);
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
