//! `sluice config`, and what is made from the command line's declaration.

use crate::setup::{Place, SERVE};

const PROBLEMS: &str = "max_retrys = 3\nport = \"x\"\nlease = 0\n";

#[test]
fn check_finds_every_problem_in_either_language() {
    let place = Place::new();
    for (name, text) in [("f.toml", PROBLEMS.to_owned()), ("f.yml", PROBLEMS.replace(" =", ":"))] {
        std::fs::write(place.path(name), text).unwrap();
        let lines = [1, 2, 3].map(|line| format!("{name}:{line}:1"));
        let mut words: Vec<&str> = lines.iter().map(String::as_str).collect();
        words.extend(["did you mean `max_retries`?", "`x` is no port", "lease_ms = 0"]);
        place.run(["config", "check", "--config", name]).assert(78, &words);
    }
}

#[test]
fn check_takes_warnings_and_unsafe_settings_for_errors() {
    let place = Place::new();
    place.run(["config", "check"]).assert(0, &[]);
    place.config("tcp_addr = \"0.0.0.0:5555\"\n");
    place.run(["config", "check"]).assert(78, &["--insecure-no-auth"]);
    place.run(["config", "check", "--insecure-no-auth"]).assert(0, &[]);
    std::fs::remove_file(place.path("sluice.toml")).unwrap();
    let with = |name: &str, value: &str| {
        let mut command = place.command(["config", "check"]);
        crate::setup::wait(command.env(name, value).spawn().unwrap())
    };
    with("SLUICE_PORT", "tcp://10.0.0.1:5555").assert(78, &["SLUICE_PORT", "orchestrator"]);
    with("SLUICE_PROT", "5555").assert(78, &["did you mean `SLUICE_PORT`?"]);
    with("SLUICE_PORT", "5555").assert(0, &[]);
    with("SLUICE_CONFIG", "").assert(0, &[]);
    with("SLUICE_CONFIG", "none.yaml").assert(78, &["none.yaml"]);
}

#[test]
fn serve_warns_of_what_an_orchestrator_injects_and_goes_on() {
    let place = Place::new();
    let mut command = place.command(SERVE.iter().chain(&["--ephemeral"]));
    command.env("SLUICE_PORT", "tcp://10.0.0.1:5555").env("SLUICE_SERVICE_HOST", "10.0.0.1");
    let mut child = command.spawn().unwrap();
    let mut ready = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut ready).unwrap();
    child.kill().unwrap();
    let log = crate::setup::wait(child).err;
    assert!(ready.starts_with("sluice ready"), "{log}");
    assert!(log.contains("SLUICE_PORT is a link"), "{log}");
    assert!(log.contains("SLUICE_SERVICE_HOST is a link"), "{log}");
}

#[test]
fn show_tells_each_value_and_its_origin_but_no_key_of_a_client() {
    let place = Place::new();
    place.config("max_bytes = \"2g\"\nallowed_api_keys = [\"hunter2\"]\nport = 1\n");
    let mut command = place.command(["config", "show", "--origin", "--tcp-addr", "127.0.0.1:2"]);
    let text = crate::setup::wait(command.env("SLUICE_TTL", "5m").spawn().unwrap());
    text.assert(0, &[]);
    let flat = text.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "max_bytes = \"2GiB\" # sluice.toml:1:1 (max_bytes)",
        "# allowed_api_keys: 1 (not shown) # sluice.toml:2:1 (allowed_api_keys)",
        "ttl = \"5m\" # variable SLUICE_TTL",
        "tcp_addr = \"127.0.0.1:2\" # flag --tcp-addr",
        "max_messages = 1000000 # default",
    ] {
        assert!(flat.contains(expected), "no `{expected}` in {}", text.out);
    }

    let json = place.run(["config", "show", "--json"]);
    json.assert(0, &[]);
    assert!(!format!("{}{}", text.out, json.out).contains("hunter2"));
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let settings = json["settings"].as_array().unwrap();
    let found = settings.iter().find(|setting| setting["key"] == "max_bytes").unwrap();
    assert_eq!(found["value"], "2GiB");
    assert_eq!(found["origin"], "file");
    assert_eq!(
        (&found["places"][0]["line"], &found["places"][0]["column"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn what_show_and_default_print_is_a_good_file() {
    let place = Place::new();
    for args in [["config", "show"], ["config", "default"]] {
        let printed = place.run(args);
        printed.assert(0, &[]);
        place.config(&printed.out);
        place.run(["config", "check"]).assert(0, &[]);
    }
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(["completions", shell]);
        script.assert(0, &[]);
        assert!(script.out.contains("subscribe") && script.out.contains("tcp-addr"), "{shell}");
    }
    place.run(["completions", "tcsh"]).assert(2, &["tcsh"]);
    let page = place.run(["man"]);
    page.assert(0, &[]);
    assert!(page.out.contains("serve"), "{}", page.out);
    place.run(["man", "--out", "pages"]).assert(0, &[]);
    let serve = std::fs::read_to_string(place.path("pages/sluice-serve.1")).unwrap();
    assert!(serve.contains("tcp\\-addr"), "{serve}");
}
