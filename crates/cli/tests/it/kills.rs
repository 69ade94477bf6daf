//! A few kills under load; `cargo xtask kill` does it at length.

use sluice_bench::kill::limits::{self, LimitOptions};
use sluice_bench::kill::{Options, run};

use crate::setup::{Place, SLUICE};

#[test]
fn what_was_confirmed_survives_kills_under_load() {
    let place = Place::new();
    let options = Options {
        program: SLUICE.into(),
        dir: place.path("."),
        seed: 1,
        kills: 8,
        publishes: 8_000,
        publishers: 3,
        topics: 2,
        key_writers: 2,
    };
    let figures = run(&options, |_| {}).unwrap();
    assert!(figures.kills_in_flight * 2 >= figures.kills, "{figures:#?}");
    assert!(figures.confirmed > 0 && figures.redelivered > 0, "{figures:#?}");
}

#[test]
fn no_limit_is_exceeded_through_kills_under_load() {
    let place = Place::new();
    let options = LimitOptions {
        program: SLUICE.into(),
        dir: place.path("."),
        seed: 1,
        kills: 6,
        consumers: 3,
    };
    let figures = limits::run(&options, |_| {}).unwrap();
    // Both limits were reached, or nothing was tried.
    assert_eq!((figures.verdict.at_once, figures.verdict.starts), (3, 20), "{figures:#?}");
    assert!(figures.acked > 0 && figures.abandoned > 0, "{figures:#?}");
}
