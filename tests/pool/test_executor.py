"""``ProcessPool`` is a ``concurrent.futures.Executor``: what works with the standard one works with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

import manyhands
from manyhands import (
    OptionsError,
    ProcessPool,
    UnpicklableError,
    WorkerCrashedError,
    cpu_count,
    parallel_map,
)
from manyhands.engine import staff
from tests.conftest import PROC, descendants
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting

posix = pytest.mark.skipif(sys.platform == "win32", reason="uses signals and named pipes")


def test_it_is_an_executor(pool: ProcessPool) -> None:
    assert isinstance(pool, concurrent.futures.Executor)


# submit


def test_submit_passes_positional_and_keyword_arguments(any_pool: ProcessPool) -> None:
    assert any_pool.submit(tasks.add, 1).result(PATIENCE) == 11
    assert any_pool.submit(tasks.add, 1, 2, third=3).result(PATIENCE) == 6


def test_keywords_may_have_the_names_of_submits_own(pool: ProcessPool) -> None:
    assert pool.submit(dict, fn=1, self=2, function=3).result(PATIENCE) == {"fn": 1, "self": 2, "function": 3}


def test_tasks_run_in_other_processes(any_pool: ProcessPool) -> None:
    assert any_pool.submit(tasks.pid).result(PATIENCE) != os.getpid()


def test_as_many_tasks_run_at_once_as_there_are_workers(method: str, meeting: Meeting) -> None:
    with ProcessPool(3, start_method=method) as pool:
        futures = [pool.submit(tasks.hold, meeting.reports, meeting.gate, number) for number in range(3)]
        assert len({meeting.next() for _ in futures}) == 3
        assert all(future.running() for future in futures)
        meeting.let_go(3)
        assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]


def test_submit_refuses_what_cannot_be_called(pool: ProcessPool) -> None:
    with pytest.raises(TypeError, match="function"):
        pool.submit(3)  # type: ignore[arg-type]


def test_ten_thousand_submits_all_have_their_results(pool: ProcessPool) -> None:
    futures = [pool.submit(tasks.double, number) for number in range(10_000)]
    assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(10_000)]


def test_many_threads_may_submit_to_one_pool(any_pool: ProcessPool) -> None:
    results: dict[int, list[int]] = {}

    def work(thread: int) -> None:
        futures = [any_pool.submit(tasks.double, 1000 * thread + number) for number in range(100)]
        results[thread] = [future.result(PATIENCE) for future in futures]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == {number: [2 * (1000 * number + each) for each in range(100)] for number in range(8)}


def test_what_a_thread_submitted_that_has_ended_is_done(pool: ProcessPool, meeting: Meeting) -> None:
    futures: list[Future[Any]] = []

    def work() -> None:
        futures.append(pool.submit(tasks.hold, meeting.reports, meeting.gate, "done"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    meeting.next()
    meeting.let_go()
    assert futures[0].result(PATIENCE) == "done"


def test_a_pool_made_in_a_thread_that_has_ended_is_usable(method: str) -> None:
    """Its workers do not hang on the thread that made them."""
    pools: list[ProcessPool] = []

    def make() -> None:
        pool = ProcessPool(2, start_method=method)
        pool.submit(tasks.double, 1).result(PATIENCE)
        pools.append(pool)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    with pools[0] as pool:
        assert list(pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]


def test_workers_started_while_other_threads_hold_locks_do_not_wait_for_them() -> None:
    """A worker that was forked from the program while a thread of it held a lock would wait for ever."""
    import logging

    handler = logging.NullHandler()
    stop, held = threading.Event(), threading.Event()

    def hold_locks() -> None:
        handler.acquire()
        try:
            held.set()
            stop.wait()
        finally:
            handler.release()

    thread = threading.Thread(target=hold_locks)
    thread.start()
    held.wait()
    try:
        with ProcessPool(2) as pool:
            assert list(pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]
            pool.submit(logging.getLogger("tests").warning, "from a worker").result(PATIENCE)
    finally:
        stop.set()
        thread.join()


# map


def test_map_yields_results_in_input_order(any_pool: ProcessPool) -> None:
    assert list(any_pool.map(tasks.double, range(100))) == [2 * number for number in range(100)]


def test_map_zips_its_iterables_and_stops_with_the_shortest(pool: ProcessPool) -> None:
    assert list(pool.map(pow, [2, 3, 4], itertools.count(1))) == [2, 9, 64]
    assert list(pool.map(pow, [2, 3, 4], [2])) == [4]
    assert list(pool.map(pow, [], [2])) == []


@pytest.mark.parametrize("chunksize", [1, 2, 7, 100])
def test_map_takes_a_chunksize(pool: ProcessPool, chunksize: int) -> None:
    assert list(pool.map(tasks.double, range(30), chunksize=chunksize)) == [
        2 * number for number in range(30)
    ]
    assert list(pool.map(pow, range(9), [2] * 9, chunksize=chunksize)) == [number**2 for number in range(9)]


def test_a_million_items_in_chunks_come_in_order(pool: ProcessPool) -> None:
    total = 0
    for expected, result in enumerate(pool.map(tasks.identity, range(1_000_000), chunksize=5000)):
        total += result == expected
    assert total == 1_000_000


@pytest.mark.parametrize("name", ["chunksize", "buffersize"])
@pytest.mark.parametrize("value", [0, -1])
def test_map_refuses_sizes_below_one(pool: ProcessPool, name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        pool.map(tasks.double, range(3), **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["chunksize", "buffersize"])
def test_map_refuses_sizes_that_are_not_whole_numbers(pool: ProcessPool, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        pool.map(tasks.double, range(3), **{name: 1.5})  # type: ignore[arg-type]


def test_map_submits_at_once_all_there_is(pool: ProcessPool) -> None:
    taken: list[int] = []
    results = pool.map(tasks.double, (taken.append(number) or number for number in range(30)))  # type: ignore[func-returns-value]
    assert taken == list(range(30))
    assert list(results) == [2 * number for number in range(30)]


@pytest.mark.parametrize("buffersize", [1, 4])
def test_map_with_a_buffersize_is_never_further_ahead(pool: ProcessPool, buffersize: int) -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = pool.map(tasks.double, source(), buffersize=buffersize)
    assert len(taken) == buffersize
    for number in range(10):
        assert next(results) == 2 * number
        assert len(taken) == number + 1 + buffersize
    results.close()  # type: ignore[attr-defined]


def test_map_raises_timeout_error_and_the_pool_goes_on(any_pool: ProcessPool, meeting: Meeting) -> None:
    results = any_pool.map(tasks.hold, [meeting.reports], [meeting.gate], timeout=0.01)
    with pytest.raises(TimeoutError):
        next(results)
    meeting.next()
    meeting.let_go()
    assert list(any_pool.map(tasks.double, range(10), timeout=PATIENCE)) == [
        2 * number for number in range(10)
    ]


def test_map_raises_what_its_source_raises(pool: ProcessPool) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise LookupError("source")

    with pytest.raises(LookupError, match="source"):
        list(pool.map(tasks.double, source()))
    assert list(pool.map(tasks.double, range(3))) == [0, 2, 4]


def test_a_source_that_uses_the_pool_itself_gets_its_turn(pool: ProcessPool) -> None:
    source = (pool.submit(tasks.double, number).result(PATIENCE) for number in range(20))
    assert list(pool.map(tasks.double, source)) == [4 * number for number in range(20)]


def test_dropping_the_results_of_a_map_cancels_what_has_not_begun(
    pool: ProcessPool, meeting: Meeting, tmp_path: Path
) -> None:
    path = str(tmp_path / "runs")
    running = [pool.submit(tasks.hold, meeting.reports, meeting.gate) for _ in range(2)]
    for _ in running:
        meeting.next()
    queued = [
        pool.submit(tasks.hold, meeting.reports, meeting.gate) for _ in range(6)
    ]  # fill what is sent ahead
    results = pool.map(tasks.noted_double, range(100), [path] * 100, timeout=0)
    with pytest.raises(TimeoutError):
        next(results)
    meeting.let_go(8)
    concurrent.futures.wait([*running, *queued], PATIENCE)
    assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
    assert not Path(path).exists()


# futures


def test_wait_and_as_completed_take_its_futures(any_pool: ProcessPool, meeting: Meeting) -> None:
    slow = any_pool.submit(tasks.hold, meeting.reports, meeting.gate, "slow")
    quick = [any_pool.submit(tasks.double, number) for number in range(5)]
    done, pending = concurrent.futures.wait(
        [slow, *quick], PATIENCE, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert slow in pending
    assert done <= set(quick)
    completed = concurrent.futures.as_completed([slow, *quick], PATIENCE)
    assert {next(completed) for _ in quick} == set(quick)
    meeting.let_go()
    assert next(completed) is slow


def test_asyncio_takes_its_futures_and_the_pool(any_pool: ProcessPool) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        one = asyncio.wrap_future(any_pool.submit(tasks.double, 1))
        two = loop.run_in_executor(any_pool, tasks.double, 2)
        return await asyncio.gather(one, two)

    assert asyncio.run(main()) == [2, 4]


def test_a_queued_task_that_is_cancelled_never_runs(
    any_pool: ProcessPool, meeting: Meeting, tmp_path: Path
) -> None:
    path = str(tmp_path / "runs")
    running = [any_pool.submit(tasks.hold, meeting.reports, meeting.gate) for _ in range(20)]
    for _ in range(2):
        meeting.next()
    queued = [any_pool.submit(tasks.noted_double, number, path) for number in range(20)]
    assert all(future.cancel() for future in queued[::2])
    meeting.let_go(20)
    concurrent.futures.wait(running, PATIENCE)
    for future in queued[::2]:
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
    assert [future.result(PATIENCE) for future in queued[1::2]] == [2 * number for number in range(20)][1::2]
    assert sorted(map(int, Path(path).read_text().split())) == list(range(20))[1::2]


def test_a_running_task_cannot_be_cancelled(pool: ProcessPool, meeting: Meeting) -> None:
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate, 3)
    meeting.next()
    assert not future.cancel()
    assert future.running()
    meeting.let_go()
    assert future.result(PATIENCE) == 3


def test_a_callback_may_submit(any_pool: ProcessPool) -> None:
    outer: Future[int] = Future()

    def again(future: Future[int]) -> None:
        any_pool.submit(tasks.double, future.result()).add_done_callback(
            lambda inner: outer.set_result(inner.result())
        )

    any_pool.submit(tasks.double, 1).add_done_callback(again)
    assert outer.result(PATIENCE) == 4


@pytest.mark.parametrize("kind", [LookupError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_disturbs_no_other_future(
    pool: ProcessPool, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged as the standard library logs it."""

    def callback(_: Any) -> None:
        raise kind("in a callback")

    assert list(pool.map(tasks.double, range(200)))  # tasks known to be quick travel together
    futures = [pool.submit(tasks.double, number) for number in range(200)]
    for future in futures:
        future.add_done_callback(callback) if not future.done() else None
    assert [future.result(PATIENCE) for future in futures] == [2 * number for number in range(200)]
    assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
    failed = pool.submit(tasks.raising, ValueError("task"))
    failed.add_done_callback(lambda _: None)
    assert isinstance(failed.exception(PATIENCE), ValueError)


def test_a_result_waited_for_too_long_is_still_to_be_had(pool: ProcessPool, meeting: Meeting) -> None:
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate, 3)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    meeting.next()
    meeting.let_go()
    assert future.result(PATIENCE) == 3


# making one


@pytest.mark.parametrize("value", [0, -1])
def test_it_refuses_less_than_one_worker(value: int) -> None:
    with pytest.raises(OptionsError, match="max_workers"):
        ProcessPool(value)
    with pytest.raises(ValueError, match="max_tasks_per_child"):
        ProcessPool(1, max_tasks_per_child=value)


@pytest.mark.parametrize("value", ["two", 1.5, True, [2]])
def test_it_refuses_what_is_not_a_number_of_workers(value: Any) -> None:
    with pytest.raises(TypeError, match="max_workers"):
        ProcessPool(value)


def test_it_refuses_an_initializer_that_cannot_be_called_or_sent() -> None:
    with pytest.raises(TypeError, match="initializer"):
        ProcessPool(1, initializer=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="initargs"):
        ProcessPool(1, initializer=tasks.initialize, initargs=[1])  # type: ignore[arg-type]
    with pytest.raises(UnpicklableError, match="initializer"):
        ProcessPool(1, initializer=tasks.initialize, initargs=(threading.Lock(),))


def test_it_refuses_a_start_method_that_there_is_not() -> None:
    with pytest.raises(OptionsError, match="start_method"):
        ProcessPool(1, start_method="spoon")


@posix
@pytest.mark.parametrize("name", ["spawn", "fork", "forkserver"])
def test_it_takes_the_start_method_of_a_multiprocessing_context(name: str) -> None:
    with ProcessPool(1, mp_context=multiprocessing.get_context(name)) as pool:
        assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
        assert pool._pool.start_method == {"forkserver": "template"}.get(name, name)


@pytest.mark.skipif(not PROC, reason="looks into /proc")
def test_without_a_number_it_has_a_worker_for_each_core() -> None:
    with ProcessPool() as pool:
        pool.submit(tasks.double, 1).result(PATIENCE)
        template = [each for each in descendants(os.getpid()) if each.parent == os.getpid()]
        workers = [each for each in descendants(os.getpid()) if each.parent == template[0].pid]
        assert len(workers) == cpu_count()


@pytest.mark.skipif(not PROC, reason="looks into /proc")
def test_it_starts_no_process_before_the_first_task() -> None:
    with ProcessPool(2) as pool:
        assert descendants(os.getpid()) == []
        assert list(pool.map(tasks.double, [])) == []
        assert descendants(os.getpid()) == []


def test_the_initializer_runs_once_in_every_worker_before_its_tasks(method: str, tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    with ProcessPool(2, initializer=tasks.note_pid, initargs=(path,), start_method=method) as pool:
        workers = {str(pool.submit(tasks.pid).result(PATIENCE)) for _ in range(50)}
    runs = Counter(Path(path).read_text().split())
    assert workers <= set(runs)
    assert set(runs.values()) == {1}
    assert len(runs) <= 2


@pytest.mark.parametrize("look", [tasks.assigned, tasks.filled])
def test_tasks_see_the_globals_that_the_initializer_has_set(method: str, look: Any) -> None:
    """They are not what the caller's globals are: that is what an initializer is for."""
    with ProcessPool(2, initializer=tasks.initialize, initargs=("value",), start_method=method) as pool:
        assert {pool.submit(look).result(PATIENCE) for _ in range(10)} == {"value"}


@pytest.mark.parametrize("limit", [1, 3])
def test_a_worker_is_replaced_after_its_number_of_tasks(method: str, limit: int) -> None:
    with ProcessPool(2, max_tasks_per_child=limit, start_method=method) as pool:
        runs = Counter(pool.map(tasks.pid, range(20)))
        assert max(runs.values()) <= limit
        assert sum(runs.values()) == 20


def test_chunks_of_many_arguments_are_cut_to_a_workers_number_of_tasks() -> None:
    """Tasks that travel together as pickles of their own, with arguments of different sizes."""
    with ProcessPool(2, max_tasks_per_child=3) as pool:
        assert list(pool.map(tasks.identity, [[0]] * 20)) == [[0]] * 20  # now they are known to be quick
        futures = [pool.submit(tasks.identity, ["x" * number]) for number in range(100)]
        assert [future.result(PATIENCE) for future in futures] == [["x" * number] for number in range(100)]


# the end


def test_after_shutdown_it_takes_no_tasks(pool: ProcessPool) -> None:
    assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(tasks.double, 1)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.map(tasks.double, range(3))


def test_shutdown_twice_and_without_use_is_fine(method: str) -> None:
    pool = ProcessPool(2, start_method=method)
    pool.shutdown()
    pool.shutdown()
    used = ProcessPool(2, start_method=method)
    used.submit(tasks.double, 1).result(PATIENCE)
    used.shutdown()
    used.shutdown(wait=False)
    used.shutdown()


@pytest.mark.skipif(not PROC, reason="looks into /proc")
def test_after_shutdown_no_process_is_left_not_even_a_zombie(method: str) -> None:
    pool = ProcessPool(2, start_method=method)
    assert list(pool.map(tasks.double, range(10)))
    pool.shutdown()
    assert descendants(os.getpid()) == []


def test_shutdown_waits_for_what_was_submitted(method: str, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    pool = ProcessPool(2, start_method=method)
    futures = [pool.submit(tasks.noted_double, number, str(path)) for number in range(100)]
    pool.shutdown()
    assert all(future.done() for future in futures)
    assert sorted(map(int, path.read_text().split())) == list(range(100))


def test_shutdown_without_waiting_returns_at_once_and_the_results_still_come(
    method: str, meeting: Meeting
) -> None:
    pool = ProcessPool(2, start_method=method)
    futures = [pool.submit(tasks.hold, meeting.reports, meeting.gate, number) for number in range(10)]
    pool.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    meeting.let_go(10)
    assert [future.result(PATIENCE) for future in futures] == list(range(10))


def test_shutdown_can_cancel_what_has_not_begun(method: str, meeting: Meeting, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    pool = ProcessPool(2, start_method=method)
    running = [pool.submit(tasks.hold, meeting.reports, meeting.gate, number) for number in range(20)]
    for _ in range(2):
        meeting.next()
    queued = [pool.submit(tasks.noted_double, number, str(path)) for number in range(20)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in queued)
    meeting.let_go(20)
    assert [future.result(PATIENCE) for future in running[:2]] == [0, 1]
    concurrent.futures.wait(running, PATIENCE)
    assert not path.exists()


@posix
def test_an_exception_in_the_with_block_ends_even_endless_tasks(method: str, meeting: Meeting) -> None:
    """Nobody is left who could wait for their results."""
    with pytest.raises(LookupError, match="in the block"), ProcessPool(2, start_method=method) as pool:
        running = [pool.submit(tasks.endless, meeting.reports) for _ in range(2)]
        queued = [pool.submit(tasks.double, number) for number in range(20)]
        for _ in running:
            meeting.next()
        raise LookupError("in the block")
    assert all(isinstance(future.exception(PATIENCE), WorkerCrashedError) for future in running)
    assert all(future.cancelled() or future.done() for future in queued)


@posix
def test_workers_can_be_killed_with_tasks_that_no_signal_reaches(method: str, meeting: Meeting) -> None:
    pool = ProcessPool(2, start_method=method)
    running = [pool.submit(tasks.stubborn, meeting.reports) for _ in range(2)]
    for _ in running:
        meeting.next()
    pool.kill_workers()
    for future in running:
        with pytest.raises(WorkerCrashedError, match="kill_workers"):
            future.result(PATIENCE)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(tasks.double, 1)


@posix
def test_shutdown_ends_an_idle_worker_that_ignores_or_blocks_every_signal(method: str) -> None:
    with ProcessPool(1, start_method=method) as pool:
        pool.submit(tasks.ignore_everything).result(PATIENCE)


def test_shutdown_ends_a_worker_in_which_a_task_has_left_a_thread(method: str) -> None:
    with ProcessPool(1, start_method=method) as pool:
        pool.submit(tasks.leave_thread, daemon=True).result(PATIENCE)
        pool.submit(tasks.leave_thread, daemon=False).result(PATIENCE)


@pytest.mark.parametrize("used", [False, True])
def test_a_forgotten_pool_lets_its_workers_go(method: str, used: bool) -> None:
    """``nothing_left`` sees to it that they have gone."""
    pool = ProcessPool(2, start_method=method)
    if used:
        pool.submit(tasks.double, 1).result(PATIENCE)
    del pool
    gc.collect()


def test_the_futures_of_a_forgotten_pool_are_done(meeting: Meeting) -> None:
    futures = [
        ProcessPool(1).submit(tasks.hold, meeting.reports, meeting.gate, number) for number in range(3)
    ]
    gc.collect()
    meeting.let_go(3)
    assert [future.result(PATIENCE) for future in futures] == [0, 1, 2]


@pytest.mark.skipif(not PROC, reason="looks into /proc")
def test_twenty_pools_in_a_row_leave_as_much_as_one() -> None:
    counts = []
    for _ in range(20):
        with ProcessPool(2) as pool:
            assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
        counts.append(
            (len(os.listdir("/proc/self/fd")), threading.active_count(), len(descendants(os.getpid())))
        )
    assert len(set(counts)) == 1


def test_it_cannot_be_an_argument(pool: ProcessPool) -> None:
    error = pool.submit(tasks.nothing, pool).exception(PATIENCE)
    assert isinstance(error, UnpicklableError)
    assert "args[0]" in str(error)
    assert "ProcessPool" in str(error)


# other processes


def in_forked_child(work: Any) -> str:
    """Run a function in a forked child that ends as programs end, and return what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(int(PATIENCE))  # a child that hangs ends
        try:
            text = work()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    try:
        text = b"".join(iter(lambda: os.read(reading, 4096), b"")).decode()
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with status {status}"
    return text


forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@posix
@forks
def test_a_forked_child_that_uses_the_parents_pool_is_told(any_pool: ProcessPool) -> None:
    assert any_pool.submit(tasks.double, 1).result(PATIENCE) == 2
    for work in (
        lambda: any_pool.submit(tasks.double, 1),
        lambda: list(any_pool.map(tasks.double, range(3))),
    ):
        assert "RuntimeError: this pool belongs to process" in in_forked_child(work)
    assert list(any_pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]


@posix
@forks
def test_a_forked_child_may_shut_down_its_copy_and_make_its_own(
    any_pool: ProcessPool, meeting: Meeting
) -> None:
    running = any_pool.submit(tasks.hold, meeting.reports, meeting.gate, "parent's")
    meeting.next()

    def work() -> str:
        any_pool.shutdown()
        with ProcessPool(2) as own:
            return str(list(own.map(tasks.double, range(5))))

    assert in_forked_child(work) == "[0, 2, 4, 6, 8]"
    meeting.let_go()
    assert running.result(PATIENCE) == "parent's"
    assert list(any_pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]


@posix
def test_a_program_that_reaps_every_child_does_not_disturb_it(method: str) -> None:
    with ProcessPool(2, start_method=method) as pool:
        assert pool.submit(tasks.double, 1).result(PATIENCE) == 2
        stop = threading.Event()

        def reap() -> None:
            while not stop.is_set():
                try:
                    os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    pass

        thread = threading.Thread(target=reap)
        thread.start()
        try:
            assert isinstance(pool.submit(tasks.die, "SIGKILL").exception(PATIENCE), WorkerCrashedError)
            assert list(pool.map(tasks.double, range(10))) == [2 * number for number in range(10)]
            pool.shutdown()
        finally:
            stop.set()
            thread.join()


def test_a_worker_that_is_told_to_leave_and_does_not_is_replaced_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staff, "LEAVE_WITHIN", 0.1)
    with ProcessPool(1, max_tasks_per_child=1) as pool:
        pids = {pool.submit(tasks.stay_on).result(PATIENCE) for _ in range(3)}
    assert len(pids) == 3


def test_a_call_that_is_under_way_when_the_pools_are_shut_down_is_told(meeting: Meeting) -> None:
    errors: list[BaseException] = []
    function = parallel_map(tasks.hold, max_workers=2, initializer=tasks.nothing)

    def mapping() -> None:
        try:
            function.map([meeting.reports] * 50, [meeting.gate] * 50)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=mapping)
    thread.start()
    meeting.next()
    manyhands.shutdown()
    thread.join(PATIENCE)
    assert [type(error) for error in errors] == [RuntimeError]
    assert "shut down" in str(errors[0])


def test_map_refuses_what_cannot_be_called(pool: ProcessPool) -> None:
    with pytest.raises(TypeError, match="map needs a function"):
        pool.map(5, [1])  # type: ignore[arg-type]
