//! Random commands on queues with limits, groups and keys, with a judge beside them who knows nothing
//! of how it is done: it counts what was handed over and when.

mod judge;
mod world;

use self::world::World;

/// Steps of a run.
const STEPS: usize = 250;

/// Runs, each with its own seed; more of them where the build says so.
fn seeds() -> u64 {
    option_env!("SLUICE_FLOW_SEEDS").and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn what_is_handed_over_obeys_every_limit_and_nothing_waits_in_vain() {
    let mut delivered = 0;
    for seed in 0..seeds() {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.drain();
        delivered += world.delivered;
    }
    assert!(delivered > seeds() * 20, "{delivered} messages were handed over");
}
