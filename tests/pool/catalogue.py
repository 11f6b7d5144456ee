"""The catalogue of faults: what may go wrong with a pool, and the test that holds what happens then.

Each row is a name and the test, ``file::function`` in this folder, that holds it with every start method;
``tests/unit/test_catalogue.py`` sees to it that the tests exist and do that.
"""

from __future__ import annotations

_CRASH = "test_crashes.py::test_a_death_fails_the_task_that_ran_and_no_other"
_EVERY = "test_exceptions.py::test_a_worker_survives_every_exception"
_OTHER = (
    "test_exceptions.py::test_an_exception_made_with_other_arguments_arrives_with_type_text_and_attributes"
)
_CTRL_C = "test_leaving.py::test_ctrl_c_ends_a_program_that_waits"
_BUSY = "test_leaving.py::test_when_a_signal_ends_the_program_its_busy_workers_end"
_ABRUPTLY = "test_leaving.py::test_when_the_program_leaves_abruptly_its_busy_workers_end"
_MAIN = "test_surroundings.py::test_a_program_without_a_main_guard_works"

#: Names to tests, under the headings that they have in common.
ROWS: dict[str, str] = {
    # worker death
    "sigterm_worker": _CRASH,
    "sigabrt_worker": _CRASH,
    "segv_ctypes": _CRASH,
    "os_exit_0": _CRASH,
    "os_exit_42": _CRASH,
    "libc_exit": _CRASH,
    "sigkill_idle_worker": "test_crashes.py::test_an_idle_worker_that_is_killed_is_replaced",
    "all_workers_killed_with_queue": "test_crashes.py::test_when_all_workers_are_killed_the_queue_runs_on_new_ones",
    "sigkill_during_arg_write": "test_crashes.py::test_a_huge_argument_to_a_worker_that_dies_goes_to_the_next_one",
    "crash_storm": "test_crashes.py::test_in_a_storm_of_crashes_exactly_the_culprits_fail",
    "death_after_result": "test_catalogue_tasks.py::test_with_every_start_method_a_death_after_the_result_leaves_the_result",
    "init_raises": "test_crashes.py::test_an_initializer_that_raises_is_named",
    "init_exits": "test_crashes.py::test_an_initializer_that_ends_the_process_is_named",
    "junk_on_pipes": "test_crashes.py::test_junk_on_a_workers_channel_is_not_unpickled_and_costs_that_worker",
    "fork_in_task": "test_crashes.py::test_a_task_that_forks_and_returns_twice_has_one_result",
    "memoryerror_rlimit": "test_crashes.py::test_a_task_that_runs_out_of_memory_raises_memory_error",
    # pickling
    "arg_lock": "test_pickling.py::test_an_argument_that_cannot_be_pickled_is_named",
    "fn_lambda": "test_pickling.py::test_a_lambda_and_a_closure_run",
    "arg_reduce_raises": "test_pickling.py::test_what_an_argument_raises_while_it_is_pickled_is_told",
    "arg_reduce_sysexit": "test_pickling.py::test_what_an_argument_raises_while_it_is_pickled_is_told",
    "arg_unpickle_raises": "test_pickling.py::test_what_an_argument_raises_while_it_is_unpickled_reaches_its_future_only",
    "arg_unpickle_sysexit": "test_pickling.py::test_what_an_argument_raises_while_it_is_unpickled_reaches_its_future_only",
    "arg_too_deep": "test_pickling.py::test_an_argument_nested_200_000_deep_arrives_or_is_refused",
    "result_lock": "test_pickling.py::test_a_result_that_cannot_be_pickled_is_named",
    "result_generator": "test_pickling.py::test_a_result_that_cannot_be_pickled_is_named",
    "result_lambda": "test_pickling.py::test_a_lambda_is_a_result",
    "result_unpickle_raises": "test_pickling.py::test_a_result_that_cannot_be_unpickled_fails_its_future_only",
    "result_too_deep": "test_pickling.py::test_a_result_nested_200_000_deep_arrives_or_is_refused",
    "result_none": "test_pickling.py::test_none_is_a_result",
    "exc_two_args": _OTHER,
    "exc_kw_only": _OTHER,
    "exc_reduce": "test_exceptions.py::test_an_exception_that_refuses_to_be_pickled_is_caught_by_the_same_except",
    "exc_setstate": _OTHER,
    "exc_huge": "test_catalogue_tasks.py::test_an_error_with_a_message_of_100_megabytes_arrives",
    "exc_group": "test_exceptions.py::test_a_group_arrives_with_its_members",
    "exc_attrs": "test_catalogue_tasks.py::test_an_attribute_and_a_note_arrive_together",
    "exc_oserror": "test_catalogue_tasks.py::test_an_oserror_keeps_its_number_and_its_file",
    "exc_recursionerror": "test_catalogue_tasks.py::test_a_recursion_without_end_is_a_recursion_error",
    "fn_of_ghost_module": "test_pickling.py::test_a_module_that_a_worker_cannot_import_is_named",
    "fn_added_later": "test_pickling.py::test_a_function_added_to_its_module_after_the_start_runs_or_is_told",
    "arg_over_2gib": "test_catalogue_tasks.py::test_an_argument_of_2_gigabytes_arrives_with_every_start_method",
    "result_over_2gib": "test_catalogue_tasks.py::test_a_result_of_2_gigabytes_arrives_with_every_start_method",
    "numpy_result_writable": "test_arrays.py::test_a_numpy_result_can_be_written_to_and_outlives_the_pool",
    "numpy_odd_arrays": "test_catalogue_arrays.py::test_odd_numpy_arrays_arrive_equal_with_every_start_method",
    "arg_isolated": "test_pickling.py::test_a_tasks_changes_to_its_argument_stay_in_the_worker",
    # odd exceptions
    "base_exception": _EVERY,
    "system_exit_0": _EVERY,
    "system_exit_msg": _EVERY,
    "keyboard_interrupt_raised": _EVERY,
    "futures_cancelled": "test_catalogue_tasks.py::test_a_cancelled_error_that_a_task_raises_is_no_cancellation",
    "timeouterror_raised": "test_catalogue_tasks.py::test_a_tasks_own_timeout_error_is_told_from_the_pools",
    "stop_async_iteration": _EVERY,
    "brokenexecutor_raised": "test_catalogue_tasks.py::test_a_task_that_raises_broken_executor_breaks_nothing",
    "eoferror_raised": _EVERY,
    # parent signals/death
    "ctrl_c_group_in_map": _CTRL_C,
    "sigterm_parent_busy": _BUSY,
    "sigkill_parent_busy": _BUSY,
    "sigkill_parent_idle": "test_leaving.py::test_when_a_signal_ends_the_program_its_idle_workers_end",
    "sighup_group": _BUSY,
    "parent_os_exit_busy": _ABRUPTLY,
    "parent_segv_busy": _ABRUPTLY,
    "foreign_waitpid": "test_executor.py::test_a_program_that_reaps_every_child_does_not_disturb_it",
    # topology
    "fork_with_threads_holding_locks": "test_catalogue_lifecycle.py::test_locks_that_threads_hold_keep_no_worker_waiting",
    "nested_pool": "test_nesting.py::test_a_pool_inside_a_task_works_and_leaves_with_it",
    "pool_used_in_forked_child": "test_executor.py::test_a_forked_child_that_uses_the_parents_pool_is_told",
    "forked_child_exits_normally": "test_nesting.py::test_a_forked_child_that_ends_leaves_the_parents_pools_alone",
    "many_submitting_threads": "test_executor.py::test_many_threads_may_submit_to_one_pool",
    "submit_in_callback": "test_executor.py::test_a_callback_may_submit",
    "raising_callback": "test_catalogue_lifecycle.py::test_whatever_a_callback_raises_the_pool_goes_on",
    "executor_as_argument": "test_catalogue_lifecycle.py::test_a_pool_as_an_argument_is_refused_by_name",
    "main_unguarded": _MAIN,
    "main_stdin": _MAIN,
    "pool_made_in_dead_thread": "test_executor.py::test_a_pool_made_in_a_thread_that_has_ended_is_usable",
    "submitting_thread_ends": "test_catalogue_lifecycle.py::test_a_task_of_a_thread_that_has_ended_still_finishes",
    "relative_sys_path_chdir": "test_surroundings.py::test_a_module_of_a_relative_path_entry_is_found_after_chdir",
    "main_dash_m": _MAIN,
    # lifecycle
    "exit_with_pending_tasks": "test_leaving.py::test_pending_futures_are_done_when_the_program_ends",
    "sys_exit_endless_task": "test_catalogue_lifecycle.py::test_sys_exit_in_a_with_block_ends_the_program_and_its_tasks",
    "with_raises_endless_task": "test_leaving.py::test_an_exception_in_a_with_block_ends_the_program_whatever_its_tasks_do",
    "pool_garbage_collected": "test_executor.py::test_a_forgotten_pool_lets_its_workers_go",
    "no_zombies_after_shutdown": "test_executor.py::test_after_shutdown_no_process_is_left_not_even_a_zombie",
    "no_zombies_after_crash": "test_crashes.py::test_after_a_crash_no_zombie_stays",
    "shutdown_twice": "test_executor.py::test_shutdown_twice_and_without_use_is_fine",
    "map_after_shutdown": "test_catalogue_lifecycle.py::test_after_shutdown_map_is_refused_at_once",
    "shutdown_nowait": "test_executor.py::test_shutdown_without_waiting_returns_at_once_and_the_results_still_come",
    "cancel_queued": "test_executor.py::test_a_queued_task_that_is_cancelled_never_runs",
    "twenty_pools": "test_catalogue_lifecycle.py::test_twenty_pools_of_any_start_method_leave_as_much_as_one",
    "idle_then_use": "test_catalogue_lifecycle.py::test_pools_of_every_start_method_that_were_idle_are_usable",
    "submit_in_atexit": "test_catalogue_lifecycle.py::test_a_hook_at_the_end_of_the_program_is_served_or_told",
    "daemon_thread_in_map_at_exit": "test_catalogue_lifecycle.py::test_a_daemon_thread_in_map_lets_the_program_end",
    # iterators/sizes
    "source_raises": "test_catalogue_lifecycle.py::test_an_error_of_the_source_is_the_maps_and_the_pool_goes_on",
    "results_abandoned": "test_catalogue_lifecycle.py::test_results_that_are_dropped_midway_are_cancelled_or_finished",
    "zero_items": "test_catalogue_lifecycle.py::test_no_items_are_an_empty_result_without_any_worker",
    "unequal_iterables": "test_catalogue_lifecycle.py::test_the_shortest_iterable_ends_a_map",
    "bad_chunksize": "test_catalogue_lifecycle.py::test_a_chunksize_that_makes_no_sense_is_refused",
    "bad_max_workers": "test_catalogue_lifecycle.py::test_a_number_of_workers_that_makes_no_sense_is_refused",
    "million_items": "test_catalogue_lifecycle.py::test_a_million_items_of_any_start_method_come_in_order",
    "many_submits": "test_catalogue_lifecycle.py::test_ten_thousand_tasks_of_any_start_method_have_their_results",
    "map_timeout": "test_executor.py::test_map_raises_timeout_error_and_the_pool_goes_on",
    "source_uses_pool": "test_catalogue_lifecycle.py::test_a_source_that_waits_for_the_pool_itself_is_no_deadlock",
    "slow_source": "test_catalogue_lifecycle.py::test_results_can_be_had_while_the_source_is_slow",
    # resources
    "fds_exhausted_at_start": "test_crashes.py::test_a_pool_that_finds_no_descriptor_fails_with_oserror_and_recovers",
    "fds_exhausted_later": "test_crashes.py::test_without_descriptors_a_running_pool_goes_on",
    "devshm_full": "test_catalogue_surroundings.py::test_a_full_dev_shm_is_no_obstacle_or_is_named",
    "pids_limit": "test_catalogue_surroundings.py::test_at_the_limit_of_processes_there_are_fewer_workers_or_a_clear_error",
    "tmpdir_long": "test_surroundings.py::test_a_long_folder_for_temporary_files_is_no_obstacle",
    "cwd_deleted": "test_surroundings.py::test_the_current_folder_may_be_deleted",
    # surroundings
    "std_all_closed": "test_surroundings.py::test_a_program_started_without_standard_streams_works",
    "sys_stdout_none": "test_surroundings.py::test_a_program_with_odd_standard_streams_works",
    "print_flood": "test_catalogue_surroundings.py::test_eight_megabytes_printed_by_workers_all_arrive",
    "no_duplicated_output": "test_surroundings.py::test_what_a_task_prints_appears_once",
    "chdir_leaks": "test_catalogue_surroundings.py::test_a_tasks_folder_is_neither_the_programs_nor_a_new_workers",
    "environ_leaks": "test_catalogue_surroundings.py::test_a_tasks_variable_is_neither_the_programs_nor_a_new_workers",
    "parent_environ_late": "test_catalogue_surroundings.py::test_a_variable_set_after_the_start_is_not_known_to_the_workers",
    "worker_ignores_sigterm": "test_executor.py::test_shutdown_ends_an_idle_worker_that_ignores_or_blocks_every_signal",
    "stubborn_task_force_stop": "test_executor.py::test_workers_can_be_killed_with_tasks_that_no_signal_reaches",
    "worker_blocks_signals": "test_executor.py::test_shutdown_ends_an_idle_worker_that_ignores_or_blocks_every_signal",
    "worker_daemon_thread": "test_executor.py::test_shutdown_ends_a_worker_in_which_a_task_has_left_a_thread",
    "death_with_inheriting_grandchild": "test_crashes.py::test_a_death_is_noticed_though_a_grandchild_holds_what_it_inherited",
    "mp_process_in_task": "test_surroundings.py::test_multiprocessing_works_inside_a_task",
    "stack_overflow": "test_catalogue_tasks.py::test_a_stack_overflow_in_c_is_a_death_that_is_told",
    "worker_closes_stdout": "test_surroundings.py::test_a_task_that_closes_its_standard_streams_disturbs_nobody",
    "worker_reads_stdin": "test_surroundings.py::test_a_task_that_reads_standard_input_gets_its_end",
    # time limits
    "result_timeout": "test_catalogue_time.py::test_who_waits_for_a_result_too_long_is_told_and_may_end_the_pool",
    "hard_timeout_sleep": "test_catalogue_time.py::test_a_task_that_sleeps_too_long_is_ended",
    "hard_timeout_spin": "test_catalogue_time.py::test_a_task_that_loops_too_long_is_ended",
    "hard_timeout_c_code": "test_catalogue_time.py::test_a_task_that_stays_in_c_too_long_is_ended",
    "hard_timeout_stubborn": "test_catalogue_time.py::test_a_task_that_takes_too_long_and_takes_no_signal_is_ended",
    "hard_timeout_starts_at_run": "test_catalogue_time.py::test_the_time_of_a_task_begins_when_it_begins",
    # hygiene/security
    "listening_sockets": "test_catalogue_surroundings.py::test_no_pool_listens_anywhere",
    "file_modes": "test_catalogue_surroundings.py::test_no_file_of_a_pool_can_be_opened_by_others",
    "memory_growth": "test_catalogue_surroundings.py::test_a_hundred_thousand_tasks_leave_no_memory_behind",
}
