"""A state of every kind of field, and functions that use it; workers find them by name."""

from __future__ import annotations

import os
import signal
from typing import Any

from manyhands import (
    array,
    barrier,
    condition,
    event,
    lock,
    managed,
    queue,
    rlock,
    semaphore,
    shared_state,
    value,
)


class Account:
    """A class that knows nothing of processes."""

    def __init__(self, balance: int) -> None:
        self.balance = balance

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def fail(self) -> None:
        raise LookupError("no such account")

    def itself(self) -> Account:
        return self


@shared_state
class State:
    best: Any = value(float, 0.5)
    grid: Any = array("int64", (2, 3))
    seen: Any = managed(dict)
    items: Any = managed(list, [1, 2])
    kinds: Any = managed(set)
    account: Any = managed(Account, 10)
    gate = lock()
    again = rlock()
    slots = semaphore(2)
    ready = event()
    news = condition()
    step = barrier(2)
    jobs = queue(100)


def use(x: int, state: State) -> int:
    state.best.add(1.0)
    with state.gate, state.again, state.slots:
        state.grid[x % 2, x % 3] += x
    state.ready.set()
    state.jobs.put(x)
    state.seen.increment("n", x)
    state.seen[x] = True
    state.items.append(x)
    state.kinds |= {x % 4}
    state.account.deposit(x)
    return x


def count_in_steps(x: int, state: State) -> None:
    """Not one step: only right while nobody else is there."""
    with state.seen:
        state.seen["n"] = state.seen.get("n", 0) + 1


def die_while_it_is_locked(x: int, state: State) -> None:
    if x == 1:
        with state.seen.locked():
            state.seen["half"] = 1
            os.kill(os.getpid(), signal.SIGKILL)
    with state.seen:
        state.seen["done"] = state.seen.get("done", 0) + 1


def set_default(x: int, state: State) -> int:
    return state.seen.setdefault("first", x)  # type: ignore[no-any-return]


@shared_state
class Small:
    best: Any = value(float, 0.5)
    grid: Any = array("int64", 3)


module_state = Small()


def use_global(x: int) -> None:
    module_state.best.add(x)
    module_state.grid[x] += 1
