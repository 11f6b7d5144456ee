"""States, and functions that add to them, for the tests of accumulators; workers find them by name."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

from manyhands import accumulator, process_task, shared_state


@shared_state
class Totals:
    n: int = accumulator(int)
    items: list[int] = accumulator(list)
    words: Counter[str] = accumulator(Counter)


def die(x: int, totals: Totals, how: str = "exit") -> int:
    totals.n += 1
    totals.items.append(x)
    if x % 10 == 3:
        if how == "exit":
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    totals.words[str(x % 3)] += 1
    return x


class Unloadable:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


def add(x: int, totals: Totals) -> int:
    totals.n += x
    return x


@process_task(timeout=60)
def limited(x: int, totals: Totals) -> int:
    """In a worker of its own, also when it is called in a worker."""
    totals.n += x
    if x == 3:
        raise ValueError
    return os.getpid()


def outer(x: int, totals: Totals) -> bool:
    inner = limited(x, totals)
    totals.items.append(x)
    if x == 4:
        raise LookupError
    return inner != os.getpid()


totals_of_module = Totals()


def add_to_module(x: int) -> int:
    totals_of_module.items.append(x)
    return x


def make(_: int) -> Totals:
    totals = Totals()
    totals.n += 1
    return totals
