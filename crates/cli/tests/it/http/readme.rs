//! What the README has new users type, as it stands there.

use std::fs::File;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_bench::process::Broker;

use crate::setup::{Outcome, Place, SLUICE};

const README: &str = include_str!("../../../../../README.md");
/// Stands in front of each block that is run here.
const MARK: &str = "<!-- run by a test -->\n```sh\n";
/// Where the README finds the HTTP door, and what it says for a token.
const ADDR: &str = "localhost:8080";
const TOKEN: &str = "TOKEN";
/// What a command that goes on until Ctrl-C begins with.
const STREAM: &str = "curl -N ";
const PATIENCE: Duration = Duration::from_secs(30);
/// Failures fail, and no proxy is asked for what is on this machine.
const PRELUDE: &str = "curl() { command curl -sSf --noproxy '*' \"$@\"; }\n\
    sluice() { \"$PROGRAM\" \"$@\"; }\n";

/// The lines of the blocks that begin with `program` somewhere.
fn lines(program: &str) -> Vec<&'static str> {
    let blocks = README.split(MARK).skip(1).filter_map(|rest| rest.split("```").next());
    let blocks = blocks.filter(|block| block.contains(program));
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(!lines.is_empty(), "no block of {program} is marked");
    lines
}

/// A user at a shell, in a directory of her own.
struct User<'a> {
    place: &'a Place,
    broker: &'a Broker,
    /// Tokens that she was shown and has not used.
    tokens: Vec<String>,
    stream: Option<Child>,
}

impl<'a> User<'a> {
    fn new(place: &'a Place, broker: &'a Broker) -> Self {
        Self { place, broker, tokens: Vec::new(), stream: None }
    }

    /// Types a line, and gives what it printed.
    fn types(&mut self, line: &str) -> String {
        let mut typed = line.replace(ADDR, &self.broker.http_addr().unwrap().to_string());
        if typed.contains(TOKEN) {
            typed = typed.replace(TOKEN, &self.tokens.pop().expect("a token was shown before"));
        }
        if let Some(rest) = typed.strip_prefix(STREAM) {
            self.stream = Some(self.listens(rest));
            return String::new();
        }
        let outcome: Outcome = self.shell(&typed).output().unwrap().into();
        assert_eq!(outcome.code, Some(0), "{line}: {outcome:#?}");
        self.tokens.extend(tokens(line, &outcome.out));
        outcome.out
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = self.place.shell(&format!("{PRELUDE}{line}"));
        shell.env("PROGRAM", SLUICE).env("SLUICE_SERVER", self.broker.tcp_addr().to_string());
        shell
    }

    /// Begins with what goes on until Ctrl-C, and waits until it listens.
    fn listens(&self, rest: &str) -> Child {
        let (head, events) = (self.place.path("head"), self.place.path("events"));
        let line = format!("exec curl -N -sSf --noproxy '*' -D head {rest}");
        let child = self.place.shell(&line).stdout(File::create(events).unwrap()).spawn();
        self.until(|| std::fs::read_to_string(&head).is_ok_and(|head| head.contains(" 200 ")));
        child.unwrap()
    }

    fn until(&self, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "it does not come");
            std::thread::yield_now();
        }
    }

    /// Reads what has come by the stream until `word` has, and types Ctrl-C.
    fn hears(&mut self, word: &str) {
        let events = self.place.path("events");
        self.until(|| std::fs::read_to_string(&events).is_ok_and(|heard| heard.contains(word)));
        let mut stream = self.stream.take().expect("a stream was begun");
        stream.kill().unwrap();
        stream.wait().unwrap();
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = stream.kill();
            let _ = stream.wait();
        }
    }
}

/// The tokens that a receive shows: of messages in JSON, or in front of a payload.
fn tokens(line: &str, out: &str) -> Vec<String> {
    if line.contains("queue take") {
        return out.split_whitespace().next().map(str::to_owned).into_iter().collect();
    }
    let json: Value = serde_json::from_str(out).unwrap_or_default();
    let messages = json["messages"].as_array().cloned().unwrap_or_default();
    let tokens = messages.iter().filter_map(|message| message["token"].as_str());
    tokens.map(str::to_owned).collect()
}

#[test]
fn the_first_ten_minutes_by_curl_are_as_the_readme_says() {
    let place = Place::new();
    std::fs::write(place.path("letter.pdf"), "a letter").unwrap();
    let broker = place.broker();
    let mut user = User::new(&place, &broker);
    let expected = [
        ("/dequeue", "hello"),
        ("/metrics", "\"enqueues\":1"),
        ("/v1/queues/mail/receive", "a letter"),
        ("/v1/ack", "\"ok\":true"),
        ("/v1/nack", "\"ok\":true"),
        ("/v1/subscriptions/audit/receive", "an order"),
    ];
    let mut seen = 0;
    for line in lines("curl") {
        let out = user.types(line);
        for (path, words) in expected {
            if line.contains(&format!("{ADDR}{path} ")) {
                let out = out.replace("\": ", "\":");
                assert!(out.contains(words), "{line}: {out}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, expected.len(), "a line of the README is another one");
    user.hears("an order");
    drop(user);
    assert!(broker.terminate().unwrap().success());
}

#[test]
fn the_queue_of_the_first_ten_minutes_by_command_line_is_as_the_readme_says() {
    let place = Place::new();
    let broker = place.broker();
    let mut user = User::new(&place, &broker);
    let mut out = String::new();
    for line in lines("sluice queue") {
        out = user.types(line);
    }
    assert!(user.tokens.is_empty(), "a token was shown and not used");
    assert!(!out.contains("error"), "{out}");
    drop(user);
    assert!(broker.terminate().unwrap().success());
}
