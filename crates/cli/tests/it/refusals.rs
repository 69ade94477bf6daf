//! What is refused, with which exit code and which words.

use crate::setup::Place;

#[test]
fn an_unknown_key_names_the_nearest_and_its_place() {
    let place = Place::new();
    place.config("port = 0\nmax_retrys = 3\n");
    let words = ["max_retrys", "did you mean `max_retries`?", "sluice.toml:2:1"];
    place.run(["serve"]).assert(78, &words);
    assert!(!place.path("sluice-data").exists());
}

#[test]
fn fewer_live_keys_than_one_message_may_ask_are_refused_at_the_start() {
    let place = Place::new();
    place.config("port = 0\n[flow]\nlive_keys_max = 39\n");
    let words = ["live_keys_max = 39 is outside 40", "sluice.toml:3:1"];
    place.run(["serve"]).assert(78, &words);
    assert!(!place.path("sluice-data").exists());
}

#[test]
fn two_values_for_one_thing_are_refused() {
    let place = Place::new();
    place.config("bind_addr = \"127.0.0.1:5000\"\nport = 5001\n");
    place.run(["serve"]).assert(78, &["bind_addr", "port", "two different values"]);
}

#[test]
fn a_missing_configuration_file_is_named() {
    let place = Place::new();
    place.run(["serve", "--config", "none.toml"]).assert(78, &["none.toml"]);
}

#[test]
fn listening_beyond_this_machine_without_keys_is_refused() {
    let place = Place::new();
    let args = [
        "serve",
        "--tcp-addr",
        "0.0.0.0:0",
        "--http-addr",
        "127.0.0.1:0",
        "--metrics-addr",
        "127.0.0.1:0",
        "--data-dir",
        "data",
    ];
    place.run(args).assert(2, &["--insecure-no-auth"]);
    assert!(!place.data().exists());
}

#[test]
fn usage_errors_exit_with_2() {
    let place = Place::new();
    place.run(["serve", "--no-such-flag"]).assert(2, &["--no-such-flag"]);
    place.run(["publish", "demo", "x", "--qos", "2"]).assert(2, &["--qos"]);
}

#[test]
fn a_broker_that_is_not_there_is_said_with_a_hint() {
    let place = Place::new();
    // A port that was free a moment ago.
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = bound.local_addr().unwrap().to_string();
    drop(bound);
    let args = ["publish", "demo", "x", "--server", &addr];
    place.run(args).assert(1, &["is the broker running?"]);
}

#[test]
fn a_client_without_the_key_is_told_how_to_give_it() {
    let place = Place::new();
    let config = place.config("allowed_api_keys = [\"s3cret\"]\n");
    let broker = place.launch().arg("--config").arg(config).start().unwrap();
    let publish = |key: Option<&str>| {
        let mut command = place.client(&broker, &["publish", "demo", "x"]);
        key.map(|key| command.env("SLUICE_API_KEY", key));
        crate::setup::wait(command.spawn().unwrap())
    };
    publish(None).assert(1, &["401", "--key-file"]);
    publish(Some("wrong")).assert(1, &["401", "--key-file"]);
    publish(Some("s3cret")).assert(0, &[]);
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_topic_that_is_none_is_refused_with_its_code() {
    let place = Place::new();
    let broker = place.broker();
    let refused = place.client(&broker, &["publish", "no..topic", "x"]).spawn().unwrap();
    crate::setup::wait(refused).assert(1, &["422 invalid", "empty token"]);
}
