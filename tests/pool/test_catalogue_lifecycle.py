"""The catalogue of faults: threads, nesting, the life of a pool and its end, with every start method.

Each test holds the row of ``catalogue.ROWS`` that its docstring names; other tests hold the rows that are not here.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from manyhands import OptionsError, ProcessPool, UnpicklableError, parallel_map
from tests.conftest import PROC, Program, descendants
from tests.pool import rogues, tasks
from tests.pool.conftest import PATIENCE, Meeting
from tests.pool.test_leaving import METHODS, PRELUDE

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="uses signals and named pipes"),
    pytest.mark.skipif(not PROC, reason="looks into /proc"),
]


def check_healthy(pool: ProcessPool) -> None:
    assert list(pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]


def test_locks_that_threads_hold_keep_no_worker_waiting(method: str) -> None:
    """row: fork_with_threads_holding_locks.

    The lock of a logging handler, which tasks take as well, and one of the program's own.
    """
    handler = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger("tests.rogues")
    logger.addHandler(handler)
    logger.propagate = False
    stop, held = threading.Event(), threading.Event()

    def hold_locks() -> None:
        handler.acquire()
        try:
            with rogues.lock:
                held.set()
                stop.wait()
        finally:
            handler.release()

    thread = threading.Thread(target=hold_locks)
    thread.start()
    held.wait()
    try:
        with ProcessPool(2, start_method=method) as pool:
            futures = [pool.submit(rogues.log_and_lock, method != "fork") for _ in range(4)]
            assert [future.result(PATIENCE) for future in futures] == ["done"] * 4
    finally:
        stop.set()
        thread.join()
        logger.removeHandler(handler)


def test_a_task_of_a_thread_that_has_ended_still_finishes(any_pool: ProcessPool, meeting: Meeting) -> None:
    """row: submitting_thread_ends."""
    futures: list[Future[Any]] = []

    def work() -> None:
        futures.append(any_pool.submit(tasks.hold, meeting.reports, meeting.gate, "done"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    meeting.next()
    meeting.let_go()
    assert futures[0].result(PATIENCE) == "done"


@pytest.mark.parametrize("how", rogues.RAISES)
def test_whatever_a_callback_raises_the_pool_goes_on(
    any_pool: ProcessPool, meeting: Meeting, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """row: raising_callback."""
    future = any_pool.submit(tasks.hold, meeting.reports, meeting.gate, 5)
    meeting.next()
    called = threading.Event()

    def callback(_: Any) -> None:
        called.set()
        rogues.misbehave(how)

    future.add_done_callback(callback)
    meeting.let_go()
    assert future.result(PATIENCE) == 5
    assert called.wait(PATIENCE)
    check_healthy(any_pool)
    assert caplog.records  # it was logged


def test_a_pool_as_an_argument_is_refused_by_name(any_pool: ProcessPool) -> None:
    """row: executor_as_argument."""
    error = any_pool.submit(tasks.nothing, any_pool).exception(PATIENCE)
    assert isinstance(error, UnpicklableError)
    assert "ProcessPool" in str(error)
    check_healthy(any_pool)


def test_after_shutdown_map_is_refused_at_once(any_pool: ProcessPool) -> None:
    """row: map_after_shutdown."""
    check_healthy(any_pool)
    any_pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        any_pool.map(tasks.double, range(3))
    with pytest.raises(RuntimeError, match="shut down"):
        any_pool.submit(tasks.double, 1)


def test_twenty_pools_of_any_start_method_leave_as_much_as_one(method: str) -> None:
    """row: twenty_pools."""
    counts = set()
    for _ in range(20):
        with ProcessPool(1, start_method=method) as pool:
            assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
        counts.add(
            (len(os.listdir("/proc/self/fd")), threading.active_count(), len(descendants(os.getpid())))
        )
    assert len(counts) == 1


def idle_then_use(seconds: float) -> None:
    methods = ["template", "spawn", "fork"]
    pools = [ProcessPool(2, start_method=name) for name in methods]
    try:
        for pool in pools:
            check_healthy(pool)
        threading.Event().wait(seconds)
        for pool in pools:
            check_healthy(pool)
    finally:
        for pool in pools:
            pool.shutdown()


def test_pools_of_every_start_method_that_were_idle_are_usable() -> None:
    """row: idle_then_use.

    The time is the subject here; for as long as people wait, see the next one.
    """
    idle_then_use(1.0)


@pytest.mark.stress
def test_pools_of_every_start_method_that_were_idle_for_long_are_usable() -> None:
    idle_then_use(12.0)


@pytest.mark.parametrize("method", METHODS)
def test_sys_exit_in_a_with_block_ends_the_program_and_its_tasks(run_program: Program, method: str) -> None:
    """row: sys_exit_endless_task.

    Outside of a with block tasks are waited for, as by the standard library's executors: they might be about to end.
    """
    ran = run_program(
        PRELUDE
        + f"with ProcessPool(2, start_method={method!r}) as pool:\n"
        + "    futures = [pool.submit(busy, n) for n in range(4)]\n"
        + "    ready()\n"
        + "    sys.exit(3)\n"
    )
    assert (ran.code, ran.err) == (3, "")


@pytest.mark.parametrize("method", METHODS)
def test_a_hook_at_the_end_of_the_program_is_served_or_told(run_program: Program, method: str) -> None:
    """row: submit_in_atexit."""
    ran = run_program(
        f"""
import atexit

def hook(name):
    try:
        print(name, pool.submit(abs, -1).result())
    except RuntimeError as error:
        print(name, "RuntimeError", "shut down" in str(error) or "shutdown" in str(error))

atexit.register(hook, "before")
from manyhands import ProcessPool
pool = ProcessPool(2, start_method={method!r})
print(pool.submit(abs, -3).result())
atexit.register(hook, "after")
"""
    )
    assert (ran.code, ran.out, ran.err) == (0, "3\nafter 1\nbefore RuntimeError True\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_thread_in_map_lets_the_program_end(run_program: Program, method: str) -> None:
    """row: daemon_thread_in_map_at_exit."""
    ran = run_program(
        PRELUDE
        + f"f = parallel_map(busy, max_workers=2, chunksize=1, start_method={method!r})\n"
        + "threading.Thread(target=f.map, args=(range(100),), daemon=True).start()\n"
        + "ready()\n"
    )
    assert (ran.code, ran.out) == (0, "ready\n")
    assert "Fatal" not in ran.err


# making one


@pytest.mark.parametrize("value", [0, -1, "x"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(method: str, value: Any) -> None:
    """row: bad_max_workers."""
    with pytest.raises((ValueError, TypeError), match="max_workers") as caught:
        ProcessPool(value, start_method=method)
    assert isinstance(caught.value, TypeError if value == "x" else OptionsError)
    with pytest.raises((ValueError, TypeError), match="max_workers"):
        parallel_map(abs, max_workers=value, start_method=method)


@pytest.mark.parametrize("value", [0, -1])
def test_a_chunksize_that_makes_no_sense_is_refused(any_pool: ProcessPool, value: int) -> None:
    """row: bad_chunksize."""
    with pytest.raises(ValueError, match="chunksize"):
        any_pool.map(tasks.double, range(3), chunksize=value)
    check_healthy(any_pool)


# iterators and sizes


def test_no_items_are_an_empty_result_without_any_worker(any_pool: ProcessPool, method: str) -> None:
    """row: zero_items."""
    assert list(any_pool.map(tasks.double, [])) == []
    assert parallel_map(tasks.double, max_workers=2, start_method=method).map([]) == []
    assert descendants(os.getpid()) == []


def test_the_shortest_iterable_ends_a_map(any_pool: ProcessPool) -> None:
    """row: unequal_iterables."""
    assert list(any_pool.map(pow, [2, 3, 4], [2, 2])) == [4, 9]
    assert list(any_pool.map(pow, [2], [2, 2])) == [4]


def test_an_error_of_the_source_is_the_maps_and_the_pool_goes_on(any_pool: ProcessPool, method: str) -> None:
    """row: source_raises."""

    def source() -> Any:
        yield from range(5)
        raise LookupError("source")

    with pytest.raises(LookupError, match="source"):
        list(any_pool.map(tasks.double, source()))
    check_healthy(any_pool)
    function = parallel_map(tasks.double, max_workers=2, start_method=method, initializer=tasks.nothing)
    with pytest.raises(LookupError, match="source"):
        function.map(source())
    assert function.map(range(5)) == [0, 2, 4, 6, 8]


def test_results_that_are_dropped_midway_are_cancelled_or_finished(
    any_pool: ProcessPool, meeting: Meeting, tmp_path: Path
) -> None:
    """row: results_abandoned."""
    path = tmp_path / "runs"
    results = any_pool.map(tasks.noted_double, range(300), [str(path)] * 300)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    results.close()  # type: ignore[attr-defined]
    del results
    check_healthy(any_pool)
    any_pool.shutdown()
    ran = [int(line) for line in path.read_text().split()]
    assert len(ran) == len(set(ran))
    assert set(range(3)) <= set(ran)


def test_a_million_items_of_any_start_method_come_in_order(any_pool: ProcessPool) -> None:
    """row: million_items."""
    results = any_pool.map(tasks.identity, range(1_000_000), chunksize=2000)
    assert all(result == expected for expected, result in enumerate(results))


def test_ten_thousand_tasks_of_any_start_method_have_their_results(any_pool: ProcessPool) -> None:
    """row: many_submits."""
    futures = [any_pool.submit(tasks.double, number) for number in range(10_000)]
    assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(10_000)]


def test_a_source_that_waits_for_the_pool_itself_is_no_deadlock(any_pool: ProcessPool, method: str) -> None:
    """row: source_uses_pool."""
    source = (any_pool.submit(tasks.double, number).result(PATIENCE) for number in range(20))
    assert list(any_pool.map(tasks.double, source)) == [4 * number for number in range(20)]
    function = parallel_map(tasks.double, max_workers=2, start_method=method, initializer=tasks.nothing)
    inner = (function.submit(number).result(PATIENCE) for number in range(20))
    assert list(function.imap(inner)) == [4 * number for number in range(20)]


def test_results_can_be_had_while_the_source_is_slow(any_pool: ProcessPool, method: str) -> None:
    """row: slow_source.

    The source goes on to its end only when its first result has been seen: who read it to the end first would wait for ever.
    """
    function = parallel_map(
        tasks.double, max_workers=2, start_method=method, initializer=tasks.nothing, buffersize=2
    )
    for lazily in (function.imap, lambda source: any_pool.map(tasks.double, source, buffersize=2)):
        seen = threading.Event()

        def source(seen: threading.Event = seen) -> Any:
            yield from range(10)
            assert seen.wait(PATIENCE / 4), "no result before the source had ended"
            yield 10

        results = []
        for result in lazily(source()):
            results.append(result)
            seen.set()
        assert results == [2 * number for number in range(11)]
