//! Settings that change while the broker runs.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr};

use rustix::process::{Pid, Signal, kill_process};

use crate::setup::{Place, SERVE};

/// A broker whose log can be followed.
pub(crate) struct Followed {
    child: Child,
    /// What it said of its doors.
    ready: String,
    log: Lines<BufReader<ChildStderr>>,
}

impl Followed {
    /// Starts with the settings in `file` and waits until it is ready.
    pub(crate) fn start(place: &Place, file: &str) -> Self {
        place.config(file);
        let mut child = place.command(SERVE.iter().chain(&["--ephemeral"])).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("sluice ready"), "{ready}");
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, ready, log }
    }

    /// The status of `GET /dequeue`.
    fn dequeues(&self) -> u16 {
        let mut stream = TcpStream::connect(self.http_addr()).unwrap();
        let request = "GET /dequeue HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Where its TCP port is.
    pub(crate) fn tcp_addr(&self) -> SocketAddr {
        self.addr("tcp=")
    }

    /// Where its HTTP door is.
    pub(crate) fn http_addr(&self) -> SocketAddr {
        self.addr("http=")
    }

    fn addr(&self, door: &str) -> SocketAddr {
        let mut words = self.ready.split_whitespace();
        words.find_map(|word| word.strip_prefix(door)).unwrap().parse().unwrap()
    }

    pub(crate) fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// What is logged up to the line with `last` in it.
    pub(crate) fn until(&mut self, last: &str) -> String {
        let mut seen = String::new();
        for line in self.log.by_ref() {
            seen += &line.unwrap();
            seen += "\n";
            if seen.contains(last) {
                return seen;
            }
        }
        panic!("no `{last}` in {seen}");
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sighup_changes_the_log_level_and_names_what_waits_for_a_restart() {
    let place = Place::new();
    let mut broker = Followed::start(&place, "log_level = \"warn\"\n");

    place.config("log_level = \"info\"\nmax_retries = 7\n");
    broker.hang_up();
    let seen = broker.until("settings reloaded");
    assert!(seen.contains("log_level from warn to info"), "{seen}");
    assert!(seen.contains("max_retries from 20 to 7 waits for a restart"), "{seen}");

    // What still waits is said again; what was applied is not.
    broker.hang_up();
    let seen = broker.until("settings reloaded");
    assert!(seen.contains("max_retries"), "{seen}");
    assert!(!seen.contains("log_level"), "{seen}");

    place.config("max_retrys = 7\n");
    broker.hang_up();
    let seen = broker.until("the settings were not reloaded");
    assert!(seen.contains("sluice.toml:1:1: unknown key `max_retrys`"), "{seen}");
}

#[test]
fn sighup_changes_how_fast_requests_may_come() {
    let place = Place::new();
    let mut broker = Followed::start(&place, "client_burst = 1\n");
    assert!((0..20).all(|_| broker.dequeues() == 204));
    place.config("client_burst = 1\nclient_rate = 1\nclients_max = 5\n");
    broker.hang_up();
    let seen = broker.until("settings reloaded");
    assert!(seen.contains("changes client_rate from 0 to 1"), "{seen}");
    assert!(seen.contains("clients_max from 10000 to 5 waits for a restart"), "{seen}");
    assert!((0..10_000).any(|_| broker.dequeues() == 429));
    place.config("client_burst = 1\n");
    broker.hang_up();
    let seen = broker.until("settings reloaded");
    assert!(seen.contains("changes client_rate from 1 to 0"), "{seen}");
    assert!((0..20).all(|_| broker.dequeues() == 204));
}

#[test]
fn a_file_that_is_gone_at_sighup_changes_nothing() {
    let place = Place::new();
    let mut broker = Followed::start(&place, "log_level = \"info\"\n");
    std::fs::remove_file(place.path("sluice.toml")).unwrap();
    broker.hang_up();
    let seen = broker.until("the settings were not reloaded");
    assert!(seen.contains("can't read sluice.toml"), "{seen}");
}
