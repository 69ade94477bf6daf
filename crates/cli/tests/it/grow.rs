//! How cost grows, measured on a small scale: that every point can be measured and keeps its
//! messages. Figures of a debug build mean nothing.

use sluice_bench::grow::{self, DIMENSIONS, Plan, Scale, table};

use crate::setup::Place;

fn plan(place: &Place) -> Plan {
    let scale = Scale {
        queues: vec![1, 10, 200],
        backlogs: vec![0, 1_000, 5_000],
        connections: vec![1, 20],
        singles: 400,
        batched: 4_000,
    };
    Plan {
        program: env!("CARGO_BIN_EXE_sluice").into(),
        dir: place.path("grow"),
        dimensions: DIMENSIONS.to_vec(),
        scale,
        repetitions: 1,
    }
}

#[test]
fn every_point_keeps_its_messages_and_has_figures() {
    let place = Place::new();
    let cells = grow::run(&plan(&place), &mut |_| {}).unwrap();
    let faults: Vec<_> = cells.iter().filter_map(|cell| cell.fault.as_ref()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let grown = table::grown(&cells);
    // Processor time and time of each point, and a start of each backlog.
    assert_eq!(grown.len(), 2 * cells.len() + 3, "{}", table::text(&grown));
    assert!(grown.iter().all(|one| one.values.median >= 0.0));
}

#[test]
fn a_broker_that_is_not_there_is_a_fault_of_every_point() {
    let place = Place::new();
    let plan = Plan { program: place.path("nothing"), ..plan(&place) };
    let cells = grow::run(&plan, &mut |_| {}).unwrap();
    assert_eq!(cells.len(), 8);
    assert!(cells.iter().all(|cell| cell.fault.is_some() && cell.runs.is_empty()));
}
