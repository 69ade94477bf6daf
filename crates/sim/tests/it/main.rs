//! A few schedules, and those that failed once.

use sluice_sim::{Counters, Workload, run, run_only};

#[test]
fn the_same_seed_twice_is_the_same_schedule() {
    assert_eq!(run(7).unwrap(), run(7).unwrap());
    assert_ne!(run(7).unwrap().trace, run(8).unwrap().trace);
}

#[test]
fn some_schedules_keep_every_promise_and_compare_enough() {
    let mut total = Counters::default();
    for seed in 1..=30 {
        total.add(&run(seed).unwrap().counters);
    }
    assert!(total.compares_enough(), "{} of {}", total.compared, total.delivered);
    assert!(total.calm_phases > 0 && total.shared > 0 && total.copies > 0);
    assert!(total.fleeting_delivered > 0 && total.read_again > 0 && total.unreadable > 0);
    assert!(total.queue_batches > 0 && total.queue_duplicates > 0 && total.queue_outlived > 0);
    assert!(total.queue_removed > 0 && total.queue_purged > 0 && total.queue_redriven > 0);
    assert!(total.queue_exclusive > 0 && total.queue_empties > 0 && total.queue_left > 0);
    assert!(total.queue_ranked > 0 && total.queue_ordered > 0 && total.queue_resumed > 0);
    assert!(total.blocks_whole > 0 && total.blocks_parted > 0 && total.block_ordered > 0);
    assert!(total.block_copies > 0 && total.lost > 0 && total.accounts_lost > 0);
    assert!(total.settled_refused > 0 && total.extended > 0 && total.read_together > 0);
    assert!(total.pushed > 0 && total.withdrawn > 0 && total.push_starved > 0);
    assert!(total.key_writes > 0 && total.key_conflicts > 0 && total.key_duplicates > 0);
    assert!(total.key_events > 0 && total.key_expiries > 0 && total.key_gaps > 0);
    assert!(total.key_checked > total.key_writes, "{} answers", total.key_checked);
    assert!(total.limit_grants > 0 && total.limit_changes > 0 && total.limit_throttled > 0);
    assert!(total.limit_lists > 0 && total.limit_waits > 0 && total.limit_deletes > 0);
    assert!(total.limit_explained > 0 && total.limit_ranked > 0 && total.limit_followed > 0);
    assert!(total.backups_completed > 0 && total.backups_restored > 0);
    assert!(total.backup_compared > 0 && total.old_leases_refused > 0);
}

#[test]
fn queues_under_limits_hand_out_what_is_allowed_and_nothing_waits_in_vain() {
    let mut total = Counters::default();
    for seed in 1_001..=1_100 {
        total.add(&run_only(seed, Workload::Limits).unwrap().counters);
    }
    assert!(total.limit_grants > 5_000 && total.limit_deletes > 0 && total.limit_pauses > 0);
    assert!(total.limit_probes > 100 && total.limit_next > 100 && total.limit_turned > 0);
    assert!(total.disk.power_crashes > 0 && total.disk.process_crashes > 0);
}

#[test]
fn keys_of_limits_stay_as_they_were_over_images_and_changes() {
    for seed in [924, 1408, 1915, 2205, 2340, 3028, 3533] {
        run_only(seed, Workload::Limits).unwrap();
    }
}

#[test]
fn a_lease_that_is_told_late_may_have_failed_before_the_next_one_is_told() {
    run_only(2511, Workload::Limits).unwrap();
}

#[test]
fn a_message_that_is_told_late_to_be_back_may_have_failed_since() {
    run_only(4679, Workload::Limits).unwrap();
}

#[test]
fn what_an_empty_receive_is_told_follows_slots_pauses_and_changes_of_limits() {
    for seed in [52, 73, 4566] {
        run_only(seed, Workload::Limits).unwrap();
    }
}

#[test]
fn copies_to_a_subscriber_at_most_once_come_in_the_order_published() {
    for seed in [81, 92, 94, 221, 228, 255] {
        run(seed).unwrap();
    }
}

#[test]
fn a_late_ack_may_overtake_a_delivery_to_another_consumer_whose_lease_it_ended() {
    let mut total = Counters::default();
    for seed in [62692, 72691, 75035] {
        total.add(&run(seed).unwrap().counters);
    }
    assert!(total.overtaken > 0);
}

#[test]
fn a_first_grant_may_be_told_after_a_later_one_of_a_shared_subscription() {
    for seed in [9608, 16258] {
        run(seed).unwrap();
    }
}

#[test]
fn starts_on_a_full_disk_give_back_the_segments_of_starts_before() {
    run(618_830).unwrap();
}
