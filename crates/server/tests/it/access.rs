//! Who is let in, and how many.

use std::time::Duration;

use sluice_broker::Broker;
use sluice_model::Principal;
use sluice_protocol::FrameType::{Auth, Ping};
use sluice_server::{Config, ConfigError, Server, ServerError};

use crate::client::{Client, auth};
use crate::fake::Fake;
use crate::running::{config, config_with_keys, start};

#[tokio::test]
async fn without_keys_everyone_on_this_machine_is_anonymous() {
    let server = start(config()).await;
    let mut silent = Client::greeted(server.addr).await;
    silent.fences().await;
    let mut keyed = Client::with_key(server.addr, "anything").await;
    keyed.fences().await;
    drop((silent, keyed));
    for (client, _) in server.fake.closed(2).await {
        assert_eq!(client.principal, Principal::Anonymous);
        assert!(client.peer.is_loopback());
    }
    server.stop().await;
}

#[tokio::test]
async fn with_keys_only_their_holders_are_let_in_and_told_apart() {
    let server = start(config_with_keys(&["first", "second"])).await;
    let mut wrong = Client::greeted(server.addr).await;
    wrong.say(Ping, 2, Default::default()).await;
    wrong.hears_nack(2, 401, "unauthenticated").await;
    wrong.say(Auth, 3, auth("third")).await;
    wrong.hears_nack(3, 401, "invalid API key").await;
    wrong.say(Auth, 4, auth("first")).await;
    wrong.hears_ack(4, 0).await;
    wrong.fences().await;
    drop(wrong);
    server.fake.closed(1).await;
    let mut other = Client::with_key(server.addr, "second").await;
    other.fences().await;
    drop(other);
    let closed = server.fake.closed(2).await;
    assert_ne!(closed[0].0.principal, closed[1].0.principal);
    assert_eq!(server.stop().await.auth_failures, 1);
}

#[tokio::test]
async fn after_ten_wrong_keys_an_address_waits() {
    let config =
        Config { first_frame_timeout: Duration::from_millis(200), ..config_with_keys(&["right"]) };
    let server = start(config).await;
    for number in 0..10 {
        let mut client = Client::greeted(server.addr).await;
        client.say(Auth, number, auth("wrong")).await;
        client.hears_nack(number, 401, "invalid API key").await;
    }
    // The delay is longer than the time that this connection has to authenticate.
    let mut late = Client::greeted(server.addr).await;
    late.say(Auth, 2, auth("right")).await;
    late.hears_the_end().await;
    let counters = server.stop().await;
    assert_eq!((counters.auth_failures, counters.first_frame_timeouts), (10, 1));
    assert!(counters.auth_delays >= 1);
}

#[tokio::test]
async fn connections_are_capped_in_all_and_by_key() {
    let keyed = Config { per_principal_max: 1, ..config_with_keys(&["first", "second"]) };
    let server = start(keyed).await;
    let mut first = Client::with_key(server.addr, "first").await;
    let mut again = Client::greeted(server.addr).await;
    again.say(Auth, 2, auth("first")).await;
    again.hears_nack(2, 503, "too many connections").await;
    again.hears_the_end().await;
    Client::with_key(server.addr, "second").await.fences().await;
    first.fences().await;
    assert_eq!(server.stop().await.rejected_principal, 1);

    let server = start(Config { connections_max: 1, ..config() }).await;
    let mut one = Client::greeted(server.addr).await;
    let mut two = Client::connect(server.addr).await;
    two.hears_the_end().await;
    one.fences().await;
    let counters = server.stop().await;
    assert_eq!((counters.accepted, counters.rejected_connections), (2, 1));
}

#[tokio::test]
async fn connections_that_come_too_fast_are_closed() {
    let server = start(Config { accept_rate: 1, accept_burst: 2, ..config() }).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        kept.push(Client::greeted(server.addr).await);
    }
    Client::connect(server.addr).await.hears_the_end().await;
    assert_eq!(server.stop().await.rejected_rate, 1);
}

#[tokio::test]
async fn what_others_can_reach_needs_keys_and_tls_or_a_flag() {
    let bind = |config| Server::bind(config, Broker::new(Fake::new()));
    let everywhere = || "0.0.0.0:0".parse().unwrap();
    let open = Config { tcp_addr: everywhere(), ..config() };
    let error = bind(open.clone()).await.err().unwrap();
    assert!(matches!(error, ServerError::Config(ConfigError::OpenToNetwork { .. })));
    let keyed = Config { tcp_addr: everywhere(), ..config_with_keys(&["key"]) };
    let error = bind(keyed.clone()).await.err().unwrap();
    assert!(matches!(error, ServerError::Config(ConfigError::PlaintextToNetwork { .. })));
    assert!(bind(Config { insecure_no_auth: true, ..open }).await.is_ok());
    assert!(bind(Config { insecure_plaintext: true, ..keyed }).await.is_ok());
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let server = start(config()).await;
    let taken = Config { tcp_addr: server.addr, ..config() };
    let error = Server::bind(taken, Broker::new(Fake::new())).await.err().unwrap();
    assert!(matches!(error, ServerError::Bind { addr, .. } if addr == server.addr));
    server.stop().await;
}
