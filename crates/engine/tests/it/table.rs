//! Every transition of the table of states, and where it is proven.
//!
//! Beside the tests that are named here, each one is met by random commands that a model says the
//! outcome of (`model/mod.rs`), which fails if any transition was never met.

/// The transitions, each with the tests that prove it, as `file::test`.
#[rustfmt::skip]
const PROOFS: &[(&str, &[&str])] = &[
    ("T1", &["transitions::t1_a_published_message_is_ready_for_every_subscription_that_matches",
        "queues::what_is_put_in_comes_out_once_with_all_that_it_carries",
        "queues::a_batch_is_stored_whole_or_not_at_all_and_so_it_survives"]),
    ("T2", &["transitions::t2_a_message_with_a_delay_is_not_handed_over_before_its_time",
        "crashes::delays_and_times_to_live_go_on_over_a_restart"]),
    ("T3", &["dedupe::t3_the_same_id_again_is_a_duplicate_for_the_window_and_no_longer",
        "dedupe::a_duplicate_is_told_only_once_the_original_is_safe",
        "dedupe::an_id_twice_in_a_batch_is_one_message"]),
    ("T4", &["bounds::a_full_queue_refuses_and_names_itself",
        "bounds::the_bound_on_bytes_is_exact",
        "dedupe::more_ids_than_may_be_remembered_are_refused_until_some_are_forgotten",
        "dedupe::topics_with_ids_are_bounded_together_and_the_others_go_on_without",
        "dedupe::one_key_has_ids_of_a_quarter_of_the_topics_at_most"]),
    ("T5", &["bounds::drop_oldest_drops_what_nobody_holds_and_counts_it",
        "bounds::drop_oldest_drops_as_many_as_the_bytes_of_the_new_one_need",
        "dead_set::what_overflows_into_the_dead_set_pushes_out_no_real_failure"]),
    ("T6", &["transitions::t6_a_delayed_message_keeps_its_place_when_its_time_comes"]),
    ("T7", &["queues::t7_a_delayed_message_can_be_fired_rescheduled_and_cancelled_and_no_other"]),
    ("T8", &["transitions::t8_a_message_is_handed_to_one_consumer_under_a_generation_of_its_own",
        "queues::higher_priorities_come_first_and_each_in_its_order"]),
    ("T9", &["transitions::t9_an_acked_message_is_gone",
        "crashes::a_repeated_ack_is_known_as_one_after_a_restart_too"]),
    ("T10", &["queues::t10_a_lease_is_extended_up_to_its_longest_life"]),
    ("T11", &["transitions::t11_a_failed_message_comes_back_after_a_backoff_that_grows",
        "crashes::failures_count_on_over_restarts"]),
    ("T12", &["transitions::t12_the_last_failure_parks_the_message_in_the_dead_set",
        "transitions::t12_without_a_limit_a_message_fails_for_ever"]),
    ("T13", &["transitions::t13_a_released_message_goes_back_to_its_place_uncounted"]),
    ("T14", &["limits::t14_a_throttled_message_pauses_its_key_and_counts_nothing",
        "limits::t14_a_throttled_message_without_keys_is_delayed_by_a_second_at_least"]),
    ("T15", &["dead_set::t15_a_rejected_message_is_dead_at_once_with_its_reason"]),
    ("T16", &["transitions::t16_a_lease_that_runs_out_counts_as_a_failure"]),
    ("T17", &["transitions::t17_a_lost_connection_costs_its_oldest_delivery_a_failure_after_the_grace",
        "transitions::t17_when_the_broker_closes_nothing_is_counted_and_there_is_no_grace",
        "transitions::t17_an_ack_within_the_grace_counts_whoever_brings_it",
        "queues::an_unbound_lease_outlives_its_connection_and_a_restart",
        "slices::no_newer_message_overtakes_what_a_closed_connection_held",
        "slices::only_the_oldest_delivery_of_a_lost_connection_counts_as_failed_in_whichever_slice",
        "slices::until_its_turn_comes_a_lease_that_is_over_can_be_acked_late_and_nothing_else"]),
    ("T18", &["transitions::t18_an_expired_message_is_never_handed_over",
        "transitions::t18_an_expired_message_goes_to_the_dead_set_where_the_queue_says_so",
        "transitions::t18_a_message_at_most_once_in_a_queue_has_its_time_and_delay_too"]),
    ("T19", &["transitions::t19_a_lease_that_ends_after_the_message_expired_ends_the_message"]),
    ("T20", &["transitions::t20_a_late_ack_is_welcome_while_nobody_holds_the_message",
        "transitions::t20_a_nack_raises_the_fence_for_its_lease_and_older_ones",
        "subscriptions::a_takeover_voids_a_lease_whose_grant_was_lost_in_a_crash"]),
    ("T21", &["queues::t21_deletes_and_purges_spare_what_is_held_unless_forced",
        "queues::a_queue_that_is_deleted_takes_its_messages_and_leaves_nothing"]),
    ("T22", &["dead_set::t22_a_redriven_message_waits_behind_all_others_as_good_as_new",
        "dead_set::t22_messages_in_memory_are_put_back_in_the_order_in_which_they_died",
        "dead_set::a_redrive_by_reason_and_age_takes_the_oldest_first_and_stops_at_the_bounds",
        "dead_set::a_redrive_with_a_pace_answers_at_once_and_keeps_to_it",
        "dead_set::a_redrive_with_a_pace_goes_on_at_its_pace_after_a_restart_in_its_middle"]),
    ("T23", &["dead_set::t23_the_dead_set_lets_go_what_is_too_old_or_too_much",
        "dead_set::t23_a_dead_set_that_a_crash_left_over_its_bounds_is_trimmed_after_the_start"]),
    ("T24", &["dead_set::t24_settings_lowered_park_what_is_spent"]),
    ("T25", &["transitions::t25_endless_release_ends_in_the_dead_set"]),
    ("T26", &["crashes::t26_a_held_message_stays_held_over_a_restart_for_the_grace",
        "queues::an_unbound_lease_outlives_its_connection_and_a_restart"]),
    ("T27", &["crashes::t27_a_grant_that_was_lost_leaves_a_ready_message_marked_redelivered",
        "crashes::t27_whoever_held_it_may_still_ack"]),
    ("T28", &["transitions::t28_a_message_whose_body_cannot_be_read_goes_to_the_dead_set"]),
];

/// Every one is there.
const ABSENT: &[&str] = &[];

/// The files that the table names tests of.
const SOURCES: &[(&str, &str)] = &[
    ("bounds", include_str!("bounds.rs")),
    ("crashes", include_str!("crashes.rs")),
    ("dead_set", include_str!("dead_set.rs")),
    ("dedupe", include_str!("dedupe.rs")),
    ("limits", include_str!("limits.rs")),
    ("queues", include_str!("queues.rs")),
    ("slices", include_str!("slices.rs")),
    ("subscriptions", include_str!("subscriptions.rs")),
    ("transitions", include_str!("transitions.rs")),
];

#[test]
fn the_table_names_every_transition_once_and_only_tests_that_exist() {
    let mut all: Vec<&str> = PROOFS.iter().map(|(transition, _)| *transition).collect();
    all.extend(ABSENT);
    all.sort_by_key(|transition| transition[1..].parse::<u32>().unwrap());
    assert_eq!(all, (1..=28).map(|n| format!("T{n}")).collect::<Vec<_>>());
    for (transition, tests) in PROOFS {
        assert!(!tests.is_empty(), "{transition} is proven nowhere");
        for name in *tests {
            let (file, test) = name.split_once("::").unwrap();
            let source = SOURCES.iter().find(|(name, _)| *name == file);
            let found = source.is_some_and(|(_, source)| is_test(source, test));
            assert!(found, "{transition}: {name}");
        }
    }
}

/// Whether a source has a test of that name, and not just a function.
fn is_test(source: &str, name: &str) -> bool {
    source.contains(&format!("#[test]\nfn {name}() {{"))
}

#[test]
fn a_function_that_is_no_test_proves_nothing() {
    let source = "#[test]\nfn t1() {\n}\n\nfn t2() {\n}\n";
    assert!(is_test(source, "t1") && !is_test(source, "t2") && !is_test(source, "t"));
}
