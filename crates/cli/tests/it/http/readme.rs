//! What the README has new users type, as it stands there.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
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
/// What a consumer begins with that goes on until it is stopped.
const CONSUMER: &str = "while sluice queue take ";
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
    for line in lines("queue declare mail") {
        out = user.types(line);
    }
    assert!(user.tokens.is_empty(), "a token was shown and not used");
    assert!(!out.contains("error"), "{out}");
    drop(user);
    assert!(broker.terminate().unwrap().success());
}

/// A consumer in a terminal of its own.
struct Terminal {
    child: Child,
    out: std::path::PathBuf,
}

impl Terminal {
    fn open(user: &User<'_>, line: &str, name: &str) -> Self {
        let out = user.place.path(name);
        let child = user.shell(line).stdout(File::create(&out).unwrap()).process_group(0).spawn();
        Self { child: child.unwrap(), out }
    }

    /// How many calls of a tenant it was given.
    fn calls_of(&self, tenant: u32) -> usize {
        let text = std::fs::read_to_string(&self.out).unwrap();
        text.lines().filter(|line| line.starts_with(&format!("tenant {tenant}, "))).count()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

#[test]
fn an_api_is_called_five_times_a_second_for_each_tenant_as_the_readme_says() {
    let place = Place::new();
    let broker = place.broker();
    let mut user = User::new(&place, &broker);
    let (before, rest): (Vec<_>, Vec<_>) = {
        let lines = [lines("limit set api --key 'tenant:*' --rate 5/s"), lines(CONSUMER)].concat();
        lines.into_iter().partition(|line| !line.starts_with(CONSUMER))
    };
    let [consumer] = rest[..] else { panic!("there is one line of a consumer") };
    for line in before {
        user.types(line);
    }
    let began = Instant::now();
    let consumers = [1, 2].map(|n| Terminal::open(&user, consumer, &format!("consumer{n}")));
    let calls_of = |tenant| consumers.iter().map(|one| one.calls_of(tenant)).sum::<usize>();
    // One at once and five a second from then on.
    let allowed = |seconds: f64| 1 + (5.0 * seconds) as usize;
    user.until(|| {
        let counts = [1, 2, 3].map(calls_of);
        let allowed = allowed(began.elapsed().as_secs_f64());
        assert!(counts.iter().all(|count| *count <= allowed), "{counts:?}, {allowed} may");
        counts.iter().all(|count| *count >= 15)
    });
    assert!(began.elapsed() > Duration::from_millis(2_700), "{:?}", began.elapsed());
    assert!(consumers.iter().all(|one| std::fs::metadata(&one.out).unwrap().len() > 0));
    let expected = [
        ("explain calls --key tenant:1", "rate of limit api for tenant:1: may go "),
        ("limit top api", "tenant:1"),
        ("--rate 50/s", "was 5/s"),
    ];
    let mut seen = 0;
    for line in lines("limit top api") {
        let began = Instant::now();
        let (_, words) = expected.iter().find(|(typed, _)| line.contains(typed)).unwrap();
        loop {
            let out = user.types(line);
            if out.contains(words) {
                break;
            }
            // At the moment at which a call goes there is nothing to explain.
            assert!(began.elapsed() < PATIENCE && line.contains("explain"), "{line}: {out}");
        }
        seen += 1;
    }
    assert_eq!(seen, expected.len(), "a line of the README is another one");
    user.until(|| [1, 2, 3].map(calls_of).iter().sum::<usize>() == 600);
    drop(consumers);
    let mut out = Vec::new();
    for line in lines("--throttled=30s") {
        out.push(user.types(line));
    }
    assert!(out[3].contains("key tenant:4 is paused because a consumer was throttled"), "{out:?}");
    assert!(out[4].contains("tenant:4 goes on") && user.tokens.is_empty(), "{out:?}");
    drop(user);
    assert!(broker.terminate().unwrap().success());
}
