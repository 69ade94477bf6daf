//! A run with a file of results.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use sluice_fetch::{Mode, Options, Outcome, Plan, Route, Summary, Watch, fetch, stop, urls};
use sluice_flow::Backoff;

/// As users have it, but quicker to try again and past any proxy of the tester.
pub(crate) fn options() -> Options {
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(200));
    Options {
        timeout: Duration::from_secs(10),
        backoff: Backoff { min, max, ..Options::default().backoff },
        route: Route { direct: true, ..Options::default().route },
        ..Options::default()
    }
}

/// What a list comes to.
pub(crate) fn run(mode: Mode, options: Options, list: &str) -> (Summary, Vec<Outcome>) {
    watched(mode, options, list, Arc::new(()), stop().1)
}

/// The same, while somebody watches.
pub(crate) fn watched(
    mode: Mode,
    options: Options,
    list: &str,
    watch: Arc<dyn Watch>,
    stop: sluice_fetch::Stop,
) -> (Summary, Vec<Outcome>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.jsonl");
    let out = Some(Arc::new(File::create(&path).unwrap()));
    let plan = Plan { mode, options: Arc::new(options), out, watch, stop };
    let summary = fetch(plan, &urls::read(list.as_bytes()).unwrap()).unwrap();
    let lines = std::fs::read_to_string(path).unwrap();
    (summary, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The only outcome of a URL.
pub(crate) fn one(mode: Mode, options: Options, url: &str) -> Outcome {
    let (_, mut outcomes) = run(mode, options, url);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}
