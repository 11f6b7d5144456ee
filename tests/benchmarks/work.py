"""The work that the benchmarks map: functions that every worker can import, and the items they are mapped
over.

Costs are given as a number of iterations of `spin`, not as a time: the harness calibrates once how many
iterations this machine does in a second and hands the same number to every competitor, so that all do the
same work.

This module, `adapters` and `measure` are all that a measured process loads before it is measured. They
import next to nothing, so that a library which imports something at its first call finds it as little
loaded as in a bare script.
"""

from __future__ import annotations

import time

TYPE_CHECKING = (
    False  # `typing` itself loads a dozen modules; checkers know this name wherever it is assigned
)
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Task: TypeAlias = Callable[[int], int]
    """What the benchmarks map: one integer in, one integer out."""
    Job: TypeAlias = tuple[Task, list[int]]
    """A function and the items to map it over."""


def plus_one(x: int) -> int:
    """Return `x + 1`: as little work as a function can do."""
    return x + 1


def closure_plus_one() -> Task:
    """Return `plus_one` as a closure over a local variable, which no worker can find by name."""
    one = 1

    def plus_closure(x: int) -> int:
        return x + one

    return plus_closure


def spin(iterations: int) -> int:
    """Keep one core busy for a number of iterations; return a value that depends on all of them."""
    value = iterations
    for _ in range(iterations):
        value = (value * 5 + 1) & 0xFFFF
    return value


def sleep_10_ms(x: int) -> int:
    """Sleep 10 milliseconds, as a task does that waits for a disk or a server; return `x`."""
    time.sleep(0.010)
    return x


def even(seconds: float, items: int, rate: float) -> Job:
    """Return so many tasks that take so many seconds each, where `spin` does `rate` iterations per second."""
    return spin, [round(rate * seconds)] * items


def growing(mean_seconds: float, items: int, rate: float) -> Job:
    """Return tasks whose cost grows with their index, from nothing to twice the mean."""
    return spin, [round(rate * mean_seconds * 2 * index / (items - 1)) for index in range(items)]


JOBS: dict[str, Callable[[float], Job]] = {
    "plus_one": lambda rate: (plus_one, list(range(200_000))),
    "closure": lambda rate: (closure_plus_one(), list(range(200_000))),
    "4us": lambda rate: even(4e-6, 40_000, rate),
    "1ms": lambda rate: even(1e-3, 1_000, rate),
    "100ms": lambda rate: even(0.1, 12, rate),
    "growing": lambda rate: growing(3e-3, 300, rate),
    "none": lambda rate: (spin, []),
    "one": lambda rate: even(1e-6, 1, rate),
}
"""What each row of the first table maps, given the iterations of `spin` per second."""


def calibrate() -> float:
    """Measure how many iterations of `spin` this machine does per second.

    Returns:
        The best of 50 runs of at least 20 ms each: interruptions only ever make a run longer.
    """
    iterations = 1_000
    while _duration(iterations) < 0.020:
        iterations *= 2
    return iterations / min(_duration(iterations) for _ in range(50))


def _duration(iterations: int) -> float:
    start = time.perf_counter()
    spin(iterations)
    return time.perf_counter() - start
