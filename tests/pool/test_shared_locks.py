"""Locks of ``manyhands.shared`` do what those of ``threading`` do, between processes, and outlive their holders."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import ProcessPool
from manyhands.shared import Lock, RLock, Value, mutex, waiting
from tests.conftest import Program
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

KINDS = {"lock": Lock, "rlock": RLock}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Any:
    """Each kind of lock: what makes it, as pytest would keep a lock beyond the look at what is left."""
    return KINDS[request.param]


@pytest.fixture(params=["platform", "fallback"])
def any_mutex(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this platform has, and what there is where it has nothing."""
    if request.param == "fallback":
        monkeypatch.setattr(mutex, "_kind", mutex.Locked)
        monkeypatch.setattr(waiting, "_futex", [None])
    return


@given(st.lists(st.sampled_from(["acquire", "try", "in time", "release", "with", "locked"])))
@pytest.mark.parametrize("name", KINDS)
def test_in_one_thread_they_do_what_those_of_threading_do(name: str, steps: list[str]) -> None:
    ours, theirs = KINDS[name](), {"lock": threading.Lock, "rlock": threading.RLock}[name]()
    held = 0

    def both(step: str, *args: Any) -> list[Any]:
        found = []
        for lock in (ours, theirs):
            try:
                found.append(getattr(lock, step)(*args))
            except RuntimeError:
                found.append(RuntimeError)
        return found

    for step in steps:
        if step == "locked":
            assert ours.locked() == (held > 0)
        elif step == "with":
            if name == "rlock" or not held:
                with ours, theirs:
                    assert ours.locked()
        elif step == "acquire" and name == "lock" and held:
            with pytest.raises(RuntimeError, match="holds this Lock already, and would wait for itself"):
                ours.acquire()
        else:
            arguments = {"try": ("acquire", False), "in time": ("acquire", True, 0.001)}.get(step, (step,))
            first, second = both(*arguments)
            assert first == second
            held += {True: 1, None: -1}.get(first, 0)
        assert ours.locked() == (held > 0)
    for _ in range(held):
        ours.release()


@pytest.mark.parametrize("kind", sharing.BESIDE)
def test_only_one_of_all_threads_and_processes_holds_it(any_mutex: None, make: Any, kind: str) -> None:
    lock = make()
    reading, writing = os.pipe()

    def work() -> None:
        for _ in range(200):
            with lock:
                os.write(writing, b"(")
                os.write(writing, b")")

    with sharing.beside(kind, work), sharing.beside("thread", work):
        work()
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == b"()" * 600


def test_workers_take_turns(any_pool: ProcessPool, make: Any, tmp_path: Any) -> None:
    lock = make()
    path = str(tmp_path / "turns")
    for future in [any_pool.submit(sharing.take_turns, lock, path, 20) for _ in range(4)]:
        future.result(PATIENCE)
    with open(path, encoding="ascii") as file:
        assert file.read() == "()" * 80


def test_a_spawned_child_of_multiprocessing_takes_turns(make: Any, tmp_path: Any) -> None:
    lock = make()
    path = str(tmp_path / "turns")
    assert sharing.spawned(sharing.take_turns, lock, path, 20) == 0


@pytest.mark.parametrize("kind", sharing.BESIDE)
def test_while_another_holds_it_it_is_not_to_be_had(any_mutex: None, make: Any, kind: str) -> None:
    lock = make()
    here, there = sharing.gate(), sharing.gate()

    def hold() -> None:
        with lock:
            there.open()
            here.wait()

    with sharing.beside(kind, hold):
        there.wait()
        assert lock.locked()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.01)
        with pytest.raises(RuntimeError, match=r"cannot release a R?Lock that this thread does not hold"):
            lock.release()
        here.open()
        assert lock.acquire(timeout=PATIENCE)
        assert not lock.holder_died
        lock.release()
    assert not lock.locked()


@pytest.mark.parametrize("wait", [False, True], ids=["before", "while another waits"])
def test_the_next_one_gets_it_when_its_holder_is_killed_and_learns_it(
    any_mutex: None, make: Any, wait: bool
) -> None:
    lock = make()
    there = sharing.gate()

    def hold() -> None:
        lock.acquire()
        there.open()
        signal.pause()

    pid = sharing.forked(hold)
    there.wait()
    assert not lock.acquire(blocking=False)
    if wait:
        killer = threading.Timer(0.05, os.kill, (pid, signal.SIGKILL))
        killer.start()
        assert lock.acquire(timeout=PATIENCE)
        killer.join()
        assert sharing.ended(pid) == -signal.SIGKILL
    else:
        sharing.killed(pid)
        assert lock.acquire(blocking=False)
    assert lock.holder_died
    lock.release()
    assert not lock.holder_died
    with lock:
        assert not lock.holder_died


def test_again_and_again_it_survives_its_holders(make: Any) -> None:
    lock = make()

    def hold() -> None:
        lock.acquire()
        sharing.die()

    for _ in range(5):
        assert sharing.in_child(hold) == -signal.SIGKILL
        assert lock.acquire(timeout=PATIENCE)
        assert lock.holder_died
        lock.release()


def test_a_thread_that_ends_with_it_is_a_holder_that_died(make: Any) -> None:
    lock = make()
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
    assert lock.acquire(timeout=PATIENCE)
    assert lock.holder_died
    lock.release()


def test_a_child_holds_nothing_that_its_parent_does(any_mutex: None, make: Any) -> None:
    lock = make()

    def child() -> None:
        assert not lock.acquire(blocking=False)
        with pytest.raises(RuntimeError, match="does not hold"):
            lock.release()

    with lock:
        assert sharing.in_child(child) == 0
    lock.acquire()
    lock.release()


def test_one_that_is_dropped_while_it_is_held_harms_no_other() -> None:
    def drop() -> None:
        Lock().acquire()

    def child() -> None:
        thread = threading.Thread(target=drop)
        thread.start()
        thread.join()
        other = Lock()
        with other:
            drop()
        with other:
            assert other.locked()

    assert sharing.in_child(child) == 0


def test_it_is_one_object_in_one_process(make: Any) -> None:
    lock = make()
    for pickler in (pickle, cloudpickle):
        assert pickle.loads(pickler.dumps(lock)) is lock
    assert copy.copy(lock) is copy.deepcopy(lock) is lock


def test_what_cannot_be_meant_is_refused(make: Any) -> None:
    lock = make()
    with pytest.raises(ValueError, match="a timeout is for waiting"):
        lock.acquire(blocking=False, timeout=1)
    with pytest.raises(ValueError, match="0 seconds or more, not -2"):
        lock.acquire(timeout=-2)


@pytest.mark.parametrize("fallback", [False, True])
def test_ctrl_c_ends_the_wait(run_program: Program, fallback: bool) -> None:
    ran = run_program(
        f"""
        import os, signal
        from manyhands.shared import Lock, mutex
        if {fallback}:
            mutex._kind = mutex.Locked
        lock = Lock()
        held, waiter = os.pipe()
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            lock.acquire()
            os.write(waiter, b".")
            while True:
                signal.pause()
        os.read(held, 1)
        try:
            print("ready", flush=True)
            lock.acquire()
        except KeyboardInterrupt:
            print("interrupted", lock.acquire(blocking=False))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(lock.acquire(), lock.holder_died)
        """,
        send_signal=signal.SIGINT,
        to="program",
    )
    assert (ran.code, ran.out, ran.err) == (0, "ready\ninterrupted False\nTrue True\n", "")


class Interrupted(KeyboardInterrupt):
    """What an alarm raises in place of Ctrl-C, so that pytest never sees one."""


@pytest.mark.parametrize("step", ["lock", "rlock", "add"])
def test_a_signal_at_any_moment_leaves_it_free_or_held_and_never_in_between(step: str) -> None:
    lock = KINDS["lock" if step == "lock" else "rlock"]()
    value = Value(int)
    armed = False

    def interrupt(*_: Any) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        interrupted = tries = 0
        while interrupted < 100 and tries < 100_000:
            tries += 1
            try:
                armed = True
                if step == "add":
                    value.add(1)
                else:
                    lock.acquire()
                    lock.release()
                armed = False
            except Interrupted:
                interrupted += 1
            if step == "add":
                assert not value.lock.locked()
            else:
                assert lock.locked() == lock._is_owned()
                if lock._is_owned():
                    lock.release()
                assert not lock.locked()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
