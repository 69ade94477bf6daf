//! Keys with grants, and what happens when they change under those who use them.

use std::time::{Duration, Instant};

use sluice_broker::ClosedBy;
use sluice_model::{Grants, Principal};
use sluice_protocol::FrameType::{Auth, Ping, Poll, Publish, Subscribe};
use sluice_server::{ApiKey, Config, KeyHash};

use crate::client::{Client, auth, poll, publish, subscribe};
use crate::running::{config, config_with_keys, start};

/// The longest that a connection may outlive its key.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

pub(crate) fn key(id: &str, secrets: &[&str], grants: &[&str]) -> ApiKey {
    let hashes = secrets.iter().map(|secret| KeyHash::of(secret)).collect();
    ApiKey { id: id.into(), hashes, grants: Grants::parse(grants.iter().copied()).unwrap() }
}

fn config_with(keys: Vec<ApiKey>) -> Config {
    Config { keys: Some(keys), ..config() }
}

#[tokio::test]
async fn what_a_key_has_no_grant_for_is_refused_in_its_place() {
    let grants = ["publish:orders.>", "subscribe:orders.eu"];
    let server = start(config_with(vec![key("shop", &["secret"], &grants)])).await;
    let mut client = Client::with_key(server.addr, "secret").await;
    client.say(Publish, 3, publish("orders.eu", 1, b"1")).await;
    client.say(Publish, 4, publish("orders", 1, b"2")).await;
    client.say(Ping, 5, Default::default()).await;
    client.hears_nack(4, 403, "not allowed: no grant to publish there").await;
    client.hears_pong(5).await;
    for pattern in ["orders.*", "orders.>", ">", "orders.us"] {
        client.say(Subscribe, 6, subscribe(pattern, 1)).await;
        client.hears_nack(6, 403, "not allowed: no grant to subscribe there").await;
    }
    let id = client.subscribes("orders.eu", 1).await;
    client.publishes("orders.eu", 1, b"3").await;
    client.say(Poll, 7, poll(id)).await;
    assert_eq!(client.hears_delivery().await.1.message, &b"3"[..]);
    drop(client);
    let closed = server.fake.closed(1).await;
    assert_eq!(closed[0].0.principal, Principal::Key("shop".into()));
    assert_eq!(server.stop().await.refusals, 5);
}

#[tokio::test]
async fn a_revoked_key_ends_its_connections_within_a_second_and_no_others() {
    let (old, new) = (key("a", &["first", "second"], &["all"]), key("b", &["other"], &["all"]));
    let server = start(config_with(vec![old, new.clone()])).await;
    let mut idle = Client::with_key(server.addr, "first").await;
    let mut busy = Client::with_key(server.addr, "first").await;
    let mut rotated = Client::with_key(server.addr, "second").await;
    let mut other = Client::with_key(server.addr, "other").await;
    busy.subscribes("demo", 1).await;
    other.fences().await;

    // One of two secrets is gone: only those who showed that one have to leave.
    let begun = Instant::now();
    server.ring.replace(vec![key("a", &["second"], &["all"]), new.clone()]).unwrap();
    busy.hears_the_end().await;
    idle.hears_the_end().await;
    assert!(begun.elapsed() < REVOKED_WITHIN);
    assert_eq!(server.fake.closed(1).await[0].1, ClosedBy::Broker);
    rotated.fences().await;

    let begun = Instant::now();
    server.ring.replace(vec![new]).unwrap();
    rotated.hears_the_end().await;
    assert!(begun.elapsed() < REVOKED_WITHIN);
    other.fences().await;
    let mut again = Client::greeted(server.addr).await;
    again.say(Auth, 2, auth("second")).await;
    again.hears_nack(2, 401, "invalid API key").await;
    let counters = server.stop().await;
    assert_eq!((counters.revoked, counters.key_reloads), (3, 2));
}

#[tokio::test]
async fn fewer_grants_end_those_who_listen_to_what_they_may_not_and_refuse_the_others() {
    let with = |grants: &[&str]| vec![key("a", &["secret"], grants)];
    let server = start(config_with(with(&["all"]))).await;
    let mut listener = Client::with_key(server.addr, "secret").await;
    listener.subscribes("orders.*", 1).await;
    let mut publisher = Client::with_key(server.addr, "secret").await;
    publisher.publishes("orders.eu", 1, b"").await;
    publisher.fences().await;
    server.ring.replace(with(&["subscribe:orders.eu", "publish:orders.eu"])).unwrap();
    listener.hears_the_end().await;
    publisher.say(Publish, 8, publish("orders.us", 1, b"")).await;
    publisher.hears_nack(8, 403, "not allowed: no grant to publish there").await;
    publisher.publishes("orders.eu", 1, b"").await;
    publisher.fences().await;
    assert_eq!(server.stop().await.revoked, 1);
}

#[tokio::test]
async fn the_first_key_ends_those_who_were_let_in_without() {
    let server = start(config()).await;
    let mut anyone = Client::greeted(server.addr).await;
    anyone.fences().await;
    let mut silent = Client::greeted(server.addr).await;
    server.ring.replace(vec![key("a", &["secret"], &["all"])]).unwrap();
    anyone.hears_the_end().await;
    silent.hears_the_end().await;
    Client::with_key(server.addr, "secret").await.fences().await;
    // And no reload opens it again.
    server.ring.replace(Vec::new()).unwrap();
    let mut stranger = Client::greeted(server.addr).await;
    stranger.say(Ping, 2, Default::default()).await;
    stranger.hears_nack(2, 401, "unauthenticated").await;
    server.stop().await;
}

#[tokio::test]
async fn keys_that_contradict_each_other_leave_those_before_in_force() {
    let server = start(config_with_keys(&["plain"])).await;
    let mut client = Client::with_key(server.addr, "plain").await;
    let twice = vec![key("a", &["same"], &[]), key("b", &["same"], &[])];
    assert!(server.ring.replace(twice).is_err());
    assert!(server.ring.replace(vec![key("a", &["plain"], &[])]).is_err());
    client.fences().await;
    server.ring.replace(vec![key("a", &["filed"], &["all"])]).unwrap();
    client.fences().await;
    Client::with_key(server.addr, "filed").await.fences().await;
    assert_eq!(server.stop().await.revoked, 0);
}

#[tokio::test]
async fn a_good_key_is_served_while_others_guess() {
    let server = start(config_with_keys(&["right"])).await;
    let guesser = "127.0.0.2".parse().unwrap();
    let mut guessing = Client::greeted_from(guesser, server.addr).await;
    for number in 0..10 {
        guessing.say(Auth, number, auth("wrong")).await;
        guessing.hears_nack(number, 401, "invalid API key").await;
    }
    for number in 0..1_000 {
        guessing.say(Auth, number, auth("wrong")).await;
    }
    let begun = Instant::now();
    Client::with_key(server.addr, "right").await.fences().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(server.stop().await.auth_failures < 20, "the guesser has to wait");
}
