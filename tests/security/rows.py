"""Which tests hold which row of the table in SECURITY.md. `tests.security.test_rows` sees that all of them exist."""

from __future__ import annotations

from typing import Final

SEALED: Final = "tests/rooms/config/test_sealing.py"
SAFE: Final = "tests/rooms/config/test_safe_files.py"
DURABLE: Final = "tests/rooms/config/test_durable.py"
KILLED: Final = "tests/rooms/config/test_killed_writes.py"
ROTATION: Final = "tests/rooms/config/test_rotation.py"
DOCUMENT: Final = "tests/rooms/config/test_document.py"
PROCESS: Final = "tests/contract/test_process.py"
GUARD: Final = "tests/contract/test_guard.py"
REQUESTS: Final = "tests/contract/test_requests.py"
AUDIT: Final = "tests/admin/test_admin_audit.py"
ANSWERS: Final = "tests/faults/test_what_passes_for_an_answer.py"
MATRIX_STREAMS: Final = "tests/matrix/rows_streams.py"
GATE: Final = "tests/contract/test_gate.py"
UPLOADS: Final = "tests/contract/test_uploads.py"
MATRIX_BYTES: Final = "tests/matrix/rows_bytes.py"
MATRIX_CONNECT: Final = "tests/matrix/rows_connect.py"
UNITS: Final = "tests/systemd/test_units.py"
LEAKS: Final = "tests/arch/test_leak_search.py"
TOLD: Final = "tests/security/test_nothing_is_told.py"
MEMORY: Final = "tests/security/test_memory.py"
MOVED: Final = "tests/security/test_moved_endpoints.py"
NETWORKS: Final = "tests/security/test_inner_networks.py"
PAGES: Final = "tests/security/test_web_pages.py"
KNOWN: Final = "tests/security/test_known_heads.py"
KEPT: Final = "tests/security/test_kept_verdicts.py"
CALLERS: Final = "tests/security/test_callers.py"
HOSTILE: Final = "tests/security/test_hostile_providers.py"
SLOW: Final = "tests/security/test_slow_clients.py"
SMUGGLING: Final = "tests/security/test_smuggling.py"
RACES: Final = "tests/security/test_configuration_races.py"
CERTIFICATES: Final = "tests/security/test_certificates.py"
RELEASE: Final = "tests/security/test_release.py"

ROWS: Final[dict[str, dict[str, list[str]]]] = {
    "A1": {
        LEAKS: ["test_a_planted_key_is_found", "test_any_eight_bytes_are_found"],
        TOLD: [
            "test_a_crash_with_a_key_in_hand_names_places_only",
            "test_a_handler_that_crashes_with_a_key_in_hand_says_where_alone",
            "test_the_loop_complains_without_values",
            "test_no_sink_of_a_process_holds_a_key_a_prompt_or_an_answer",
        ],
        HOSTILE: [
            "test_a_key_that_stands_in_a_header_goes_no_further",
            "test_a_key_that_stands_in_a_list_of_models_goes_no_further",
        ],
        SEALED: ["test_a_secret_leaves_by_no_door"],
        GUARD: ["test_malformed_requests_echo_nothing"],
        ANSWERS: ["test_a_key_that_the_provider_repeats_goes_no_further"],
    },
    "A2": {
        MEMORY: [
            "test_a_process_of_the_same_user_can_read_nothing_of_it",
            "test_the_spy_reads_what_is_not_protected",
            "test_no_command_takes_a_key_as_an_argument",
        ]
    },
    "A3": {
        SAFE: [
            "test_of_all_modes_those_are_read_that_let_nobody_else_in",
            "test_what_belongs_to_another_user_is_refused",
            "test_the_daemon_does_not_start_on_a_file_that_is_not_safe",
        ],
        PROCESS: ["test_open_state_files_are_refused", "test_a_unix_socket_is_for_its_owner_alone"],
    },
    "A4": {
        SEALED: ["test_every_flipped_bit_is_refused", "test_a_record_moved_to_another_provider_is_not_tried"],
        RACES: [
            "test_two_records_that_change_places_open_nothing",
            "test_a_file_from_before_the_rotation_of_the_master_key_opens_nothing",
        ],
    },
    "A5": {
        HOSTILE: [
            "test_a_redirect_takes_no_key_to_another_host",
            "test_no_call_of_the_daemons_own_follows_one",
            "test_the_sign_in_to_google_follows_none",
        ]
    },
    "A6": {
        MOVED: [
            "test_a_new_endpoint_alone_is_refused_and_nobody_is_called",
            "test_an_endpoint_changed_by_hand_takes_the_key_out_of_use",
            "test_a_reference_does_not_follow_a_new_endpoint_either",
            "test_a_key_that_goes_where_redeo_yaml_says_does_so_with_a_warning",
            "test_a_configuration_that_others_can_write_is_not_taken",
        ]
    },
    "A7": {
        NETWORKS: [
            "test_no_spelling_of_a_denied_address_is_taken_over_the_admin_api",
            "test_a_name_that_resolves_to_a_denied_address_is_not_connected_to",
            "test_a_name_that_changes_its_mind_is_judged_anew",
            "test_a_redirect_leads_nowhere",
        ]
    },
    "A8": {
        PAGES: [
            "test_under_a_foreign_name_no_route_answers",
            "test_no_host_two_hosts_and_other_forms_of_the_target_are_refused_on_every_route",
        ]
    },
    "A9": {
        PAGES: [
            "test_a_form_a_beacon_and_a_fetch_without_leave_change_and_cost_nothing",
            "test_another_site_is_refused_on_every_route",
            "test_a_preflight_of_another_site_is_refused_on_every_route",
        ]
    },
    "A10": {
        CALLERS: [
            "test_without_the_key_no_route_does_anything",
            "test_no_path_leads_out_of_the_operation_that_it_names",
        ],
        PROCESS: ["test_a_unix_socket_is_for_its_owner_alone"],
    },
    "A11": {
        CALLERS: [
            "test_ever_more_wrong_keys_are_slowed_down_and_the_right_one_never",
            "test_how_long_a_comparison_takes_says_nothing_of_the_key",
            "test_the_key_has_256_random_bits_and_is_kept_as_a_digest_alone",
        ],
        KNOWN: [
            "test_a_known_head_in_a_body_is_not_taken_for_that_of_the_next_request",
            "test_another_key_holds_for_known_heads",
            "test_what_differs_from_a_known_head_is_checked",
            "test_what_stands_before_a_head_does_not_become_known",
            "test_who_waits_behind_another_is_not_taken_for_who_came_last",
        ],
    },
    "A12": {
        HOSTILE: ["test_a_provider_is_sent_exactly_the_headers_that_are_its_business"],
        REQUESTS: ["test_exactly_the_allowed_headers_reach_the_provider"],
    },
    "A13": {
        HOSTILE: [
            "test_of_200_hostile_sets_of_headers_only_clean_ones_come_back",
            "test_cookies_are_neither_kept_nor_passed",
        ]
    },
    "A14": {
        SLOW: [
            "test_others_are_served_meanwhile",
            "test_a_head_has_a_size",
            "test_a_body_has_a_size",
            "test_json_of_any_depth_is_asked_or_refused",
        ],
        GATE: ["test_a_body_that_stops_coming_is_refused", "test_a_body_that_trickles_is_refused"],
        UPLOADS: [
            "test_a_client_that_breaks_off_is_nobody_elses_fault",
            "test_a_client_that_stalls_is_told_and_nobody_else_blamed",
            "test_few_at_a_time_so_that_others_have_their_places",
            "test_uploads_at_once_fill_little",
        ],
    },
    "A15": {
        HOSTILE: [
            "test_a_bomb_is_not_inflated",
            "test_a_body_without_end_is_cut_at_its_cap",
            "test_a_list_of_models_without_end_is_cut_at_its_cap",
            "test_a_list_of_models_as_deep_as_can_be_read_breaks_nobodys_list",
        ],
        MATRIX_BYTES: ["line_without_end", "line_without_end_after_content", "compressed"],
    },
    "A16": {
        SMUGGLING: ["test_whatever_is_accepted_was_read_alike_by_all", "test_there_are_enough_of_them"],
        KNOWN: ["test_what_comes_with_a_connect_is_not_its_body"],
        KEPT: ["test_the_same_requests_come_out"],
    },
    "A17": {
        RACES: [
            "test_a_configuration_that_changes_all_the_time_is_never_read_in_parts",
            "test_connections_that_become_links_and_halves_are_never_followed",
        ]
    },
    "A18": {
        RACES: [
            "test_a_bomb_is_read_or_refused_in_a_fifth_of_a_second",
            "test_the_loop_turns_while_a_bomb_is_looked_at",
        ],
        DOCUMENT: ["test_what_is_refused", "test_no_bytes_do_anything_but_parse_or_fault"],
    },
    "A19": {
        TOLD: [
            "test_a_record_is_one_line_of_ascii_json_whatever_stands_in_it",
            "test_a_terminal_is_sent_nothing_that_it_would_obey",
            "test_no_request_writes_a_line_of_its_own_making",
        ]
    },
    "A20": {
        TOLD: [
            "test_no_sink_of_a_process_holds_a_key_a_prompt_or_an_answer",
            "test_an_exchange_that_crashes_says_where_alone",
        ]
    },
    "A21": {RACES: ["test_what_clients_make_up_makes_no_series"]},
    "A22": {
        CERTIFICATES: [
            "test_who_cannot_prove_its_name_is_told_nothing",
            "test_there_is_no_switch_that_turns_it_off",
        ],
        MATRIX_CONNECT: ["certificate"],
    },
    "A23": {
        RELEASE: [
            "test_what_is_planted_in_a_home_or_on_a_path_does_not_run_under_the_unit",
            "test_a_planted_pth_file_of_the_installation_does_not_run_under_the_isolated_unit",
            "test_the_wheel_holds_the_files_of_the_tree_and_no_other",
        ],
        UNITS: ["test_the_unit_runs_the_script_and_no_module_from_elsewhere"],
    },
    "A24": {
        DURABLE: [
            "test_nothing_is_said_to_be_done_before_it_is_on_disk",
            "test_whatever_step_fails_the_old_or_the_new_stands_there",
        ],
        KILLED: ["test_killed_at_any_moment_the_old_or_the_new_list_stands_there"],
        ROTATION: ["test_stopped_at_any_step_every_key_opens_and_a_second_run_finishes"],
    },
    "A25": {
        ANSWERS: ["test_an_alias_asks_a_failing_connection_once"],
        REQUESTS: ["test_metrics_add_up"],
        MATRIX_CONNECT: ["with_something_kept", "stateful"],
    },
    "A26": {
        MATRIX_BYTES: ["no_answer", "the_other_form", "error_under_200"],
        MATRIX_STREAMS: ["at_once", "whole_answer", "whole_answer_reset"],
    },
    "A27": {
        AUDIT: [
            "test_each_change_writes_one_line",
            "test_each_refused_change_writes_one_line_too",
            "test_no_value_stands_in_a_line",
        ]
    },
}
