"""Functions that fail, for ``test_failures``; a worker that looks one up does not load pytest."""

from __future__ import annotations

import time


class RefusedError(Exception):
    """An exception with a constructor of its own, and attributes."""

    def __init__(self, item: int, *, why: str) -> None:
        super().__init__(f"{item}: {why}")
        self.item = item
        self.why = why


def refuse(x: int) -> int:
    error = RefusedError(x, why="odd")
    error.extra = [x]  # type: ignore[attr-defined]
    raise error


def raise_it(error: BaseException) -> None:
    raise error


def slow_first(x: int) -> float:
    """The first one fails, when most of the others are done."""
    time.sleep(0.4 if x == 0 else 0.001)
    return 1 / x


def wait_or_fail(x: int) -> int:
    if x == 1:
        time.sleep(0.01)
    if x == 2:
        raise LookupError(x)
    return x


def cached_wait_or_fail(x: tuple[int, int]) -> int:
    return wait_or_fail(x[1])
