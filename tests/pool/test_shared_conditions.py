"""Conditions and events do what those of ``threading`` do, between processes, and forget waiters that are killed."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from typing import Any

import pytest

from manyhands import ProcessPool
from manyhands.shared import Condition, Event, Lock, RLock, Value
from tests.conftest import Program
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

any_kind = pytest.mark.parametrize("kind", sharing.BESIDE)


def wait_until(condition: Condition, waiters: int) -> None:
    """Return when so many wait, with the lock held."""
    while True:
        condition.acquire()
        if len(condition._waiting()) == waiters:
            return
        condition.release()


@any_kind
@pytest.mark.parametrize("lock", [None, Lock, RLock], ids=["default", "lock", "rlock"])
def test_exactly_as_many_are_woken_as_were_notified_first_come_first(kind: str, lock: Any) -> None:
    condition, woken = Condition(None if lock is None else lock()), Value(int)
    gates = [sharing.gate() for _ in range(3)]

    def wait(number: int) -> None:
        with condition:
            assert condition.wait(PATIENCE)
            woken.value = woken.value * 10 + number
            gates[number - 1].open()

    first, second, third = (sharing.beside(kind, wait, number) for number in (1, 2, 3))
    with first:
        wait_until(condition, 1)
        condition.release()
        with second:
            wait_until(condition, 2)
            condition.release()
            with third:
                wait_until(condition, 3)
                condition.notify()
                condition.release()
                gates[0].wait()
                assert woken.value == 1
                with condition:
                    condition.notify_all()
    assert sorted(str(woken.value)) == ["1", "2", "3"]
    assert condition._numbers[1] == 0


def test_one_who_is_not_notified_gives_up_and_holds_the_lock() -> None:
    condition = Condition()
    with condition, condition:
        assert not condition.wait(0.01)
        assert condition._lock._is_owned()
        assert condition._lock._held.depth == 2
    assert not condition._lock.locked()


def test_a_notification_nobody_waits_for_is_forgotten() -> None:
    condition = Condition()
    with condition:
        condition.notify(3)
        assert not condition.wait(0.01)


@any_kind
def test_waiting_for_a_predicate(kind: str) -> None:
    condition, number = Condition(), Value(int)

    def count() -> None:
        for _ in range(5):
            with condition:
                number.add(1)
                condition.notify_all()

    with sharing.beside(kind, count), condition:
        assert condition.wait_for(lambda: number.value == 5 and "five", PATIENCE) == "five"
    with condition:
        assert not condition.wait_for(lambda: False, 0.01)


@pytest.mark.parametrize("step", ["wait", "notify", "notify_all"])
def test_without_the_lock_nothing_can_be_done(step: str) -> None:
    with pytest.raises(RuntimeError, match="inside of 'with condition:'"):
        getattr(Condition(), step)()


def test_a_lock_of_threading_is_refused() -> None:
    with pytest.raises(TypeError, match=r"needs a Lock or an RLock of manyhands.shared, not a lock"):
        Condition(threading.Lock())  # type: ignore[arg-type]


def test_a_waiter_that_is_killed_costs_no_other_its_notification() -> None:
    condition, gate = Condition(), sharing.gate()

    def wait() -> None:
        with condition:
            condition.wait()
            gate.open()

    first = sharing.forked(wait)
    wait_until(condition, 1)
    condition.release()
    second = sharing.forked(wait)
    wait_until(condition, 2)
    condition.release()
    sharing.killed(first)
    with condition:
        condition.notify()
    gate.wait()
    assert sharing.ended(second) == 0
    assert condition._numbers[1] == 0


def test_a_holder_that_is_killed_releases_it_and_the_next_learns_it() -> None:
    condition = Condition()

    def hold() -> None:
        condition.acquire()
        sharing.die()

    assert sharing.in_child(hold) == -signal.SIGKILL
    with condition:
        assert condition.holder_died


def test_it_is_one_object_in_one_process_with_its_lock() -> None:
    lock = Lock()
    condition, event = Condition(lock), Event()
    assert pickle.loads(pickle.dumps((lock, condition, event))) == (lock, condition, event)
    assert pickle.loads(pickle.dumps(condition))._lock is lock


class TestEvent:
    @any_kind
    def test_all_wait_then_all_go(self, kind: str) -> None:
        event, number = Event(), Value(int)

        def wait() -> None:
            assert event.wait(PATIENCE)
            number.add(1)

        with sharing.beside(kind, wait), sharing.beside(kind, wait), sharing.beside("thread", wait):
            wait_until(event._condition, 3)
            event._condition.release()
            assert number.value == 0
            event.set()
        assert number.value == 3
        assert event.is_set()
        assert event.wait(0)

    @any_kind
    def test_who_waited_goes_on_even_if_it_is_cleared_at_once(self, kind: str) -> None:
        event = Event()

        def wait() -> None:
            assert event.wait(PATIENCE)

        with sharing.beside(kind, wait):
            wait_until(event._condition, 1)
            event._condition.release()
            event.set()
            event.clear()
        assert not event.is_set()
        assert not event.wait(0.01)

    def test_workers_wait_for_it(self, any_pool: ProcessPool) -> None:
        event = Event()
        futures = [any_pool.submit(event.wait, PATIENCE) for _ in range(2)]
        event.set()
        assert [future.result(PATIENCE) for future in futures] == [True, True]

    def test_one_who_sets_it_and_is_killed_before_saying_so_is_noticed(self) -> None:
        event = Event()

        def set_half() -> None:
            wait_until(event._condition, 1)
            event._flag[0] = 1
            sharing.die()

        pid = sharing.forked(set_half)
        assert event.wait(PATIENCE)
        assert sharing.ended(pid) == -signal.SIGKILL

    def test_a_waiter_that_is_killed_harms_nobody(self) -> None:
        event = Event()
        pid = sharing.forked(event.wait)
        wait_until(event._condition, 1)
        event._condition.release()
        sharing.killed(pid)
        event.set()
        assert event.wait(0)


WAITS = {
    "condition": "c = Condition(); c.acquire(); wait = c.wait",
    "event": "wait = Event().wait",
    "semaphore": "wait = Semaphore(0).acquire",
    "barrier": "wait = Barrier(2).wait",
    "queue get": "wait = Queue().get",
    "queue put": "q = Queue(1); q.put(1); wait = lambda: q.put(2)",
}


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_every_wait(run_program: Program, name: str) -> None:
    ran = run_program(
        f"""
        from manyhands.shared import *
        {WAITS[name]}
        try:
            print("ready", flush=True)
            wait()
        except KeyboardInterrupt:
            print("interrupted")
        """,
        send_signal=signal.SIGINT,
        to="program",
    )
    assert (ran.code, ran.out, ran.err) == (0, "ready\ninterrupted\n", "")


def test_where_there_is_no_futex_it_works_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from manyhands.shared import waiting

    monkeypatch.setattr(waiting, "_futex", [None])
    event = Event()
    with sharing.beside("process", event.wait, PATIENCE):
        wait_until(event._condition, 1)
        event._condition.release()
        event.set()
    assert os.getpid()
