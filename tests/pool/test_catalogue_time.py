"""The catalogue of faults: limits of time, with every start method.

Each test holds the row of ``catalogue.ROWS`` that its docstring names. The limits are as short as they can be where the task
never ends by itself, so that no limit is met by a machine that is merely slow.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from manyhands import ProcessPool, TaskTimeoutError, WorkerCrashedError, parallel_map
from tests.pool import rogues, tasks
from tests.pool.conftest import PATIENCE, Meeting

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="blocks signals")

#: Seconds; what may be done within them is done in microseconds.
LIMIT = 0.4


def test_who_waits_for_a_result_too_long_is_told_and_may_end_the_pool(method: str, meeting: Meeting) -> None:
    """row: result_timeout."""
    pool = ProcessPool(1, start_method=method)
    future = pool.submit(tasks.endless, meeting.reports)
    meeting.next()
    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert future.running()
    pool.kill_workers()
    with pytest.raises(WorkerCrashedError):
        future.result(PATIENCE)


def check_limit(late_at: Callable[[int, int], int], method: str) -> None:
    """One of eight items takes for ever: it has failed of its time, and the others have their results."""
    function = parallel_map(
        late_at, max_workers=2, start_method=method, timeout=LIMIT, on_error="collect", chunksize=2
    )
    results = function.map(range(8), late=2)
    assert [each for each in results if isinstance(each, int)] == [0, 1, 3, 4, 5, 6, 7]
    (failure,) = results.errors
    assert failure.index == 2
    error = failure.exception
    assert type(error) is TaskTimeoutError
    assert isinstance(error, TimeoutError)
    assert error.limit == LIMIT
    assert function.map(range(8), late=-1) == list(range(8))


def test_a_task_that_sleeps_too_long_is_ended(method: str) -> None:
    """row: hard_timeout_sleep."""
    check_limit(rogues.sleep_on, method)


def test_a_task_that_loops_too_long_is_ended(method: str) -> None:
    """row: hard_timeout_spin."""
    check_limit(rogues.spin_on, method)


def test_a_task_that_stays_in_c_too_long_is_ended(method: str) -> None:
    """row: hard_timeout_c_code."""
    check_limit(rogues.stay_in_c, method)


def test_a_task_that_takes_too_long_and_takes_no_signal_is_ended(method: str) -> None:
    """row: hard_timeout_stubborn."""
    check_limit(rogues.stubborn, method)


def test_the_time_of_a_task_begins_when_it_begins(method: str) -> None:
    """row: hard_timeout_starts_at_run.

    One after the other they take longer than each of them may.
    """
    function = parallel_map(rogues.take, max_workers=1, start_method=method, timeout=1.5, chunksize=2)
    assert function.map([0.5] * 4) == [0.5] * 4


def test_without_collecting_the_first_late_item_is_raised(method: str) -> None:
    function = parallel_map(rogues.sleep_on, max_workers=2, start_method=method, timeout=LIMIT, chunksize=1)
    with pytest.raises(TaskTimeoutError) as caught:
        function.map(range(4), late=1)
    assert any("item 1" in note for note in caught.value.__notes__)
    assert function.map(range(4), late=-1) == list(range(4))


@pytest.mark.parametrize("late_at", [rogues.sleep_on, rogues.stay_in_c, rogues.stubborn])
def test_a_call_ends_at_its_deadline_whatever_its_tasks_do(
    method: str, late_at: Callable[[int, int], int]
) -> None:
    function = parallel_map(late_at, max_workers=2, start_method=method, deadline=LIMIT, chunksize=1)
    with pytest.raises(TaskTimeoutError):
        function.map(range(4), late=0)
    assert function.options(deadline=PATIENCE).map(range(4), late=-1) == list(range(4))
