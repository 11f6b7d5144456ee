"""Processes that use everything at once are killed at any moment, again and again, and the others never notice."""

from __future__ import annotations

import os
import queue as standard
import random
from typing import Any, NamedTuple

import pytest

from manyhands.shared import (
    BoundedSemaphore,
    Condition,
    Event,
    Lock,
    Queue,
    RLock,
    Semaphore,
    Value,
    mutex,
    waiting,
)
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

SIZES = (5, 5_000, 70_000)


class Things(NamedTuple):
    """One of each kind."""

    lock: Lock
    rlock: RLock
    slots: Semaphore
    bounded: BoundedSemaphore
    condition: Condition
    event: Event
    queue: Queue
    inside: Value[int]
    broken: Value[int]
    done: Value[int]


def use(things: Things) -> None:
    """Use one after the other, for ever."""
    chance = random.Random(os.getpid())
    while True:
        USES[chance.randrange(len(USES))](things, chance)
        things.done.add(1)


def take_turns(things: Things, chance: random.Random) -> None:
    with things.lock:
        if things.inside.value and not things.lock.holder_died:
            things.broken.add(1)
        things.inside.value = 1
        for _ in range(chance.randrange(200)):
            pass
        things.inside.value = 0


def take_turns_twice(things: Things, chance: random.Random) -> None:
    with things.rlock, things.rlock:
        pass


def take_a_slot(things: Things, chance: random.Random) -> None:
    for semaphore in (things.slots, things.bounded):
        if semaphore.acquire(timeout=PATIENCE):
            semaphore.release()
        else:
            things.broken.add(1)


def wait(things: Things, chance: random.Random) -> None:
    with things.condition:
        things.condition.wait(0.001)


def notify(things: Things, chance: random.Random) -> None:
    with things.condition:
        things.condition.notify(2)


def happen(things: Things, chance: random.Random) -> None:
    chance.choice([things.event.set, things.event.clear])()
    things.event.wait(0.001)


def put(things: Things, chance: random.Random) -> None:
    try:
        size = chance.choice(SIZES)
        things.queue.put((size, bytes([size % 256]) * size), timeout=0.01)
    except standard.Full:
        pass


def get(things: Things, chance: random.Random) -> None:
    try:
        size, content = things.queue.get(timeout=0.01)
    except standard.Empty:
        return
    if size not in SIZES or content != bytes([size % 256]) * size:
        things.broken.add(1)


USES: list[Any] = [take_turns, take_turns_twice, take_a_slot, wait, notify, happen, put, get]


@pytest.mark.parametrize("kind", ["platform", "fallback"])
@pytest.mark.parametrize("kills", [20, pytest.param(1_000, marks=pytest.mark.stress)])
def test_whoever_is_killed_at_any_moment_harms_nobody_else(
    kind: str, kills: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "fallback":
        monkeypatch.setattr(mutex, "_kind", mutex.Locked)
        monkeypatch.setattr(waiting, "_futex", [None])
    things = Things(
        Lock(),
        RLock(),
        Semaphore(2),
        BoundedSemaphore(3),
        Condition(),
        Event(),
        Queue(3),
        Value(int),
        Value(int),
        Value(int),
    )
    pids = [sharing.forked(use, things) for _ in range(3)]
    for kill in range(kills):
        seen = things.done.value
        while things.done.value < seen + random.randrange(1, 40):
            os.sched_yield()
        sharing.killed(pids[kill % 3])
        pids[kill % 3] = sharing.forked(use, things)
    for pid in pids:
        sharing.killed(pid)
    assert things.broken.value == 0
    for semaphore, count in ((things.slots, 2), (things.bounded, 3)):
        for _ in range(count):
            assert semaphore.acquire(timeout=PATIENCE)
        assert not semaphore.acquire(blocking=False)
        semaphore.release(count)
    things.queue.close()
    assert all(len(content) == size for size, content in things.queue)
    with things.lock, things.rlock, things.condition:
        things.condition.notify_all()
