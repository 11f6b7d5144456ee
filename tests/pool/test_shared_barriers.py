"""Barriers do what those of ``threading`` do, between processes, and break for those whose mates are killed."""

from __future__ import annotations

import pickle
import signal
from threading import BrokenBarrierError
from typing import Any

import pytest

from manyhands import ProcessPool
from manyhands.shared import Barrier, Value
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

any_kind = pytest.mark.parametrize("kind", sharing.BESIDE)


def wait_until(barrier: Barrier, waiters: int) -> None:
    while barrier.n_waiting != waiters or len(barrier._condition._waiting()) != waiters:
        pass


def broken(barrier: Barrier, *args: Any) -> None:
    with pytest.raises(BrokenBarrierError):
        barrier.wait(*args)


@any_kind
def test_nobody_goes_on_before_all_have_come_round_after_round(kind: str) -> None:
    barrier, came = Barrier(3), Value(int)

    def work() -> None:
        for round_ in range(1, 30):
            came.add(1)
            barrier.wait(PATIENCE)
            assert came.value >= 3 * round_

    with sharing.beside(kind, work), sharing.beside(kind, work):
        work()
    assert came.value == 87
    assert (barrier.n_waiting, barrier.broken) == (0, False)


@any_kind
def test_each_gets_another_number_and_one_does_the_action(kind: str) -> None:
    numbers, count = Value(int), Value(int)
    barrier = Barrier(3, lambda: count.add(1), timeout=PATIENCE)

    def work() -> None:
        numbers.add(10 ** barrier.wait())

    with sharing.beside(kind, work), sharing.beside(kind, work):
        work()
    assert (numbers.value, count.value) == (111, 1)


def test_workers_meet_there(any_pool: ProcessPool) -> None:
    barrier = Barrier(3)
    futures = [any_pool.submit(barrier.wait, PATIENCE) for _ in range(2)]
    numbers = [barrier.wait(PATIENCE), *(future.result(PATIENCE) for future in futures)]
    assert sorted(numbers) == [0, 1, 2]


@any_kind
@pytest.mark.parametrize("how", ["abort", "reset", "timeout"])
def test_it_breaks_for_those_who_wait(kind: str, how: str) -> None:
    barrier = Barrier(3)
    with sharing.beside(kind, broken, barrier):
        wait_until(barrier, 1)
        if how == "timeout":
            broken(barrier, 0.01)
        else:
            getattr(barrier, how)()
    assert barrier.broken == (how != "reset")
    if barrier.broken:
        broken(barrier)
        barrier.reset()
    assert (barrier.broken, barrier.n_waiting) == (False, 0)


def test_an_action_that_fails_breaks_it() -> None:
    barrier = Barrier(1, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        barrier.wait()
    assert barrier.broken
    broken(barrier)


@any_kind
def test_one_who_is_killed_while_waiting_breaks_it_for_the_others(kind: str) -> None:
    barrier = Barrier(4)
    pid = sharing.forked(barrier.wait)
    wait_until(barrier, 1)
    with sharing.beside(kind, broken, barrier):
        wait_until(barrier, 2)
        sharing.killed(pid)
        broken(barrier, PATIENCE)


def test_one_who_is_killed_on_its_way_in_breaks_it() -> None:
    barrier = Barrier(2)

    def come_half() -> None:
        barrier._condition.acquire()
        barrier._numbers[1] += 1
        sharing.die()

    assert sharing.in_child(come_half) == -signal.SIGKILL
    broken(barrier, PATIENCE)


def test_it_is_one_object_in_one_process_and_can_be_refused() -> None:
    barrier = Barrier(2, timeout=3)
    assert pickle.loads(pickle.dumps(barrier)) is barrier
    with pytest.raises(ValueError, match="at least 1 party, not 0"):
        Barrier(0)
    with pytest.raises(TypeError, match="a whole number of parties"):
        Barrier("two")  # type: ignore[arg-type]
