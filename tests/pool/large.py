"""Tasks with large arrays; a worker that looks one up does not load pytest."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.pool.tasks import hold, report

#: Enough numbers to go through shared memory.
MANY = 100_000


_kept: list[Any] = []


def in_shared_memory(process: int | str = "self") -> int:
    """How many private mappings of shared memory a process has."""
    maps = Path(f"/proc/{process}/maps").read_text().splitlines()
    return sum(line.split()[1] == "rw-p" and "memfd:manyhands" in line for line in maps)


def mapped_here(value: Any) -> tuple[Any, int]:
    return value, in_shared_memory()


def total(array: Any) -> float:
    return float(array.sum())


def filled(mark: float, size: int = MANY) -> Any:
    return np.full(size, float(mark))


def keep(array: Any) -> list[float]:
    """Keep the argument, and say what all those hold that were kept before."""
    _kept.append(array)
    return [float(each[0]) for each in _kept if (each == each[0]).all()]


def pid_and(array: Any) -> tuple[int, float]:
    return os.getpid(), float(array[-1])


def die_with(array: Any, deadly: float) -> float:
    if array[0] == deadly:
        array += 1
        os.kill(os.getpid(), signal.SIGKILL)
    return float(array.sum())


def report_and_hold(reports: str, gate: str, array: Any) -> float:
    from tests.pool.tasks import hold

    hold(reports, gate)
    return float(array.sum())


def change(array: Any) -> None:
    array[7] = 1


def look(array: Any) -> None:
    array.sum()


def fork_and_look(array: Any) -> int:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, bytes([int(array[-1])]))
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reading, 1)[0]


def produce(count: int) -> Iterator[Any]:
    for n in range(count):
        yield filled(n)


def doubled(items: Any) -> Iterator[Any]:
    for item in items:
        np.multiply(item, 2, out=item)
        yield item


def sums(items: Any) -> list[float]:
    return [float(item.sum()) for item in items]


def echo(channel: Any) -> int:
    for item in channel:
        np.add(item, 1, out=item)
        channel.send(item)
    return in_shared_memory()


def with_constant(index: int, *, table: Any) -> tuple[int, float, int]:
    return os.getpid(), float(table[index]), table.__array_interface__["data"][0]


def scribble(index: int, *, table: Any) -> float:
    before = float(table[index])
    table[index] = -1
    return before


def fork_a_reader(array: np.ndarray, reports: str, gate: str) -> None:
    """A child keeps the argument, and says when it is let go what it has seen of it, first and last."""
    if os.fork():
        return
    first = float(array.sum())
    hold(reports, gate)
    report(reports, f"{first} {float(array.sum())}")
    os._exit(0)


def inherited() -> Any:
    """What the caller had kept when this worker was forked; looked up so that it is not sent along as it is now."""
    return vars(sys.modules[__name__])["_kept"][0]


def sum_of_inherited() -> float:
    return float(inherited().sum())


def fork_a_reader_of_inherited(reports: str, gate: str) -> None:
    fork_a_reader(inherited(), reports, gate)
