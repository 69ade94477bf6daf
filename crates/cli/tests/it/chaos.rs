//! Trouble on purpose: the proxy, and damaged copies of a log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};

use serde_json::Value;
use sluice_bench::process::Launch;

use crate::setup::{Outcome, Place, SLUICE, feed};

/// A proxy that is ready.
struct Proxy {
    child: Child,
    out: BufReader<ChildStdout>,
    addr: String,
}

impl Proxy {
    fn start(place: &Place, server: &str, args: &[&str]) -> Self {
        let mut command = place.command(["chaos", "--server", server]);
        let mut child = command.args(args).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let ready = line.strip_prefix("chaos ready listen=").unwrap_or_else(|| panic!("{line}"));
        let addr = ready.split_whitespace().next().unwrap().to_owned();
        Self { child, out, addr }
    }

    /// Waits until it ends by itself, and gives what it sums up.
    fn ends(mut self) -> String {
        let mut told = String::new();
        self.out.read_to_string(&mut told).unwrap();
        assert!(self.child.wait().unwrap().success());
        told
    }
}

#[test]
fn what_is_published_through_trouble_is_there_and_the_proxy_sums_up() {
    let place = Place::new();
    let broker = place.broker();
    let server = broker.tcp_addr().to_string();
    let declared: Outcome =
        place.client(&broker, &["queue", "declare", "jobs"]).output().unwrap().into();
    declared.assert(0, &[]);
    let args = ["--cut", "2KiB", "--drop-answers", "2k", "--delay", "0..1ms", "--seed", "7"];
    let bounds = ["--faulty", "6", "--connections", "7", "--json"];
    let proxy = Proxy::start(&place, &server, &[&args[..], &bounds].concat());
    let lines = (0..2_000).fold(String::new(), |mut lines, line| {
        writeln!(lines, "line {line}").unwrap();
        lines
    });
    // The first connection must be greeted before it is cut for the program to go on.
    let mut published = Outcome { code: None, out: String::new(), err: String::new() };
    while published.code != Some(0) {
        let mut publish = place.command(["queue", "put", "jobs", "-", "--no-progress"]);
        published = feed(publish.env("SLUICE_SERVER", &proxy.addr), lines.as_bytes());
    }
    let told: Value = serde_json::from_str(&proxy.ends()).unwrap();
    assert_eq!(
        (&told["seed"], &told["connections"], &told["cut"]),
        (&7.into(), &7.into(), &6.into())
    );
    assert!(told["delayed"].as_u64().unwrap() > 0, "{told}");
    let args = ["queue", "stats", "jobs", "--json"];
    let stats: Outcome = place.client(&broker, &args).output().unwrap().into();
    let stats: Value = serde_json::from_str(&stats.out).unwrap();
    assert!(stats["counts"]["ready"].as_u64().unwrap() >= 2_000, "{stats}");
}

#[test]
fn a_proxy_ends_when_its_time_is_over() {
    let place = Place::new();
    let proxy = Proxy::start(&place, "127.0.0.1:1", &["--duration", "10ms", "--seed", "1"]);
    assert!(proxy.addr.starts_with("127.0.0.1:"));
    let told = proxy.ends();
    assert!(told.starts_with("seed 1, 0 connections: 0 cut"), "{told}");
    place.run(["chaos", "--delay", "9..5"]).assert(2, &["not a time or two in order"]);
    place.run(["chaos", "--listen", "nowhere"]).assert(1, &["can't listen on nowhere"]);
}

/// A log of a few hundred frames in small segments, of a broker that was killed or stopped.
fn log(place: &Place, killed: bool) {
    let text = "segment_bytes = 1048576\nreplay_max = 524288\nmax_message_bytes = 16384\n\
                settlements_reserve = 524288\n";
    let config = place.config(text);
    let broker = place.launch().arg("--config").arg(config).start().unwrap();
    place.client(&broker, &["queue", "declare", "jobs"]).output().unwrap();
    let lines = (0..300).fold(String::new(), |mut lines, line| {
        writeln!(lines, "{line:0100}").unwrap();
        lines
    });
    for _ in 0..3 {
        feed(&mut place.client(&broker, &["queue", "put", "jobs", "-"]), lines.as_bytes())
            .assert(0, &[]);
    }
    match killed {
        true => assert!(!broker.kill().unwrap().success()),
        false => assert!(broker.terminate().unwrap().success()),
    }
}

/// All files of a directory and what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false if path.is_file() => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
            false => {}
        }
    }
    files
}

#[test]
fn damage_to_a_copy_is_found_or_set_aside_and_the_log_is_as_it_was() {
    for killed in [true, false] {
        let place = Place::new();
        log(&place, killed);
        let before = files(&place.data());
        let kinds = ["bit-flip", "cut-tail", "zero-sector", "swap-blocks"];
        for (seed, kind) in (0..6).flat_map(|seed| kinds.map(|kind| (seed, kind))) {
            let seed = seed.to_string();
            let args = ["chaos", "log", "data", "--to", "copy", "--seed", &seed, "--kind", kind];
            let done = place.run(args.iter().chain(&["--json"]));
            done.assert(0, &[]);
            let told: Value = serde_json::from_str(&done.out).unwrap();
            assert_eq!(told["damage"][0]["kind"], kind);
            let verified = place.run(["log", "verify", "--data-dir", "copy"]);
            let told_apart = match verified.code {
                Some(3) => true,
                // Set aside at the next start.
                Some(0) => verified.out.contains("was cut short by a crash"),
                _ => false,
            };
            assert!(told_apart && told["found"].is_string(), "{told} {verified:#?}");
            fs::remove_dir_all(place.path("copy")).unwrap();
        }
        assert_eq!(files(&place.data()), before, "the log may only be read");
    }
}

#[test]
fn the_same_seed_damages_in_the_same_way_and_a_repair_makes_it_start() {
    let place = Place::new();
    log(&place, true);
    let run = |to: &str| {
        let args = ["chaos", "log", "data", "--to", to, "--seed", "11", "--count", "3"];
        let done = place.run(args.iter().chain(&["--kind", "bit-flip"]));
        done.assert(0, &[]);
        assert!(done.out.contains("verifying finds: "), "{done:#?}");
        files(&place.path(to)).into_values().collect::<Vec<_>>()
    };
    assert_eq!(run("one"), run("two"));
    place.run(["log", "repair", "--data-dir", "one", "--yes"]).assert(0, &[]);
    // What a checkpoint covers is not repaired, and a start does not meet it.
    let launch = Launch::new(Path::new(SLUICE), &place.path("one"), &place.path("log"));
    assert!(launch.start().unwrap().terminate().unwrap().success());
}

#[test]
fn a_copy_goes_where_nothing_is_and_is_of_a_log_that_nobody_has_open() {
    let place = Place::new();
    let broker = place.broker();
    let damage = |to: &str| place.run(["chaos", "log", "data", "--to", to, "--seed", "1"]);
    damage("copy").assert(1, &["stop it first"]);
    broker.kill().unwrap();
    damage("data").assert(2, &["not empty"]);
    damage("data/copy").assert(2, &["can't be in the directory"]);
    assert!(!place.path("copy").exists() && !place.data().join("copy").exists());
    place.run(["chaos", "log", "none", "--to", "copy", "--seed", "1"]).assert(1, &["none"]);
}
