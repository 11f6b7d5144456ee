"""What is particular about the threads backend."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from manyhands import InitializerError, OptionsError, parallel_map
from manyhands.backends import threads
from tests.conftest import Program
from tests.contract import functions

#: Long enough for a loaded machine; nothing that works waits for so long.
PATIENCE = 60.0


def in_threads(function: Any, **options: Any) -> Any:
    """A parallel function whose tasks are always run by the threads, never by the caller."""
    return parallel_map(
        function, **{"backend": "threads", "max_workers": 2, "initializer": functions.nothing, **options}
    )


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "manyhands-worker"]


def test_so_many_tasks_run_at_once_as_there_are_workers() -> None:
    """Each task waits until all of them are there."""
    for workers in (2, 5):
        barrier = threading.Barrier(workers, timeout=PATIENCE)
        found = in_threads(lambda _, barrier=barrier: barrier.wait(), max_workers=workers, chunksize=1).map(
            range(workers)
        )
        assert sorted(found) == list(range(workers))


def test_never_more_than_that() -> None:
    guard, running, most = threading.Lock(), 0, 0

    def count(_: int) -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with guard:
            running -= 1

    with pytest.warns(match="assigns"):
        function = in_threads(count)
    in_threads(functions.nothing_of, max_workers=6).map(
        range(6)
    )  # there are more threads than this call may have
    function.map(range(40))
    assert 1 <= most <= 2


def test_what_a_task_changes_is_changed() -> None:
    items: list[list[int]] = [[], [], []]
    assert in_threads(lambda item: item.append(1)).map(items) == [None] * 3
    assert items == [[1]] * 3


def test_calls_share_their_threads() -> None:
    first = set(in_threads(functions.where).map(range(30)))
    before = ours()
    second = set(in_threads(lambda x: (functions.triple(x), functions.where(x))[1]).map(range(30)))
    assert ours() == before
    assert len(before) == 2
    assert first | second <= {(os.getpid(), thread.ident) for thread in before}


def test_a_slow_chunk_is_shared_with_threads_that_have_nothing_to_do() -> None:
    """One chunk of tasks that are all slow: the second half of it waits for a task of the first half."""
    done = threading.Event()

    def run(x: int) -> int:
        if x == 0:
            time.sleep(0.02)
        if x == 1:
            assert done.wait(PATIENCE)
        if x == 9:
            done.set()
        return x

    assert in_threads(run, chunksize=10).map(range(10)) == list(range(10))


def test_an_interrupt_that_a_task_raises_ends_the_call() -> None:
    def interrupt(x: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_threads(interrupt).map(range(3))


def test_a_task_that_nobody_waits_for_costs_later_calls_nothing() -> None:
    gate = threading.Event()
    results = in_threads(lambda x: gate.wait(PATIENCE) if x else x, chunksize=1).imap(range(3))
    assert next(results) == 0
    results.close()  # both threads are in tasks that wait
    assert in_threads(functions.triple).map(range(10)) == [3 * x for x in range(10)]
    gate.set()


def test_the_end_does_not_wait_for_an_endless_task() -> None:
    gate = threading.Event()
    results = in_threads(lambda x: gate.wait(PATIENCE) if x else x, chunksize=1).imap(range(3))
    assert next(results) == 0
    threads.shutdown()
    gate.set()
    with pytest.raises(StopIteration):
        results.close()
        next(results)


def test_the_end_waits_for_what_was_submitted() -> None:
    future = in_threads(functions.slowly).submit(5)
    threads.shutdown()
    assert future.done()
    assert future.result() == 25
    assert ours() == []


def test_a_waiting_future_can_be_cancelled() -> None:
    gate = threading.Event()
    function = in_threads(lambda: gate.wait(PATIENCE), max_workers=1)
    first, second = function.submit(), function.submit()
    assert second.cancel()
    gate.set()
    assert first.result(PATIENCE)
    assert second.cancelled()


def test_a_submit_in_a_thread_runs_right_there() -> None:
    function = in_threads(functions.where, max_workers=1)
    outer = in_threads(lambda: (functions.where(None), function.submit(1).result(PATIENCE)), max_workers=1)
    place, inner = outer.submit().result(PATIENCE)
    assert inner == place


def test_an_initializer_that_fails_fails_what_was_submitted(many_switches: None) -> None:
    # Each thread that fails, and the caller, may be the one that finds a task without a thread.
    for _ in range(30):
        function = in_threads(functions.triple, initializer=partial(functions.refuse_to_start))
        futures: list[Future[Any]] = [function.submit(x) for x in range(10)]
        for future in futures:
            assert isinstance(future.exception(PATIENCE), InitializerError)


def test_threads_cannot_be_replaced() -> None:
    with pytest.raises(OptionsError, match="max_tasks_per_child"):
        in_threads(functions.triple, max_tasks_per_child=3).submit(1)


def test_the_traceback_of_a_task_is_its_own() -> None:
    with pytest.raises(KeyError) as caught:
        in_threads(functions.fail_at).map(range(5), bad=(3,))
    assert caught.value.__cause__ is None
    assert caught.traceback[-1].name == "fail_at"


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads take turns as often as they can, so that what depends on their order shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("no_more_threads")
def test_where_the_system_gives_no_threads_the_call_says_so() -> None:
    with pytest.raises(RuntimeError, match="can't start new thread"):
        in_threads(functions.triple).map(range(5))


def test_a_program_ends_while_a_task_runs_for_ever(run_program: Program) -> None:
    ran = run_program("""
        import threading
        from manyhands import parallel_map

        def work(x):
            return threading.Event().wait() if x else x

        results = parallel_map(work, backend="threads", max_workers=2, chunksize=1, initializer=int).imap(range(3))
        print(next(results))
        """)
    assert (ran.out, ran.err, ran.code) == ("0\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # of forking with threads, which is the subject
def test_a_forked_child_has_threads_of_its_own() -> None:
    function = in_threads(functions.triple)
    assert function.map(range(5)) == [3 * x for x in range(5)]
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if function.map(range(5)) == [3 * x for x in range(5)] else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
