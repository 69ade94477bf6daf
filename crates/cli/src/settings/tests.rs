//! The layers together.

use std::time::Duration;

use super::*;

fn load(name: &str, text: &str) -> Loaded {
    load_with(name, text, &[])
}

fn load_with(name: &str, text: &str, variables: &[(&str, &str)]) -> Loaded {
    let in_file = file::parse(std::path::Path::new(name), text);
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment = variables.iter().map(owned).collect();
    Loaded::put_together(in_file, &Sources { environment, ..Sources::default() })
}

fn good(name: &str, text: &str) -> Settings {
    let loaded = load(name, text);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.settings
}

fn reports(loaded: Loaded) -> String {
    let reports: Vec<_> =
        loaded.problems.into_iter().map(|problem| format!("{:?}", problem.report())).collect();
    reports.join("\n")
}

const FLAT_TOML: &str = r#"
    bind_addr = "127.0.0.1"
    port = 6000
    metrics_addr = "127.0.0.1"
    metrics_port = 9100
    wal_path = "old.wal"
    fsync_policy = "every_n:64"
    max_retries = 3
    retry_backoff_ms = 100
    allowed_api_keys = ["dev-key-1"]
"#;

const FLAT_YAML: &str = "
bind_addr: 127.0.0.1
port: 6000
metrics_addr: 127.0.0.1
metrics_port: 9100
wal_path: old.wal
fsync_policy: every_n:64
max_retries: 3
retry_backoff_ms: 100
allowed_api_keys:
  - dev-key-1
";

const SECTIONS_TOML: &str = r#"
    metrics_addr = "127.0.0.1:9100"
    [server]
    tcp_addr = "localhost:6000"
    [storage]
    data_dir = "old.wal.d"
    fsync_every_n = 64
    [queues]
    max_retries = 3
    retry_backoff = "100ms"
    [security]
    allowed_api_keys = ["dev-key-1"]
"#;

#[test]
fn files_of_old_say_the_same_in_either_language_and_under_headings() {
    let files = [("f.toml", FLAT_TOML), ("f.yaml", FLAT_YAML), ("f.toml", SECTIONS_TOML)];
    for (name, text) in files {
        let settings = good(name, text);
        assert_eq!(settings.server.tcp_addr, "127.0.0.1:6000".parse().unwrap());
        assert_eq!(settings.data_dir, PathBuf::from("old.wal.d"));
        assert_eq!(settings.local.pace.policy, SyncPolicy::EveryN(64));
        for queue in [&settings.local.engine.queue, &settings.local.engine.unnamed] {
            assert_eq!(queue.max_failures, 3);
            assert_eq!(queue.backoff.min, Duration::from_millis(100));
        }
        assert_eq!(settings.server.allowed_api_keys.len(), 1);
    }
}

#[test]
fn what_has_no_effect_or_another_one_than_it_seems_is_said() {
    let notes = load("f.toml", FLAT_TOML).notes().join("\n");
    for expected in ["every_n:64 confirms messages before", "messages are in old.wal.d"] {
        assert!(notes.contains(expected), "no `{expected}` in {notes}");
    }
    assert_eq!(load("f.toml", "data_dir = \"old.wal.d\"").notes(), Vec::<String>::new());
}

#[test]
#[rustfmt::skip]
fn bad_files_are_refused_with_the_reason_and_the_place() {
    let cases = [
        ("f.toml", "\nmax_retrys = 3",                              "did you mean `max_retries`?",   "f.toml:2:1"),
        ("f.yaml", "port: 1\nttl: a: b",                            "mapping values",                "f.yaml:2:7"),
        ("f.yaml", "ttl: ~",                                        "nothing is not a duration",     "f.yaml:1:1"),
        ("f.toml", "port = 1\n? x\nmax_bytes =\n",                  "invalid unquoted key",          "f.toml:2:1"),
        ("f.yaml", "port: 1\nmax_retrys: 3",                        "did you mean `max_retries`?",   "f.yaml:2:1"),
        ("f.yaml", "queues:\n  max_retrys: 3",                      "did you mean `max_retries`?",   "f.yaml:2:3"),
        ("f.yaml", "port: 1\nport: 2",                              "port",                          "f.yaml:2:1"),
        ("f.yaml", "- port",                                        "no table of settings",          "f.yaml:1:1"),
        ("f.toml", "port = \"x\"",                                  "`x` is no port",                "f.toml:1:1"),
        ("f.toml", "port = 1\nport = 2",                            "duplicate key",                 "f.toml:2:1"),
        ("f.toml", "[queue]\nttl = 1",                              "did you mean `queues`?",        "f.toml:1:2"),
        ("f.toml", "[storage]\nttl = 1",                            "it belongs to [queues]",        "f.toml:2:1"),
        ("f.toml", "ttl_ms = \"5s\"",                               "no number of milliseconds",     "f.toml:1:1"),
        ("f.toml", "max_bytes = \"12q\"",                           "is not a size",                 "f.toml:1:1"),
        ("f.toml", "log_level = \"a=b=c\"",                         "is not error, warn",            "f.toml:1:1"),
        ("f.toml", "bind_addr = \"127.0.0.1:5000\"\nport = 5001",   "two different values",          "f.toml:1:1"),
        ("f.toml", "tcp_addr = \"127.0.0.1:1\"\nport = 2",          "two different values",          "f.toml:1:1"),
        ("f.toml", "fsync_policy = \"always\"\nfsync_every_n = 3",  "two different values",          "f.toml:1:1"),
        ("f.toml", "ttl = 1\n[queues]\nttl = 2",                    "two different values",          "f.toml:1:1"),
        ("f.toml", "fsync_policy = \"sometimes\"",                  "a sync policy: always",         "f.toml:1:1"),
        ("f.toml", "data_dir = \"a\"\nwal_path = \"b\"",            "two different values",          "f.toml:1:1"),
        ("f.toml", "\nv1_ack_timeout_ms = 49",                      "below 50",                      "f.toml:2:1"),
        ("f.toml", "durability = \"disk\"",                       "not sync or os or memory",                "f.toml:1:1"),
        ("f.toml", "accept_rate = 4294967296",                      "above 4294967295",              "f.toml:1:1"),
        ("f.toml", "retry_backoff = \"2h\"\nretry_backoff_max = 1", "above backoff_max_ms",          "f.toml:2:1"),
        ("f.toml", "replay_max = 0",                                "below 64KiB",                   "f.toml:1:1"),
        ("f.toml", "waiting_max = 0",                               "largest message",               "f.toml:1:1"),
        ("f.toml", "v1_ack_timeout = \"13h\"",                      "v1_ack_timeout: lease_ms",      "f.toml:1:1"),
        ("f.toml", "ttl = \"99999d\"",                              "hundred years",                 "f.toml:1:1"),
        ("f.toml", "ttl_ms = 9223372036854775807",                  "no number of milliseconds",     "f.toml:1:1"),
        ("f.toml", "lease = 0",                                     "lease_ms = 0",                  "f.toml:1:1"),
        ("f.toml", "max_line_bytes = 1",                            "max_line_bytes is 1",           "f.toml:1:1"),
        ("f.toml", "port = 1\n[flow]\nlive_keys_max = 39",            "live_keys_max = 39 is outside 40 ..", "f.toml:3:1"),
        ("f.toml", "segment_bytes = \"1k\"",                        "segment_bytes = 1024",          "f.toml:1:1"),
    ];
    for (name, text, reason, place) in cases {
        let report = reports(load(name, text));
        // Wherever the width made the report break its lines.
        let flat = report.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(reason), "{text}: no `{reason}` in {report}");
        assert!(flat.contains(place), "{text}: no `{place}` in {report}");
    }
}

#[test]
fn one_look_finds_every_problem() {
    let loaded = load_with(
        "f.toml",
        "max_retrys = 3\nport = \"x\"\nlease = 0\nmax_line_bytes = 1\nframe_max = 2\nout_max_bytes = 3\nttl == 3",
        &[("SLUICE_MAX_BYTES", "12q")],
    );
    let text = loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let expected = [
        "max_retrys",
        "no port",
        "lease_ms",
        "max_line_bytes",
        "frame_max",
        "out_max_bytes",
        "SLUICE_MAX_BYTES",
    ];
    for expected in expected {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
}

#[test]
fn a_broken_line_is_one_problem_and_the_lines_behind_it_are_read() {
    let loaded = load("f.toml", "port = 1\nmax_bytes =\nttl = 3x\nprot = 3");
    let starts: Vec<_> = loaded.problems.iter().map(|problem| problem.line()).collect();
    assert_eq!(starts.len(), 3, "{starts:#?}");
    for (problem, place) in starts.iter().zip(["f.toml:2:", "f.toml:3:", "f.toml:4:"]) {
        assert!(problem.starts_with(place), "{starts:#?}");
    }
}

#[test]
fn a_file_that_ends_anywhere_is_read_or_refused() {
    let odd = "[security]\r\n\u{e9} = \"\u{1f511}\"\nttl = [1, {a = 1979-05-27}]\n\"po\\u0072t\" = '''\nx\n'''";
    for (name, text) in
        [("f.toml", odd), ("f.yaml", odd), ("f.toml", FLAT_TOML), ("f.yaml", FLAT_YAML)]
    {
        for (end, _) in text.char_indices() {
            reports(load(name, &text[..end]));
        }
    }
}

#[test]
fn a_stronger_layer_wins_and_says_so() {
    let file = "tcp_addr = \"10.0.0.1:6000\"\nmax_messages = 5\nttl = 7";
    let variables = [("SLUICE_PORT", "7000"), ("SLUICE_MAX_MESSAGES", "6")];
    let loaded = load_with("f.toml", file, &variables);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert_eq!(loaded.settings.server.tcp_addr, "10.0.0.1:7000".parse().unwrap());
    assert_eq!(loaded.settings.local.engine.queue.max_messages, 6);
    let origins = |name| {
        let (key, _) = key::find(name).unwrap();
        loaded.origins.of(key).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(origins("tcp_addr"), ["f.toml:1:1 (tcp_addr)", "variable SLUICE_PORT"]);
    assert_eq!(origins("max_messages"), ["variable SLUICE_MAX_MESSAGES"]);
    assert_eq!(origins("ttl"), ["f.toml:3:1 (ttl)"]);
    assert!(origins("lease").is_empty());
}

#[test]
fn two_variables_that_disagree_are_both_named() {
    let loaded = load_with("f.toml", "", &[("SLUICE_PORT", "1"), ("RATELIMMQ_PORT", "2")]);
    let text = loaded.problems[0].to_string();
    assert!(text.contains("SLUICE_PORT") && text.contains("RATELIMMQ_PORT"), "{text}");
}

#[test]
fn a_directory_that_a_stronger_layer_names_is_kept_in() {
    let variables = [("SLUICE_DATA_DIR", "kept")];
    assert!(!load_with("f.toml", "ephemeral = true", &variables).settings.ephemeral);
    assert!(load("f.toml", "ephemeral = true\ndata_dir = \"unused\"").settings.ephemeral);
}

#[test]
fn what_follows_from_other_settings_is_derived() {
    let settings = good("f.toml", "max_message_bytes = \"2m\"\nretry_backoff = \"1h\"\nttl = 0");
    assert_eq!(settings.local.wal.record_max, 16 << 20);
    let small = good("f.toml", "segment_bytes = \"4m\"\nmax_message_bytes = \"1m\"");
    assert_eq!(small.local.wal.record_max, 2 << 20);
    assert_eq!(settings.local.engine.queue.backoff.max, Duration::from_secs(3600));
    assert_eq!(settings.local.engine.queue.ttl, None);
}

#[test]
fn switches_and_the_level_off_are_read_in_either_language() {
    let settings = good("f.yaml", "ephemeral: yes\ninsecure_no_auth: true\nlog_level: off\n");
    assert!(settings.ephemeral && settings.server.insecure_no_auth);
    assert_eq!(settings.log_level, "off");
    assert!(good("f.toml", "ephemeral = \"1\"").ephemeral);
}

#[test]
fn reports_show_no_keys_of_clients() {
    for text in [
        "prot = 1\nallowed_api_keys = [\"hunter2\"]",
        "allowed_api_key = [\"hunter2\"]",
        "allowed_api_keys = \"hunter2",
        "allowed_api_keys = [\n  \"hunter2\"\n  x",
        "[securty]\nallowed_api_keys = [\"hunter2\"]",
        "allowed_api_keys = [\"hunter2\", 3]",
        "allowed_api_keys: [*hunter2]",
        "allowed_api_keys: [!hunter2]",
        "allowed_api_keys: [!hunter2 a]",
        "allowed_api_keys: [!hunter2!a b]",
        "allowed_api_keys: [@hunter2]",
        "allowed_api_keys: [`hunter2]",
        "allowed_api_keys: [%hunter2]",
        "allowed_api_keys: [&hunter2]",
        "allowed_api_keys: {hunter2: 1, hunter2: 2}",
        "allowed_api_keys: \"\\hunter2\"",
        "allowed_api_keys:\n- hunter2: b: c",
        "allowed_api_keys = [\n  \"hunter2==\"\n  x",
        "allowed_api_keys:\n  hunter2: 1\n  x",
    ] {
        for name in ["f.toml", "f.yaml"] {
            let loaded = load(name, text);
            assert!(!loaded.problems.is_empty(), "{text}");
            let report = reports(loaded);
            assert!(!report.contains("hunter2"), "{report}");
        }
    }
}

const LIMITS_TOML: &str = r#"
    client_rate = 3
    [limits.stripe]
    key = "stripe:*"
    rate = "5/s"
    burst = 2
    [[limits.calls]]
    queue = "calls.>"
    window = { max = 100, length_ms = 60000 }
    [[limits.calls]]
    queue = "calls.urgent"
    concurrency = 3
    [limits."front.door"]
    scope = "client"
    rate = 2.5
    max_wait_ms = 250
"#;

const LIMITS_YAML: &str = r#"
client_rate: 3
limits:
  stripe:
    key: "stripe:*"
    rate: 5/s
    burst: 2
  calls:
    - queue: calls.>
      window: 100/1m
    - queue: calls.urgent
      concurrency: 3
  front.door:
    scope: client
    rate: 2.5
    max_wait_ms: 250
"#;

#[test]
fn limits_stand_in_the_file_in_either_language() {
    for (name, text) in [("f.toml", LIMITS_TOML), ("f.yaml", LIMITS_YAML)] {
        let settings = good(name, text);
        assert_eq!(settings.server.admission.client.rate, 3);
        let mut told: Vec<_> = settings
            .limits
            .iter()
            .map(|FileLimit { limit, .. }| {
                format!("{} {} {}", limit.name(), limit.matches().queue, limit.terms())
            })
            .collect();
        told.sort_unstable();
        let expected = [
            "calls calls.> window 100/m",
            "calls calls.urgent concurrency 3",
            "front.door > 2.5/s delay 250ms",
            "stripe > 5/s burst 2",
        ];
        assert_eq!(told, expected, "{name}");
    }
    // What is shown gives the same again.
    let loaded = load("f.toml", LIMITS_TOML);
    let again = good("f.toml", &text(&loaded, true));
    let limits = |settings: &Settings| {
        settings.limits.iter().map(|limit| limit.limit.clone()).collect::<Vec<_>>()
    };
    assert_eq!(limits(&again), limits(&loaded.settings));
    assert_eq!(json(&loaded)["limits"][0]["place"]["line"], 3);
}

#[test]
#[rustfmt::skip]
fn bad_limits_are_refused_with_the_reason_and_the_place() {
    let cases = [
        ("f.toml", "[limits.a]\nrate = \"5\"",                          "limits.a: rate \"5\" is not like 5/s",    "f.toml:2:1"),
        ("f.toml", "[limits.a]\nrate = \"5/s\"\nbrust = 2",             "did you mean burst?",                     "f.toml:3:1"),
        ("f.toml", "[limits.a]\nburst = 2",                            "none of rate, window and concurrency",    "f.toml:1:9"),
        ("f.toml", "[limits.a]\nconcurrency = 1\nburst = 2",           "burst 2 is given without a rate",         "f.toml:3:1"),
        ("f.toml", "[limits.a]\nconcurrency = 1\nscope = \"key\"",     "key is missing, scope is key",            "f.toml:3:1"),
        ("f.toml", "[limits.A]\nconcurrency = 1",                      "is not 1 to 64 of a-z",                   "f.toml:1:9"),
        ("f.toml", "[limits]\na = 3",                                  "limits.a is no table",                    "f.toml:2:1"),
        ("f.toml", "[limits.a]\nwindow = { max = 3 }",                 "window.length_ms is missing",             "f.toml:2:1"),
        ("f.toml", "[limit.a]\nrate = 1",                              "did you mean `limits`?",                  "f.toml:1:2"),
        ("f.toml", "[[limits.a]]\nrate = 1\n[[limits.a]]\nrate = 2",   "queue > is there twice",                  "f.toml:4:1"),
        ("f.toml", "[[limits.a]]\nqueue = \"a.*\"\nrate = 1\n[[limits.a]]\nqueue = \"a.>\"\nrate = 2", "as specific as queue a.*", "f.toml:5:1"),
        ("f.yaml", "limits:\n  a:\n    rate: 5/x",                      "rate \"5/x\" is not like 5/s",            "f.yaml:3:5"),
        ("f.yaml", "limits:\n  a:\n    - rate: 1\n    - rate: 0",       "rate \"0/s\" is 0",                       "f.yaml:4:7"),
    ];
    for (name, text, reason, place) in cases {
        let report = reports(load(name, text));
        let flat = report.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(reason), "{text}: no `{reason}` in {report}");
        assert!(flat.contains(place), "{text}: no `{place}` in {report}");
    }
}
