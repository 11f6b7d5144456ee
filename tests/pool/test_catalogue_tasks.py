"""The catalogue of faults, first part: deaths of workers, pickling and odd exceptions, with every start method.

Each test holds the row of ``catalogue.ROWS`` that its docstring names; other tests hold the rows that are not here.
"""

from __future__ import annotations

import errno
import os
import signal
from concurrent.futures import BrokenExecutor, CancelledError
from pathlib import Path

import pytest

from manyhands import ProcessPool, TaskTimeoutError, WorkerCrashedError, parallel_map
from tests.pool import rogues, tasks
from tests.pool.conftest import PATIENCE

pytest.importorskip("resource", reason="the tasks die in the ways of POSIX")


def check_healthy(pool: ProcessPool) -> None:
    assert list(pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]


def test_with_every_start_method_a_death_after_the_result_leaves_the_result(any_pool: ProcessPool) -> None:
    """row: death_after_result."""
    future = any_pool.submit(tasks.pid)
    pid = future.result(PATIENCE)
    os.kill(pid, signal.SIGKILL)
    assert future.result() == pid
    check_healthy(any_pool)
    assert pid not in set(any_pool.map(tasks.pid, range(10)))


def test_a_stack_overflow_in_c_is_a_death_that_is_told(any_pool: ProcessPool) -> None:
    """row: stack_overflow."""
    with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
        any_pool.submit(rogues.overflow_the_stack).result(PATIENCE)
    check_healthy(any_pool)


def test_an_error_with_a_message_of_100_megabytes_arrives(any_pool: ProcessPool) -> None:
    """row: exc_huge."""
    error = any_pool.submit(rogues.raise_huge, 100_000_000).exception(PATIENCE)
    assert type(error) is ValueError
    assert str(error).startswith("x" * 1000)
    check_healthy(any_pool)


def test_an_oserror_keeps_its_number_and_its_file(any_pool: ProcessPool, tmp_path: Path) -> None:
    """row: exc_oserror."""
    path = str(tmp_path / "missing")
    error = any_pool.submit(rogues.raise_missing_file, path).exception(PATIENCE)
    assert type(error) is FileNotFoundError
    assert (error.errno, error.filename) == (errno.ENOENT, path)
    assert path in str(error)


def test_a_recursion_without_end_is_a_recursion_error(any_pool: ProcessPool) -> None:
    """row: exc_recursionerror."""
    assert type(any_pool.submit(rogues.recurse).exception(PATIENCE)) is RecursionError
    check_healthy(any_pool)


def test_an_attribute_and_a_note_arrive_together(any_pool: ProcessPool) -> None:
    """row: exc_attrs."""

    def fail() -> None:
        error = LookupError("with more")
        error.row = {"number": 7}  # type: ignore[attr-defined]
        error.add_note("a note")
        raise error

    error = any_pool.submit(fail).exception(PATIENCE)
    assert type(error) is LookupError
    assert error.row == {"number": 7}  # type: ignore[attr-defined]
    assert error.__notes__[0] == "a note"


def test_a_cancelled_error_that_a_task_raises_is_no_cancellation(any_pool: ProcessPool) -> None:
    """row: futures_cancelled."""
    future = any_pool.submit(tasks.raising, CancelledError("a task's own"))
    assert type(future.exception(PATIENCE)) is CancelledError
    assert future.done()
    assert not future.cancelled()
    check_healthy(any_pool)


def test_a_tasks_own_timeout_error_is_told_from_the_pools(method: str) -> None:
    """row: timeouterror_raised."""
    function = parallel_map(
        tasks.raising, max_workers=2, start_method=method, timeout=PATIENCE, on_error="collect"
    )
    results = function.map([TimeoutError("a task's own"), TimeoutError("another")])
    assert [type(failure.exception) for failure in results.errors] == [TimeoutError, TimeoutError]
    assert not any(isinstance(failure.exception, TaskTimeoutError) for failure in results.errors)


def test_a_task_that_raises_broken_executor_breaks_nothing(any_pool: ProcessPool) -> None:
    """row: brokenexecutor_raised."""
    error = any_pool.submit(tasks.raising, BrokenExecutor("a task's own")).exception(PATIENCE)
    assert type(error) is BrokenExecutor
    check_healthy(any_pool)


@pytest.mark.stress
def test_an_argument_of_2_gigabytes_arrives_with_every_start_method(method: str) -> None:
    """row: arg_over_2gib."""
    size = 2_200_000_000
    with ProcessPool(1, start_method=method) as pool:
        assert pool.submit(len, bytes(size)).result(2 * PATIENCE) == size


@pytest.mark.stress
def test_a_result_of_2_gigabytes_arrives_with_every_start_method(method: str) -> None:
    """row: result_over_2gib."""
    size = 2_200_000_000
    with ProcessPool(1, start_method=method) as pool:
        assert len(pool.submit(bytes, size).result(2 * PATIENCE)) == size
