//! What foreign logs are known not to keep, each with the reason. What is not here must hold on them.

use conformance::Peer;

/// Why some scenarios do not hold, and which.
type Known = &'static [(&'static str, &'static [&'static str])];

/// Tansu 0.6.
const TANSU: Known = &[
    (
        "the end that it tells leaves records of the last batch out",
        &[
            "produce/a_client_that_ends_has_published_what_it_began",
            "produce/compressed_batches_are_taken",
        ],
    ),
    (
        "it looks neither at checksums nor at the number of a partition, nor at lengths",
        &[
            "produce/a_corrupt_batch_is_refused_and_nothing_is_written",
            "produce/an_unknown_partition_is_refused",
            "produce/what_is_too_long_for_the_log_is_refused_in_its_words",
            "produce/what_stands_behind_a_refused_message_arrives",
            "faults/a_length_beyond_all_bounds_is_not_waited_for",
        ],
    ),
    (
        "it answers a producer that asks for no answer",
        &["produce/a_batch_that_asks_for_no_answer_arrives"],
    ),
    (
        "a batch that comes again it refuses as a duplicate, without its offset",
        &[
            "produce/a_batch_sent_twice_is_written_once",
            "produce/the_last_five_batches_are_known_again",
            "produce/a_repeated_batch_is_known_on_another_connection",
            "faults/a_publish_whose_answer_is_lost_is_written_once",
            "faults/an_answer_cut_in_the_middle_is_no_answer",
            "faults/an_answer_that_cannot_be_read_is_no_answer",
            "faults/order_holds_over_lost_answers",
            "faults/more_than_the_bound_is_refused_at_once",
            "faults/publishing_goes_on_when_a_vanished_log_is_back",
        ],
    ),
    (
        "an offset beyond the end is nothing to it, and no error",
        &[
            "consume/reading_past_the_end_is_refused",
            "consume/a_group_beyond_the_end_loses_nothing_that_comes",
        ],
    ),
    (
        "it finds batches by time, not records, and an offset where nothing is so young",
        &[
            "consume/a_time_is_found_within_a_batch",
            "consume/a_time_past_the_newest_has_no_offset",
            "consume/a_group_set_to_a_time_goes_on_there",
            "consume/a_group_set_past_the_newest_goes_on_at_the_end",
        ],
    ),
    (
        "it advertises DeleteRecords, and ends the connection on which it comes",
        &[
            "consume/what_was_removed_is_a_gap_and_no_end",
            "consume/a_group_whose_place_was_removed_goes_on",
        ],
    ),
    (
        "it describes groups without names and shares, and groups that never were",
        &[
            "groups/one_member_has_every_partition",
            "groups/two_members_share_the_partitions",
            "groups/shares_of_three_differ_by_one",
            "groups/a_member_too_many_waits",
            "groups/two_topics_are_both_shared",
            "groups/the_last_one_takes_everything_over",
            "groups/a_member_that_joins_gets_a_share",
            "groups/members_are_described_by_name",
            "groups/a_group_that_never_was_is_told_as_unknown",
            "groups/groups_are_listed",
        ],
    ),
    (
        "at times it names as leader who has left: the others wait for his shares for good",
        &[
            "groups/a_group_stops_and_starts_without_a_loss",
            "groups/nothing_is_lost_while_members_come_and_go",
        ],
    ),
    (
        "it takes no note of names that outlive a process",
        &[
            "groups/a_second_process_of_a_name_fences_the_first",
            "groups/a_fenced_process_gets_nothing_more",
            "groups/a_process_that_is_back_takes_its_own_place",
        ],
    ),
    ("it does not keep the words of a commit", &["groups/the_words_of_a_commit_are_kept"]),
    (
        "it makes whatever topic is asked for, even when it is only asked whether it would",
        &[
            "admin/an_impossible_name_is_refused",
            "admin/a_topic_without_partitions_is_refused",
            "admin/an_unknown_setting_is_refused",
            "admin/asking_whether_makes_nothing",
            "admin/settings_of_a_missing_topic_are_an_error",
        ],
    ),
    (
        "after a restart it refuses the number that it gave a producer before",
        &["faults/a_client_finds_a_log_that_was_started_again"],
    ),
];

/// noida-db 0.2.
const NOIDA: Known = &[
    (
        "its bound of a batch leaves no room for what goes around 1 MiB",
        &["produce/the_longest_message_survives"],
    ),
    (
        "it answers a producer that asks for no answer",
        &["produce/a_batch_that_asks_for_no_answer_arrives"],
    ),
    (
        "it knows the last batch of a producer again, and none before it",
        &["produce/the_last_five_batches_are_known_again"],
    ),
    (
        "it answers at once, whatever a reader would wait",
        &[
            "consume/a_long_poll_ends_when_something_comes",
            "consume/a_long_poll_ends_without_anything",
        ],
    ),
    (
        "it acknowledges before anything is on disk: a kill loses it, with its topic",
        &[
            "faults/what_was_acknowledged_outlives_the_log",
            "faults/what_was_committed_outlives_the_log",
            "faults/a_publisher_goes_on_over_a_restart",
            "faults/a_member_goes_on_over_a_restart",
            "faults/a_producers_number_is_known_after_a_restart",
            "faults/topics_outlive_the_log",
            "faults/a_client_finds_a_log_that_was_started_again",
        ],
    ),
];

pub(crate) const fn of(peer: Peer) -> Known {
    match peer {
        Peer::Tansu => TANSU,
        Peer::Noida => NOIDA,
    }
}
