//! Keys from their making to their end.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_bench::process::Broker;
use sluice_bench::v1::{Client, ClientError};

use crate::setup::{Outcome, Place, wait};

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

impl Place {
    fn key(&self, args: &[&str]) -> Outcome {
        self.run([&["key"], args, &["--data-dir", "data"]].concat())
    }

    fn create(&self, args: &[&str]) -> String {
        let made = self.key(&[&["create"], args].concat());
        made.assert(0, &["SIGHUP"]);
        made.out.trim().to_owned()
    }

    fn listed(&self) -> Value {
        let listed = self.key(&["list", "--json"]);
        listed.assert(0, &[]);
        serde_json::from_str(&listed.out).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn publish(&self, broker: &Broker, topic: &str, key: &str) -> Outcome {
        let mut command = self.client(broker, &["publish", topic, "x"]);
        wait(command.env("SLUICE_API_KEY", key).spawn().unwrap())
    }
}

fn connect(broker: &Broker, key: &str) -> Result<Client, ClientError> {
    let client = Client::connect(broker.tcp_addr(), Some(key))?;
    client.set_timeout(Some(PATIENCE)).unwrap();
    Ok(client)
}

fn hears_the_end(client: &mut Client) {
    match client.receive() {
        Err(ClientError::Closed) => {}
        Err(ClientError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

/// Has the broker read its keys, and waits until it has.
fn reload(place: &Place, broker: &Broker, done: impl Fn() -> bool) {
    broker.hang_up().unwrap();
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{}", place.log());
        std::thread::yield_now();
    }
}

#[test]
fn a_key_is_made_listed_and_revoked_and_its_secret_is_nowhere() {
    let place = Place::new();
    let shop = place.create(&["shop", "--grant", "publish:orders.>", "--grant", "kv_read:shop^"]);
    let secret = shop.strip_prefix("slc_shop_").unwrap();
    assert!(secret.len() == 64 && secret.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let unnamed = place.create(&["--all", "--json"]);
    let unnamed: Value = serde_json::from_str(&unnamed).unwrap();
    let id = unnamed["id"].as_str().unwrap();
    assert!(unnamed["key"].as_str().unwrap().starts_with(&format!("slc_{id}_")));

    let path = place.data().join("keys.toml");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(secret) && text.contains("shop"));
    let listed = place.listed();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
    let first = &listed["keys"][0];
    assert_eq!((&first["id"], &first["secrets"]), (&"shop".into(), &1.into()));
    assert_eq!(first["grants"], serde_json::json!(["publish:orders.>", "kv_read:shop^"]));
    assert_eq!(listed["keys"][1]["grants"], serde_json::json!(["all"]));
    assert!(place.key(&["list"]).out.contains("publish:orders.>"));

    place.key(&["create", "shop", "--all"]).assert(1, &["there is a key shop", "--rotate"]);
    let second = place.create(&["shop", "--rotate"]);
    assert_ne!(second, shop);
    place.key(&["create", "shop", "--rotate"]).assert(1, &["--oldest"]);
    place.key(&["revoke", "shop", "--oldest"]).assert(0, &[]);
    place.key(&["revoke", "shop", "--oldest"]).assert(1, &["has one secret"]);
    place.key(&["revoke", "shop"]).assert(0, &["SIGHUP"]);
    place.key(&["revoke", "shop"]).assert(1, &["there is no key shop"]);
    assert_eq!(place.listed()["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn what_makes_no_key_is_refused_with_the_reason() {
    let place = Place::new();
    place.key(&["create", "a"]).assert(2, &["--grant"]);
    place.key(&["create", "a", "--grant", "fly:b"]).assert(2, &["no such action"]);
    place.key(&["create", "a", "--grant", "publish:b.*"]).assert(2, &["wildcard"]);
    place.key(&["create", "a_b", "--all"]).assert(2, &["an id has"]);
    // A key in the place of an id is not repeated.
    let refused = place.key(&["revoke", "slc_a_5ec2e7"]);
    refused.assert(2, &["an id has"]);
    place.key(&["revoke", "nobody"]).assert(1, &["there is no key nobody"]);
    assert!(!refused.err.contains("5ec2e7"));
    assert!(!place.data().exists());
}

#[test]
fn a_key_file_that_is_missing_damaged_or_exposed_refuses_the_start() {
    let place = Place::new();
    place.config("keys_file = \"named.toml\"\nport = 0\n");
    place.run(["serve"]).assert(78, &["named.toml", "sluice key create"]);
    fs::write(place.path("named.toml"), "keys = 3\n").unwrap();
    place.run(["serve"]).assert(78, &["is no key file"]);
    fs::set_permissions(place.path("named.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    place.run(["serve"]).assert(2, &["chmod 600"]);
    assert!(!place.path("sluice-data").exists());
}

#[test]
fn a_key_does_what_it_is_granted_and_nothing_else() {
    let place = Place::new();
    let shop = place.create(&["shop", "--grant", "publish:orders.>", "--grant", "subscribe:a"]);
    let broker = place.broker();
    place.publish(&broker, "orders.eu", &shop).assert(0, &[]);
    place.publish(&broker, "orders", &shop).assert(1, &["403", "not allowed", "key list"]);
    place.publish(&broker, "orders.eu", "slc_shop_wrong").assert(1, &["401"]);
    let mut client = connect(&broker, &shop).unwrap();
    assert!(client.subscribe("a", 1).is_ok());
    let refused = client.subscribe("*", 1);
    assert!(matches!(refused, Err(ClientError::Refused(nack)) if nack.code == 403));
    assert!(broker.terminate().unwrap().success());
    assert!(!place.log().contains(&shop) && !place.log().contains("slc_"), "{}", place.log());
}

#[test]
fn a_revoked_key_ends_its_connections_within_a_second_of_the_signal() {
    let place = Place::new();
    let (gone, kept) = (place.create(&["gone", "--all"]), place.create(&["kept", "--all"]));
    let broker = place.broker();
    let mut leaving = connect(&broker, &gone).unwrap();
    leaving.subscribe("demo", 1).unwrap();
    let mut staying = connect(&broker, &kept).unwrap();
    staying.fence().unwrap();

    place.key(&["revoke", "gone"]).assert(0, &[]);
    leaving.fence().unwrap();
    let begun = Instant::now();
    broker.hang_up().unwrap();
    hears_the_end(&mut leaving);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    staying.fence().unwrap();
    assert!(matches!(connect(&broker, &gone), Err(ClientError::Refused(nack)) if nack.code == 401));

    // A damaged file changes nothing; the key that it does not take away still counts.
    fs::write(place.data().join("keys.toml"), "no key file").unwrap();
    reload(&place, &broker, || place.log().contains("stay in force"));
    staying.fence().unwrap();
}

#[test]
fn the_first_key_closes_a_broker_that_was_open_and_no_revocation_opens_it_again() {
    let place = Place::new();
    let broker = place.broker();
    let mut anyone = Client::connect(broker.tcp_addr(), None).unwrap();
    anyone.set_timeout(Some(PATIENCE)).unwrap();
    anyone.fence().unwrap();
    let key = place.create(&["first", "--all"]);
    broker.hang_up().unwrap();
    hears_the_end(&mut anyone);
    connect(&broker, &key).unwrap().fence().unwrap();
    place.key(&["revoke", "first"]).assert(0, &[]);
    reload(&place, &broker, || connect(&broker, &key).is_err());
    let mut stranger = Client::connect(broker.tcp_addr(), None).unwrap();
    assert!(matches!(stranger.fence(), Err(ClientError::Refused(nack)) if nack.code == 401));
    drop(broker);
    // Nor does a start.
    let broker = place.broker();
    assert!(Client::connect(broker.tcp_addr(), None).unwrap().fence().is_err());
}
