//! Backups of a broker that serves, and brokers that are started from them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_bench::process::{Broker, Launch};
use sluice_bench::v1::Client;

use crate::setup::{Outcome, Place, SLUICE, subscribe};

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "load";

type Numbers = Arc<Mutex<BTreeSet<u64>>>;

fn number(message: &[u8]) -> u64 {
    std::str::from_utf8(message).unwrap().trim_end_matches('.').parse().unwrap()
}

/// Publishes numbers until it is told to stop; gives those that were confirmed.
fn publish(broker: &Broker, confirmed: &Numbers, stop: &Arc<AtomicBool>) -> impl FnOnce() + Send {
    let mut client = Client::connect(broker.tcp_addr(), None).unwrap();
    let (confirmed, stop) = (Arc::clone(confirmed), Arc::clone(stop));
    move || {
        let padding = ".".repeat(2000);
        for batch in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let numbers = batch * 50..(batch + 1) * 50;
            for number in numbers.clone() {
                client.publish(TOPIC, 1, format!("{number}{padding}").as_bytes()).unwrap();
            }
            client.fence().unwrap();
            confirmed.lock().unwrap().extend(numbers);
        }
    }
}

/// Takes messages and acknowledges every second one until it is told to stop; gives those whose
/// acknowledgement was sent, and those of which it was confirmed.
fn consume(
    mut client: Client,
    subscription: u64,
    sent: &Numbers,
    acked: &Numbers,
    stop: &Arc<AtomicBool>,
) -> impl FnOnce() + Send {
    let (sent, acked, stop) = (Arc::clone(sent), Arc::clone(acked), Arc::clone(stop));
    move || {
        while !stop.load(Ordering::Relaxed) {
            let mut batch = Vec::new();
            for delivered in client.take(subscription, 40).unwrap() {
                let number = number(&delivered.message);
                if number.is_multiple_of(2) {
                    sent.lock().unwrap().insert(number);
                    client.ack(subscription, delivered.tag).unwrap();
                    batch.push(number);
                }
            }
            client.fence().unwrap();
            acked.lock().unwrap().extend(batch);
        }
    }
}

fn launch(place: &Place) -> Launch {
    place.launch().arg("--config").arg(place.config("lost_grace = \"50ms\"\nbackup_keep = 2\n"))
}

fn backup(place: &Place, more: &[&str]) -> Outcome {
    let args = ["backup", "--data-dir", "data", "--config", "sluice.toml", "--json"];
    place.run(args.iter().chain(more))
}

/// Where the backup is that a command has made.
#[track_caller]
fn made(outcome: &Outcome) -> PathBuf {
    outcome.assert(0, &[]);
    let told: Value = serde_json::from_str(&outcome.out).unwrap();
    Path::new(told["directory"].as_str().unwrap()).join(told["name"].as_str().unwrap())
}

fn restore(place: &Place, from: &Path, to: &str) -> Outcome {
    let from = from.to_str().unwrap();
    place.run(["restore", from, "--data-dir", to, "--json"])
}

/// A broker on a restored directory.
fn broker_on(place: &Place, dir: &str) -> Broker {
    let launch = Launch::new(Path::new(SLUICE), &place.path(dir), &place.path("log-restored"));
    launch.arg("--config").arg(place.path("sluice.toml")).start().unwrap()
}

#[test]
fn a_backup_under_load_holds_what_was_confirmed_and_not_what_was_acked() {
    let place = Place::new();
    let broker = launch(&place).start().unwrap();
    let mut consumer = Client::connect(broker.tcp_addr(), None).unwrap();
    let subscription = consumer.subscribe(TOPIC, 1).unwrap();
    let (confirmed, sent, acked) = (Numbers::default(), Numbers::default(), Numbers::default());
    let stop = Arc::new(AtomicBool::new(false));
    let publish = publish(&broker, &confirmed, &stop);
    let consume = consume(consumer, subscription, &sent, &acked, &stop);
    let (before, acked_before, path) = std::thread::scope(|scope| {
        scope.spawn(publish);
        scope.spawn(consume);
        let begun = Instant::now();
        while confirmed.lock().unwrap().len() < 2000 || acked.lock().unwrap().len() < 200 {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        let before = confirmed.lock().unwrap().clone();
        let acked_before = acked.lock().unwrap().clone();
        let path = made(&backup(&place, &[]));
        stop.store(true, Ordering::Relaxed);
        (before, acked_before, path)
    });
    assert!(confirmed.lock().unwrap().len() > before.len(), "there was load");
    broker.kill().unwrap();

    let restored = restore(&place, &path, "restored");
    restored.assert(0, &[]);
    let broker = broker_on(&place, "restored");
    let mut client = Client::connect(broker.tcp_addr(), None).unwrap();
    let subscription = client.subscribe(TOPIC, 1).unwrap();
    let mut missing: BTreeSet<u64> = &before - &sent.lock().unwrap();
    let begun = Instant::now();
    while !missing.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{} are missing", missing.len());
        for delivered in client.take(subscription, 200).unwrap() {
            let number = number(&delivered.message);
            assert!(!acked_before.contains(&number), "{number} was acknowledged before");
            missing.remove(&number);
            client.ack(subscription, delivered.tag).unwrap();
        }
    }
    assert!(broker.terminate().unwrap().success());
    place.run(["log", "verify", "--data-dir", "restored"]).assert(0, &[]);
}

/// A broker with a few messages, stopped in order.
fn stopped_broker(place: &Place) {
    let broker = launch(place).start().unwrap();
    let mut client = subscribe(&broker, TOPIC);
    for message in [b"one", b"two"] {
        client.publish(TOPIC, 1, message).unwrap();
        client.fence().unwrap();
    }
    assert!(broker.terminate().unwrap().success());
}

/// What a subscription on a restored directory still gets.
fn received(place: &Place, dir: &str, count: usize) -> Vec<String> {
    let broker = broker_on(place, dir);
    crate::setup::received(&broker, TOPIC, count)
}

#[test]
fn a_log_that_no_broker_has_is_backed_up_offline() {
    let place = Place::new();
    stopped_broker(&place);
    backup(&place, &[]).assert(1, &["no broker answers", "--offline"]);
    let path = made(&backup(&place, &["--offline"]));
    assert!(path.starts_with(place.data().join("backups")), "{}", path.display());
    restore(&place, &path, "restored").assert(0, &[]);
    assert_eq!(received(&place, "restored", 2), ["one", "two"]);
    // The log itself goes on as well.
    assert_eq!(received(&place, "data", 2), ["one", "two"]);
}

#[test]
fn a_broker_that_runs_makes_its_backups_itself_and_keeps_the_newest() {
    let place = Place::new();
    let broker = launch(&place).start().unwrap();
    let pid = broker.pid().to_string();
    backup(&place, &["--offline"]).assert(1, &[&pid, "leave out --offline"]);
    let paths: Vec<_> = (0..3).map(|_| made(&backup(&place, &[]))).collect();
    let there: Vec<bool> = paths.iter().map(|path| path.exists()).collect();
    assert_eq!(there, [false, true, true], "backup_keep is 2");
    broker.kill().unwrap();
    // The socket is there still, with nobody behind it.
    backup(&place, &[]).assert(1, &["no broker answers"]);
    restore(&place, &paths[2], "restored").assert(0, &[]);
}

#[test]
fn a_damaged_backup_is_refused_with_the_name_of_the_file_and_nothing_is_made() {
    let place = Place::new();
    stopped_broker(&place);
    let path = made(&backup(&place, &["--offline"]));
    let files = ["", "checkpoints"].map(|folder| fs::read_dir(path.join(folder)).unwrap());
    let files: Vec<PathBuf> = files
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let whole = fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 4;
        fs::write(&file, damaged).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        restore(&place, &path, "restored").assert(3, &["the backup is damaged", name]);
        place.run(["restore", path.to_str().unwrap(), "--verify-only"]).assert(3, &[name]);
        assert!(!place.path("restored").exists());
        fs::write(&file, whole).unwrap();
    }
    place.run(["restore", path.to_str().unwrap(), "--verify-only"]).assert(0, &[]);
    restore(&place, &path, "restored").assert(0, &[]);
}

#[test]
fn a_restore_says_what_is_wrong_with_its_arguments() {
    let place = Place::new();
    stopped_broker(&place);
    let path = made(&backup(&place, &["--offline"]));
    fs::create_dir(place.path("empty")).unwrap();
    fs::write(place.path("file"), "").unwrap();
    restore(&place, &path, "data").assert(2, &["data is not empty"]);
    restore(&place, &path, "file").assert(2, &["file is no directory"]);
    restore(&place, &place.path("none"), "new").assert(1, &["there is no directory", "none"]);
    restore(&place, &place.data(), "new").assert(1, &["there is no whole backup"]);
    let from = path.to_str().unwrap();
    place.run(["restore", from]).assert(2, &["--data-dir"]);
    place.run(["restore", from, "--verify-only", "--data-dir", "new"]).assert(2, &["--data-dir"]);
    place.run(["backup", "--data-dir", "none"]).assert(1, &["there is no directory none"]);
    place.run(["backup", "--offline", "--data-dir", "empty"]).assert(1, &["there is no log in"]);
    assert!(!place.path("new").exists());
    let verified = place.run(["restore", from, "--verify-only", "--json"]);
    let told: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!((&told["messages"], &told["data_dir"]), (&2.into(), &Value::Null));
    restore(&place, &path, "empty").assert(0, &[]);
    assert_eq!(received(&place, "empty", 2), ["one", "two"]);
}
