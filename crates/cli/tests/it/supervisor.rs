//! What a supervisor that speaks systemd's protocol is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::setup::Place;

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// The next thing that is told, signs of life left out.
fn heard(supervisor: &UnixDatagram) -> String {
    loop {
        let text = heard_at_all(supervisor);
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

fn heard_at_all(supervisor: &UnixDatagram) -> String {
    let mut text = [0; 256];
    let length = supervisor.recv(&mut text).unwrap();
    String::from_utf8(text[..length].to_vec()).unwrap()
}

#[test]
fn a_supervisor_hears_of_start_reload_life_and_end() {
    let place = Place::new();
    let socket = place.path("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let args = ["serve", "--ephemeral", "--tcp-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    let mut command = place.command(args);
    let mut child = command
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID")
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    assert_eq!(heard(&supervisor), "READY=1");
    for _ in 0..3 {
        assert_eq!(heard_at_all(&supervisor), "WATCHDOG=1");
    }
    let before = micros();
    kill_process(pid, Signal::HUP).unwrap();
    let reloading = heard(&supervisor);
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!((before..=micros()).contains(&at.parse().unwrap()), "{before} {at}");
    assert_eq!(heard(&supervisor), "READY=1");
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(heard(&supervisor), "STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
