"""Semaphores count as those of ``threading`` do, between processes, and get back what the dead have held."""

from __future__ import annotations

import pickle
import signal
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import ProcessPool
from manyhands.shared import BoundedSemaphore, Semaphore, Value
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

any_kind = pytest.mark.parametrize("kind", sharing.BESIDE)
KINDS = {"plain": (Semaphore, threading.Semaphore), "bounded": (BoundedSemaphore, threading.BoundedSemaphore)}


@given(
    st.integers(0, 3),
    st.lists(st.one_of(st.sampled_from(["try", "in time"]), st.integers(0, 3))),
)
@pytest.mark.parametrize("name", KINDS)
def test_in_one_thread_they_do_what_those_of_threading_do(name: str, value: int, steps: list[Any]) -> None:
    ours, theirs = (kind(value) for kind in KINDS[name])
    for step in steps:
        found: list[Any] = []
        for semaphore in (ours, theirs):
            try:
                if step == "try":
                    found.append(semaphore.acquire(False))
                elif step == "in time":
                    found.append(semaphore.acquire(timeout=0))
                else:
                    found.append(semaphore.release(step))
            except ValueError:
                found.append(ValueError)
        assert found[0] == found[1], step
        assert ours._numbers[0] == theirs._value


@any_kind
@pytest.mark.parametrize("name", KINDS)
def test_never_more_at_a_time_than_there_are_slots(kind: str, name: str) -> None:
    semaphore, inside, most = KINDS[name][0](2), Value(int), Value(int)

    def work() -> None:
        for _ in range(50):
            with semaphore:
                most.max(inside.add(1))
                inside.add(-1)

    with sharing.beside(kind, work), sharing.beside(kind, work), sharing.beside("thread", work):
        work()
    assert most.value <= 2
    assert semaphore._numbers[0] == 2


def test_workers_share_it(any_pool: ProcessPool) -> None:
    semaphore = Semaphore(1)
    with semaphore:
        futures = [any_pool.submit(semaphore.acquire, True, PATIENCE) for _ in range(2)]
    semaphore.release()
    assert [future.result(PATIENCE) for future in futures] == [True, True]


@any_kind
def test_a_release_lets_one_who_waits_go_on(kind: str) -> None:
    semaphore, gate = Semaphore(0), sharing.gate()

    def wait() -> None:
        gate.open()
        assert semaphore.acquire(timeout=PATIENCE)

    with sharing.beside(kind, wait), sharing.beside(kind, wait):
        gate.wait()
        gate.wait()
        semaphore.release(2)


@pytest.mark.parametrize("name", KINDS)
def test_the_slots_of_one_who_is_killed_are_free_again_and_the_next_learns_it(name: str) -> None:
    semaphore = KINDS[name][0](2)
    gate = sharing.gate()

    def hold() -> None:
        semaphore.acquire()
        semaphore.acquire()
        gate.open()
        signal.pause()

    pid = sharing.forked(hold)
    gate.wait()
    assert not semaphore.acquire(blocking=False)
    killer = threading.Timer(0.05, lambda: sharing.killed(pid))
    killer.start()
    assert semaphore.acquire(timeout=PATIENCE)
    killer.join()
    assert semaphore.holder_died
    semaphore.release()
    assert not semaphore.holder_died
    assert semaphore._numbers[0] == 2


def test_what_the_dead_have_consumed_does_not_come_back() -> None:
    ready = Semaphore(0)
    ready.release(3)

    def consume() -> None:
        ready.acquire()
        ready.acquire()
        sharing.die()

    assert sharing.in_child(consume) == -signal.SIGKILL
    assert ready.acquire(blocking=False)
    assert not ready.acquire(blocking=False)


@pytest.mark.parametrize("half", ["noted, not taken", "given, not noted"])
def test_a_change_that_was_left_half_done_is_finished(half: str) -> None:
    semaphore = Semaphore(3)

    def change() -> None:
        semaphore.acquire()
        semaphore._condition.acquire()
        line = semaphore._line()
        assert line is not None
        semaphore._numbers[line + 2] += 1 if half == "noted, not taken" else -1
        sharing.die()

    assert sharing.in_child(change) == -signal.SIGKILL
    for _ in range(3):
        assert semaphore.acquire(blocking=False)
    assert not semaphore.acquire(blocking=False)
    semaphore.release(3)


def test_one_may_release_what_another_has_acquired() -> None:
    semaphore = BoundedSemaphore(1)
    semaphore.acquire()
    assert sharing.in_child(semaphore.release) == 0
    assert semaphore.acquire(blocking=False)
    semaphore.release()


def test_it_is_one_object_in_one_process() -> None:
    for semaphore in (Semaphore(3), BoundedSemaphore(2)):
        assert pickle.loads(pickle.dumps(semaphore)) is semaphore


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Semaphore(-1), ValueError, "cannot have -1 slots"),
        (lambda: Semaphore("two"), TypeError, "a whole number of slots, not 'two'"),
        (lambda: Semaphore(1).release(0), ValueError, "at least 1"),
        (lambda: BoundedSemaphore(1).release(), ValueError, "released too often: of 1 slots, 1 are free"),
        (lambda: Semaphore(1).acquire(blocking=False, timeout=1), ValueError, "a timeout is for waiting"),
    ],
)
def test_what_cannot_be_meant_is_refused(call: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
