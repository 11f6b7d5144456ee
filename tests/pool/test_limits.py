"""Time and memory of tasks are limited, whatever a task does; and what is known of the end of a worker is told."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import pytest

from manyhands import Failure, TaskTimeoutError, WorkerCrashedError, parallel_map, process_task
from tests.pool.conftest import PATIENCE
from tests.pool.limited import (
    allocate,
    block,
    die,
    fail_once,
    hoard,
    nap,
    note_and_block,
    outer,
    slow_in_the_middle,
    spin,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


WAYS = ["sleep", "spin", "c code that holds the GIL", "a system call", "stubborn", "stopped", "a lock"]


@posix
@pytest.mark.parametrize("how", WAYS)
def test_a_task_that_takes_too_long_is_ended_whatever_it_does(method: str, how: str) -> None:
    function = parallel_map(block, max_workers=2, start_method=method, timeout=0.3, on_error="collect")
    results = function.map(["", "", how, "", ""])
    assert results.values == ["", "", "", ""]
    (failure,) = results.errors
    error = failure.exception
    assert isinstance(error, TaskTimeoutError)
    assert isinstance(error, TimeoutError)
    assert (failure.index, failure.item, error.limit) == (2, how, 0.3)
    assert "longer than its timeout of 0.3 s" in str(error)


@posix
@pytest.mark.parametrize("how", ["sleep", "spin", "c code that holds the GIL", "a lock"])
def test_the_error_says_where_the_task_was(method: str, how: str) -> None:
    with pytest.raises(TaskTimeoutError) as caught:
        parallel_map(block, max_workers=2, start_method=method, timeout=0.3).map([how])
    assert "limited.py" in caught.value.stack
    assert "in block" in caught.value.stack
    assert "in block" in str(caught.value)


@posix
def test_the_rest_of_its_chunk_goes_on_and_finished_results_are_kept(method: str) -> None:
    function = parallel_map(slow_in_the_middle, max_workers=2, start_method=method, timeout=0.3, chunksize=10)
    results = function.options(on_error="collect").map(range(20))
    assert results.values == [number for number in range(20) if number not in {4, 15}]
    assert [failure.item for failure in results.errors] == [4, 15]


@posix
def test_the_limit_counts_from_the_beginning_of_the_task_not_of_the_call(method: str) -> None:
    """Sixteen tasks of a tenth of a second, in chunks of eight, are longer than the limit only together."""
    function = parallel_map(nap, max_workers=2, start_method=method, timeout=0.7, chunksize=8)
    assert function.map([0.1] * 16) == [0.1] * 16


@posix
def test_a_task_that_has_started_does_not_run_again(method: str, tmp_path: Path) -> None:
    paths = [str(tmp_path / str(number)) for number in range(12)]
    function = parallel_map(note_and_block, max_workers=2, start_method=method, timeout=0.3, chunksize=6)
    results = function.options(on_error="collect").map(paths)
    assert [failure.index for failure in results.errors] == [3, 7]
    assert all(Path(path).read_text() == "x" for path in paths)


@posix
def test_retries_cover_timeouts_and_crashes(method: str, tmp_path: Path) -> None:
    for how in ("sleep", "die", "raise"):
        path = str(tmp_path / how)
        function = parallel_map(
            fail_once, max_workers=2, start_method=method, timeout=0.5, retries=1, backoff=0
        )
        assert function.map([path, path + "2"], how=how) == [2, 2]


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_crash_says_what_is_known_of_it(method: str, number: signal.Signals) -> None:
    with pytest.raises(WorkerCrashedError) as caught:
        parallel_map(die, max_workers=2, start_method=method).map([number, number])
    error = caught.value
    assert error.exitcode == -number
    assert number.name in str(error)
    assert str(error.pid) in str(error)
    assert error.peak_memory is not None
    assert error.peak_memory > 1 << 20
    if number == signal.SIGKILL and sys.platform == "linux":
        assert error.out_of_memory is False
        assert "no kill for want of memory" in str(error)
    else:
        assert error.out_of_memory is None


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows do not limit private memory")
class TestMemoryLimit:
    """``memory_limit``."""

    def test_a_task_over_it_has_a_memory_error_with_the_figures(self, method: str) -> None:
        function = parallel_map(allocate, max_workers=2, start_method=method, memory_limit="400 MB")
        results = function.options(on_error="collect").map([10, 10, 2_000_000_000, 10])
        assert results.values == [10, 10, 10]
        (failure,) = results.errors
        assert isinstance(failure.exception, MemoryError)
        assert "memory_limit of 400.0 MB" in str(failure.exception)

    def test_the_worker_lives_on_with_its_memory_back(self, method: str) -> None:
        function = parallel_map(hoard, max_workers=1, start_method=method, memory_limit="300 MB")
        results = function.options(on_error="collect", chunksize=1).map([True, False, True, False])
        assert [type(failure.exception) for failure in results.errors] == [MemoryError] * 2
        assert len(set(results.values)) == 1


@posix
def test_a_limit_costs_no_message_when_nothing_expires(method: str) -> None:
    """The clock is in shared memory: a chunk with limits is one message there and one back, as without."""
    assert parallel_map(nap, max_workers=2, start_method=method, timeout=60).map([0.0] * 50) == [0.0] * 50


@posix
def test_single_calls_are_limited_as_well(method: str) -> None:
    function = process_task(block, start_method=method, timeout=0.3)
    with pytest.raises(TaskTimeoutError, match=r"longer than its timeout"):
        function("sleep")
    with pytest.raises(TaskTimeoutError):
        function.submit("spin").result(PATIENCE)
    assert function("") == ""
    with pytest.raises(TaskTimeoutError, match=r"deadline of 0.3 s"):
        function.options(timeout=None, deadline=0.3)("sleep")
    assert function("") == ""


def test_after_a_timeout_in_a_nested_call_the_outer_task_goes_on() -> None:
    assert parallel_map(outer, max_workers=2, timeout=60).map([1, 2]) == [["ok"], ["ok"]]


@posix
def test_tasks_that_last_about_as_long_as_they_may_are_done_or_too_late_and_none_is_lost(method: str) -> None:
    """One may end, and the next of its chunk begin, at the very moment when somebody looks whether its time is over."""
    limit, chance = 0.01, random.Random(1)
    function = parallel_map(
        spin,
        max_workers=2,
        start_method=method,
        timeout=limit,
        chunksize=20,
        on_error="collect",
        deadline=PATIENCE,
    )
    items = [limit + chance.uniform(-0.0005, 0.0005) for _ in range(40)]
    for item, result in zip(items, function.map(items), strict=True):
        if isinstance(result, Failure):
            assert isinstance(result.exception, TaskTimeoutError)
            assert (result.item, result.exception.limit) == (item, limit)
        else:
            assert result == item


def test_a_task_is_tried_again_also_where_no_more_results_may_wait(tmp_path: Path) -> None:
    """Those behind it fill the buffer, and cannot be handed out before it."""
    mark = tmp_path / "mark"

    def once(x: int) -> int:
        if x == 0 and not mark.exists():
            mark.touch()
            raise ValueError
        return x

    function = parallel_map(once, max_workers=2, retries=1, backoff=0, buffersize=3, chunksize=1)
    assert function.map(range(20)) == list(range(20))
