"""Who waits for a single task reads its answer from the worker: whatever happens meanwhile, nothing is lost and nobody hangs."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from queue import Queue
from typing import Any

import pytest

from manyhands import ProcessPool, WorkerCrashedError
from manyhands.engine import attending, interrupts, submissions
from tests.pool import tasks
from tests.pool.conftest import PATIENCE, Meeting

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there the loop thread reads every answer")


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    """A pool whose one worker is ready, so that the loop thread has nothing else to do."""
    with ProcessPool(1) as pool:
        pool.submit(tasks.double, 1).result(PATIENCE)
        yield pool


@pytest.fixture
def once_waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Takes what is to be done when a thread has taken over a channel and begins to wait."""

    def do(action: Callable[[], object]) -> None:
        def waiting(*args: Any) -> bool:
            monkeypatch.setattr(attending, "wait", ordinary)
            action()
            return ordinary(*args)

        ordinary = attending.wait
        monkeypatch.setattr(attending, "wait", waiting)

    return do


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which tasks have got their outcome."""
    threads: list[int] = []

    def noting(*args: Any, **keywords: Any) -> None:
        threads.append(threading.get_ident())
        resolve(*args, **keywords)

    resolve = submissions.resolve
    monkeypatch.setattr(submissions, "resolve", noting)
    return threads


def test_the_thread_that_waits_takes_the_answer_in(pool: ProcessPool, settled: list[int]) -> None:
    here = 0
    for number in range(100):
        assert pool.submit(tasks.double, number).result(PATIENCE) == 2 * number
        here += settled.pop() == threading.get_ident()
    assert here > 50, "in the others, the loop thread was quicker"


def test_what_may_run_somebodys_code_is_left_to_the_loop_thread(
    pool: ProcessPool, meeting: Meeting, once_waiting: Any, settled: list[int]
) -> None:
    """Else Ctrl-C, which is held back meanwhile, would have to wait for it."""
    assert pool.submit(tasks.identity, [1, 2]).result(PATIENCE) == [1, 2]
    assert settled.pop() != threading.get_ident()
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate, "answer")
    meeting.next()
    future.add_done_callback(lambda _: None)
    once_waiting(meeting.let_go)
    assert future.result(PATIENCE) == "answer"
    assert settled.pop() != threading.get_ident()


def test_a_callback_may_end_the_pool(pool: ProcessPool, meeting: Meeting, once_waiting: Any) -> None:
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate, "answer")
    meeting.next()
    future.add_done_callback(lambda _: pool.kill_workers())
    once_waiting(meeting.let_go)
    assert future.result(PATIENCE) == "answer"


def test_a_callback_may_wait_for_a_lock_that_a_submitting_thread_holds(
    pool: ProcessPool, meeting: Meeting
) -> None:
    lock, taken, called = threading.Lock(), threading.Event(), threading.Event()

    def called_back(_: Any) -> None:
        called.set()
        with lock:
            pass

    def submitting() -> None:
        with lock:
            taken.set()
            assert called.wait(PATIENCE)
            pool.submit(tasks.double, 2)

    future = pool.submit(tasks.hold, meeting.reports, meeting.gate)
    meeting.next()
    future.add_done_callback(called_back)
    thread = threading.Thread(target=submitting)
    thread.start()
    assert taken.wait(PATIENCE)
    meeting.let_go()
    thread.join(5.0)
    hung = thread.is_alive()
    pool.kill_workers()
    thread.join(PATIENCE)
    assert not hung


def test_who_waits_does_not_wait_for_callbacks(pool: ProcessPool, meeting: Meeting) -> None:
    waited, seen = threading.Event(), threading.Event()
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate)
    meeting.next()
    future.add_done_callback(lambda _: waited.wait(PATIENCE) and seen.set())
    meeting.let_go()
    future.result(PATIENCE)
    waited.set()
    assert seen.wait(PATIENCE)


def test_an_exception_comes_the_same_way(pool: ProcessPool) -> None:
    assert repr(pool.submit(tasks.raising, KeyError(5)).exception(PATIENCE)) == "KeyError(5)"
    with pytest.raises(KeyError):
        pool.submit(tasks.raising, KeyError(5)).result(PATIENCE)


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_who_has_waited_too_long_leaves_the_answer_to_the_loop(
    pool: ProcessPool, meeting: Meeting, seconds: float
) -> None:
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate, "answer")
    meeting.next()
    with pytest.raises(TimeoutError):
        future.result(seconds)
    meeting.let_go()
    assert wait([future], PATIENCE).done == {future}
    assert future.result() == "answer"


def test_a_year_is_not_too_long_to_wait(pool: ProcessPool) -> None:
    assert pool.submit(tasks.double, 3).result(365 * 24 * 3600) == 6


def test_a_worker_that_dies_meanwhile_is_the_answer(
    pool: ProcessPool, meeting: Meeting, once_waiting: Any
) -> None:
    future = pool.submit(tasks.endless, meeting.reports)
    pid = int(meeting.next())
    once_waiting(lambda: os.kill(pid, signal.SIGKILL))
    with pytest.raises(WorkerCrashedError, match="SIGKILL"):
        future.result(PATIENCE)
    assert pool.submit(tasks.double, 4).result(PATIENCE) == 8


def test_it_ends_with_the_worker_though_a_grandchild_holds_the_channel_open(
    pool: ProcessPool, meeting: Meeting
) -> None:
    future = pool.submit(tasks.die_with_living_child, meeting.reports)
    grandchild = int(meeting.next())
    try:
        with pytest.raises(WorkerCrashedError, match="exit code 3"):
            future.result(PATIENCE)
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_a_pool_that_is_killed_meanwhile_is_the_answer(
    pool: ProcessPool, meeting: Meeting, once_waiting: Any
) -> None:
    future = pool.submit(tasks.endless, meeting.reports)
    meeting.next()
    killer = threading.Thread(target=pool.kill_workers)
    once_waiting(killer.start)
    with pytest.raises(WorkerCrashedError, match="kill_workers"):
        future.result(PATIENCE)
    killer.join(PATIENCE)


def test_any_number_of_threads_may_wait_for_one_task(pool: ProcessPool, meeting: Meeting) -> None:
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate, "answer")
    meeting.next()
    begun = threading.Barrier(5)
    found: list[str] = []

    def waiting() -> None:
        begun.wait(PATIENCE)
        found.append(future.result(PATIENCE))

    threads = [threading.Thread(target=waiting) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(PATIENCE)
    meeting.let_go()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == ["answer"] * 4


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_forked_meanwhile_disturbs_nobody(
    pool: ProcessPool, meeting: Meeting, once_waiting: Any
) -> None:
    future = pool.submit(tasks.hold, meeting.reports, meeting.gate, "answer")
    worker = int(meeting.next())
    waiting, forked = threading.Event(), threading.Event()
    once_waiting(lambda: (waiting.set(), forked.wait(PATIENCE)))
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(future.result(PATIENCE)))
    thread.start()
    assert waiting.wait(PATIENCE)
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    forked.set()
    meeting.let_go()
    thread.join(PATIENCE)
    assert found == ["answer"]
    assert pool.submit(tasks.pid).result(PATIENCE) == worker


def test_a_worker_that_is_to_be_replaced_is_replaced() -> None:
    with ProcessPool(1, max_tasks_per_child=1) as pool:
        assert len({pool.submit(tasks.pid).result(PATIENCE) for _ in range(5)}) == 5


def test_waiting_in_a_callback_is_refused_rather_than_waited_for_for_ever(
    pool: ProcessPool, meeting: Meeting
) -> None:
    found: Queue[Any] = Queue()

    def called_back(_: Any) -> None:
        other = pool.submit(tasks.hold, meeting.reports, meeting.gate)
        found.put(other)
        try:
            found.put(other.result(PATIENCE))
        except RuntimeError as error:
            found.put(error)

    future = pool.submit(tasks.hold, meeting.reports, meeting.gate)
    meeting.next()
    future.add_done_callback(called_back)
    meeting.let_go()
    other = found.get(timeout=PATIENCE)
    assert "waiting for a task in a callback" in str(found.get(timeout=PATIENCE))
    meeting.let_go()
    assert other.result(PATIENCE) is None


@pytest.fixture
def ctrl_c_after() -> Iterator[Callable[[float], None]]:
    """Has Ctrl-C come so many seconds after the call."""
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_ctrl_c_at_any_moment_of_submit_and_result_costs_the_pool_nothing(
    pool: ProcessPool, ctrl_c_after: Callable[[float], None]
) -> None:
    """No message is half sent and no answer is lost: the task is done, and so are those after it."""
    draw, in_the_middle = random.Random(1), 0
    for number in range(1_000):
        future, done = None, False
        with pytest.raises(KeyboardInterrupt):
            ctrl_c_after(draw.uniform(0.000_001, 0.000_1))
            future = pool.submit(tasks.double, number)
            future.result(PATIENCE)
            done = True
            while True:  # it is still to come
                os.sched_yield()  # a loop without any system call may not notice a signal that another thread has taken
        in_the_middle += not done
        if future is not None:
            assert future.result(PATIENCE) == 2 * number
        assert pool.submit(tasks.double, -number).result(PATIENCE) == -2 * number
    assert in_the_middle > 100


class TestHeldBack:
    def test_ctrl_c_comes_at_the_end(self) -> None:
        steps = []
        with pytest.raises(KeyboardInterrupt):
            with interrupts.HeldBack():
                signal.raise_signal(signal.SIGINT)
                steps.append("inside")
            steps.append("after")
        assert steps == ["inside"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_one_inside_another_is_part_of_it(self) -> None:
        steps = []
        with pytest.raises(KeyboardInterrupt), interrupts.HeldBack():
            with interrupts.HeldBack():
                signal.raise_signal(signal.SIGINT)
            steps.append("between")
        assert steps == ["between"]

    def test_in_another_thread_there_is_nothing_to_hold_back(self) -> None:
        found: list[object] = []

        def inside() -> None:
            with interrupts.HeldBack():
                found.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        assert found == [signal.getsignal(signal.SIGINT)]

    def test_a_handler_of_the_systems_is_left_alone(self) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with interrupts.HeldBack():
                assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
                signal.raise_signal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)
